"""The pace of a protocol around any agent: no-ops first, then a decision at every n-th step and no-ops between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from atari_vlm.actions import still_action
from atari_vlm.agents.base import Agent
from atari_vlm.description import read_actions
from atari_vlm.errors import check_count
from atari_vlm.types import Decision, Source, Transition


class PacedAgent:
    """``agent``, asked from step ``opening`` on at every ``every``-th step; at all other steps NOOP is played.

    NOOP is the action of that name, else ``action_space``'s stillest. Forced no-ops have the source BUFFER: nobody failed.
    The agent is told of every step.
    """

    def __init__(
        self,
        agent: Agent,
        action_space: gymnasium.Space[Any],
        *,
        opening: int = 0,
        every: int = 1,
    ):
        check_count(every=every)
        self.agent, self._space = agent, action_space
        self._opening, self._every = opening, every
        self._step = 0

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode at step 0."""
        self._step = 0
        self.agent.reset(seed=seed)

    def act(self, observation: Any) -> Decision:
        """The agent's decision where one is due, else NOOP."""
        after = self._step - self._opening
        if after >= 0 and after % self._every == 0:
            return self.agent.act(observation)
        return Decision(self._noop(observation), Source.BUFFER)

    def observe(self, transition: Transition) -> None:
        """Pass on what happened."""
        self._step += 1
        self.agent.observe(transition)

    def _noop(self, observation: Any) -> Any:
        listed = observation.get("action_space") if isinstance(observation, Mapping) else None
        names = read_actions(listed) if isinstance(listed, str) else ()
        return names.index("NOOP") if "NOOP" in names else still_action(self._space)
