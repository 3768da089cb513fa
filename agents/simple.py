"""Agents that ask no one outside: random, doing nothing, and the bundled offline player."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.actions import as_action, check_action_space, random_actions, still_action
from atari_vlm.agents.vlm_agent import VLMAgent, split_options
from atari_vlm.description import read_actions
from atari_vlm.errors import MismatchError
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.vlm.load import load_vlm


class RandomAgent:
    """Uniform over the legal actions: those in the observation's list, else those of ``action_space``."""

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
        space, _ = self._actions.legal(observation)
        return Decision(as_action(space, random_actions(space, (), self._rng)), Source.POLICY)

    def observe(self, transition: Transition) -> None:
        """Nothing is learnt."""


class NoopAgent:
    """NOOP at every step: where the action list names none, the first action, or the continuous one nearest to zero."""

    def __init__(self, *, action_space: gymnasium.Space[Any] | None = None):
        self._actions = _Actions(action_space)

    def reset(self, *, seed: int | None = None) -> None:
        """There is nothing to forget."""

    def act(self, observation: Any) -> Decision:
        """Do nothing."""
        space, names = self._actions.legal(observation)
        action = names.index("NOOP") if "NOOP" in names else still_action(space)
        return Decision(action, Source.POLICY)

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
    """Which actions are legal, from an observation's list or a space that :mod:`atari_vlm.actions` takes."""

    def __init__(self, space: gymnasium.Space[Any] | None):
        self._space = None if space is None else check_action_space(space, "this agent")

    def legal(self, observation: Any) -> tuple[gymnasium.Space[Any], tuple[str, ...]]:
        """The space of the legal actions, and their names where known."""
        if isinstance(observation, Mapping) and "action_space" in observation:
            names = read_actions(observation["action_space"])
            return Discrete(len(names)), names
        if self._space is None:
            raise MismatchError(
                "the observation lists no actions: give the agent the environment's action_space"
            )
        return self._space, ()
