"""Judging plans by a world model, and holding what happens against what it predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.planning.scoring import PlanScores, Valuing, check_discount, score_plans
from atari_vlm.space_trees import picture_in, value_at
from atari_vlm.trees import take_row
from atari_vlm.types import Action, Transition
from atari_vlm.world_models.base import WorldModel, context_space_of, in_units_of
from atari_vlm.world_models.seeing import FrameSource
from atari_vlm.world_models.view import WorldView

Follow = Literal["first", "whole"] | int


@dataclass(frozen=True)
class PlanOptions(VLMAgentOptions):
    """How plans are judged and followed, besides everything of :class:`VLMAgentOptions`.

    ``follow``: how much of a plan is executed before plans are judged anew: the ``"first"`` action,
    so many actions, or the ``"whole"`` plan; without a buffer it is always the first.
    ``num_futures`` futures are sampled per plan, and ``pessimism`` standard deviations over them
    are subtracted. A real reward that differs by more than ``reward_tolerance`` from the prediction
    is a surprise; so is an unpredicted end; so is, where ``picture_tolerance`` is given, a mean
    absolute pixel difference (0..255) above it, which costs one decoded frame a step.
    """

    follow: Follow = "whole"
    discount: float = 1.0
    num_futures: int = 1
    pessimism: float = 0.0
    reward_tolerance: float = 0.5
    picture_tolerance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.follow, bool) or (
            isinstance(self.follow, str) and self.follow not in ("first", "whole")
        ):
            raise UnknownNameError("follow", self.follow, ("first", "whole", "a number of actions"))
        if isinstance(self.follow, int):
            check_count(follow=self.follow)
        check_count(num_futures=self.num_futures)
        check_discount(self.discount)
        if not (self.pessimism >= 0 and self.reward_tolerance >= 0):
            raise ConfigError("pessimism and reward_tolerance are not negative")

    def steps(self, horizon: int) -> int:
        """How many actions of a plan of ``horizon`` actions are executed."""
        return (
            self.follow
            if isinstance(self.follow, int)
            else {"first": 1, "whole": horizon}[self.follow]
        )


@dataclass(frozen=True)
class Expected:
    """What the model predicts for one step; ``state`` only where pictures are compared."""

    reward: float
    over: bool
    state: Any = None


class Judge:
    """Scores plans from the present state of the game. Without a world model every plan is worth 0,
    so order decides.
    """

    def __init__(
        self,
        world_model: WorldModel[Any] | None,
        options: PlanOptions,
        value: Valuing,
        frame_source: FrameSource | None,
    ):
        self.world_model, self._options, self._value = world_model, options, value
        self._view = None if world_model is None else WorldView(world_model, frame_source)

    def reset(self) -> None:
        """Begin an episode."""
        if self._view is not None:
            self._view.reset()

    def observe(self, observation: Mapping[str, Any]) -> None:
        """Take in the present observation; once a step."""
        if self._view is not None:
            self._view.observe(observation)

    def executed(self, action: Action) -> None:
        """Note the executed action."""
        if self._view is not None:
            self._view.executed(action)

    def score(self, plans: Sequence[Sequence[int]], rng: np.random.Generator) -> PlanScores:
        """All plans in one batched rollout."""
        if self.world_model is None or self._view is None:
            array = np.array(plans, np.int64)
            zeros = np.zeros(len(array))
            return PlanScores(
                array, zeros, np.zeros(array.shape), np.full(len(array), array.shape[1]), zeros
            )
        return score_plans(
            self.world_model,
            self._view.state(rng),
            plans,
            discount=self._options.discount,
            rng=rng,
            value=self._value,
            num_futures=self._options.num_futures,
            pessimism=self._options.pessimism,
        )

    def expect(self, scores: PlanScores, best: int, rng: np.random.Generator) -> list[Expected]:
        """Reward and end predicted for each step of a plan; nothing without a model."""
        if self.world_model is None or self._view is None:
            return []
        horizon, length = scores.rewards.shape[1], float(scores.lengths[best])
        states: list[Any] = [None] * horizon
        if self._options.picture_tolerance is not None:
            state = self._view.state(rng)
            for t in range(horizon):
                state = self.world_model.step(state, scores.plans[best, t : t + 1], rng=rng).state
                states[t] = state
        return [
            Expected(float(scores.rewards[best, t]), length <= t + 1 < horizon, states[t])
            for t in range(horizon)
        ]

    def is_surprised(self, expected: Expected, transition: Transition) -> bool:
        """Whether reward, end or picture differ from the prediction beyond tolerance."""
        if self.world_model is None or self._view is None:
            return False
        reward = in_units_of(self.world_model, transition.reward)
        if abs(reward - expected.reward) > self._options.reward_tolerance:
            return True
        if transition.terminated != expected.over:
            return True
        if expected.state is None:
            return False
        model = self.world_model
        shown = take_row(model.decode(expected.state), 0)
        predicted = _picture(shown, model.observation_space)
        real = _picture(self._view.frame(transition.next_observation), context_space_of(model))
        return float(np.abs(predicted - real).mean()) > (self._options.picture_tolerance or 0.0)


def _picture(observation: Any, space: gymnasium.Space[Any]) -> np.ndarray:
    """The picture of an observation as floats; what has none is compared as it is."""
    return np.asarray(value_at(observation, picture_in(space) or ()), np.float32)
