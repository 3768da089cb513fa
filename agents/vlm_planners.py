"""The VLM as prior of a planner: its action probabilities steer a tree search, its plans start the
cross-entropy method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from atari_vlm.agents.answering import check_free_to_answer
from atari_vlm.agents.messages import Conversation
from atari_vlm.agents.plan_request import PlanRequest
from atari_vlm.agents.planners import CEMAgent, MCTSAgent
from atari_vlm.agents.vlm_agent import DEFAULT_OPTIONS, VLMAgentOptions
from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError, NotSupportedError
from atari_vlm.planning.cross_entropy import CEMConfig
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.types import Decision
from atari_vlm.vlm.base import VLM
from atari_vlm.world_models.base import WorldModel


class VLMPriorMCTSAgent(MCTSAgent):
    """A tree search whose root prior (PUCT) is the VLM's probability of each action, asked once per
    search.

    ``vlm`` must be able to ``score_choices``, else ``NotSupportedError``. Scores that are no
    numbers become a uniform prior, which the decision's ``problems`` tell. ``planner_options`` are
    the keywords of :class:`MCTSAgent`.
    """

    def __init__(
        self,
        vlm: VLM,
        world_model: WorldModel[Any],
        config: MCTSConfig | None = None,
        *,
        prompt_type: str = "cot",
        options: VLMAgentOptions = DEFAULT_OPTIONS,
        **planner_options: Any,
    ):
        if "scores" not in vlm.capabilities:
            raise NotSupportedError(
                f"{vlm.name} cannot score choices, so it gives no prior for a tree search"
            )
        check_free_to_answer(vlm, "prior for a tree search")
        config = config or MCTSConfig(rule="puct")
        if config.rule != "puct":
            raise ConfigError('a prior needs MCTSConfig(rule="puct")')
        super().__init__(world_model, config, **planner_options)
        self.vlm = vlm
        self._problems: tuple[str, ...] = ()
        self._conversation = Conversation(options, prompt_type, "choice", ())

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""
        super().reset(seed=seed)
        self._conversation.reset()

    def act(self, observation: Any) -> Decision:
        """Search with the VLM's prior; ``details`` hold it."""
        self._conversation.observe(observation)
        self._problems = ()
        decision = super().act(observation)
        return dataclasses.replace(decision, problems=self._problems)

    def _prior(self, observation: Mapping[str, Any]) -> np.ndarray | None:
        names = read_actions(observation["action_space"])
        messages = self._conversation.messages(self._conversation.question(observation), names)
        scores = np.asarray(self.vlm.score_choices(messages, names), np.float64)
        if scores.shape != (len(names),) or np.isnan(scores).any() or not np.isfinite(scores.max()):
            self._problems = (f"not a score for each action: {scores.tolist()}",)
            return None
        chances: np.ndarray = np.exp(scores - scores.max())
        return chances / chances.sum()


class VLMPlansCEMAgent(CEMAgent):
    """The cross-entropy method whose first population holds a VLM's plans, ``num_plans`` asked for
    at every step.

    The VLM's plans are as long as the search's horizon. ``planner_options`` are the keywords of
    :class:`CEMAgent`.
    """

    def __init__(
        self,
        vlm: VLM,
        world_model: WorldModel[Any],
        config: CEMConfig | None = None,
        *,
        num_plans: int = 3,
        prompt_type: str = "cot",
        options: VLMAgentOptions = DEFAULT_OPTIONS,
        **planner_options: Any,
    ):
        super().__init__(world_model, config, **planner_options)
        self._requests = PlanRequest(
            vlm, num_plans, self.config.horizon, options, prompt_type=prompt_type
        )

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""
        super().reset(seed=seed)
        self._requests.reset(seed)

    def act(self, observation: Mapping[str, Any]) -> Decision:
        """Ask for plans and search from them."""
        self._requests.observe(observation)
        proposed = self._requests.ask(observation, read_actions(observation["action_space"]))
        decision = self.search(
            observation, np.array(proposed.plans, np.int64) if proposed.plans else None
        )
        return dataclasses.replace(decision, replies=proposed.replies, problems=proposed.problems)
