"""Agents that ask no one outside: random, doing nothing, and the bundled offline player."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.agents.vlm_agent import VLMAgent, split_options
from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.vlm.load import load_vlm


class RandomAgent:
    """Uniform over the legal actions: those in the observation's list, else those of a ``Discrete`` ``action_space``."""

    def __init__(
        self, seed: int | None = None, *, action_space: gymnasium.Space[Any] | None = None
    ):
        self._rng = np.random.default_rng(seed)
        self._actions = _Actions(action_space)

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode; without a seed the random numbers go on where they were."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)

    def act(self, observation: Any) -> Decision:
        """Draw an action; ``MismatchError`` if neither the observation nor an action space tells which are legal."""
        first, count, _ = self._actions.legal(observation)
        return Decision(first + int(self._rng.integers(count)), Source.POLICY)

    def observe(self, transition: Transition) -> None:
        """Nothing is learnt."""


class NoopAgent:
    """NOOP at every step: action 0 where the action list names no NOOP."""

    def __init__(self, *, action_space: gymnasium.Space[Any] | None = None):
        self._actions = _Actions(action_space)

    def reset(self, *, seed: int | None = None) -> None:
        """There is nothing to forget."""

    def act(self, observation: Any) -> Decision:
        """Do nothing."""
        first, _, names = self._actions.legal(observation)
        return Decision(names.index("NOOP") if "NOOP" in names else first, Source.POLICY)

    def observe(self, transition: Transition) -> None:
        """Nothing is learnt."""


class ScriptedAgent(VLMAgent):
    """The bundled offline player as an agent: a :class:`VLMAgent` over ``ScriptedVLM``; no key, no network, no weights.

    Keywords are those of :class:`VLMAgent` and the fields of ``VLMAgentOptions``.
    """

    def __init__(self, **agent_options: Any):
        agent, rest = split_options(agent_options)
        super().__init__(load_vlm("scripted", **rest), **agent)


class _Actions:
    """Which actions are legal, from an observation's list or a ``Discrete`` space."""

    def __init__(self, space: gymnasium.Space[Any] | None):
        if space is not None and not isinstance(space, gymnasium.spaces.Discrete):
            raise ConfigError(f"action_space must be a Discrete space, got {space}")
        self._space = space

    def legal(self, observation: Any) -> tuple[int, int, tuple[str, ...]]:
        """First action, number of actions, and their names where known."""
        if isinstance(observation, Mapping) and "action_space" in observation:
            names = read_actions(observation["action_space"])
            return 0, len(names), names
        if self._space is None:
            raise MismatchError(
                "the observation lists no actions: give the agent the environment's action_space"
            )
        return int(self._space.start), int(self._space.n), ()
