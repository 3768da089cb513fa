"""Who chooses the actions while a buffer of transitions fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np

from atari_vlm.actions import as_action, check_action_space, random_actions
from atari_vlm.agents.base import Agent
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.planning.cross_entropy import CEMConfig, cem
from atari_vlm.trees import map_leaves
from atari_vlm.types import Action, Transition
from atari_vlm.world_models.environment import EnvironmentWorldModel

POLICIES = ("random", "cem")
Env = gymnasium.Env[Any, Any]


@dataclass(frozen=True)
class RisingCEM:
    """The cross-entropy method on the real dynamics, whose ``iterations`` grow as the buffer fills, and with them its quality.

    A plan of ``horizon`` steps (at most the step limit) is followed to its end, then the next is made. The paper's collector has
    a ``population`` of 1000 and 100 ``elites``; ours are smaller, so that it takes minutes and not hours.
    """

    iterations: tuple[int, ...] = (1, 2, 3, 4, 5, 8, 12, 16, 20, 25)
    horizon: int = 100
    population: int = 100
    elites: int = 10

    def __post_init__(self) -> None:
        check_count(horizon=self.horizon, population=self.population, elites=self.elites)
        if not self.iterations:
            raise ConfigError("iterations are one or more whole numbers")
        for number in self.iterations:
            check_count(iterations=number)


Policy = str | RisingCEM | Agent | Callable[[Any], Any]


class Player(Protocol):
    """Who chooses while a buffer fills."""

    def begin(self, seed: int) -> None:
        """An episode begins."""

    def act(self, observation: Any, filled: float) -> Action:
        """The next action; ``filled`` is the share of the buffer that is full."""

    def see(self, transition: Transition) -> None:
        """What came of it."""


def player_of(policy: Policy, env: Env) -> Player:
    """The player that a policy stands for; ``ConfigError`` for what is none."""
    space = check_action_space(env.action_space, "the environment")
    if isinstance(policy, str) and policy not in POLICIES:
        raise UnknownNameError("policy", policy, POLICIES)
    if policy == "random":
        return _AtRandom(space)
    if policy == "cem" or isinstance(policy, RisingCEM):
        return _Planner(RisingCEM() if isinstance(policy, str) else policy, env)  # type: ignore[arg-type]
    if isinstance(policy, Agent):
        return _AnAgent(policy)
    if callable(policy):
        return _AFunction(policy, space)
    raise ConfigError(
        f"a policy is one of {', '.join(POLICIES)}, an agent or a function, got {policy!r}"
    )


class _AtRandom:
    def __init__(self, space: gymnasium.Space[Any]):
        self._space, self._rng = space, np.random.default_rng(0)

    def begin(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Any, filled: float) -> Action:
        return as_action(self._space, random_actions(self._space, (), self._rng))

    def see(self, transition: Transition) -> None:
        pass


class _Planner:
    def __init__(self, settings: RisingCEM, env: Env):
        self._settings, self._env = settings, env
        env.reset(seed=0)
        self._model = EnvironmentWorldModel(env)
        limit = env.spec.max_episode_steps if env.spec is not None else None
        self._horizon = min(settings.horizon, limit or settings.horizon)
        self._plan: list[Any] = []
        self._rng = np.random.default_rng(0)

    def begin(self, seed: int) -> None:
        self._plan, self._rng = [], np.random.default_rng(seed)

    def act(self, observation: Any, filled: float) -> Action:
        if not self._plan:
            self._plan = list(self._search(observation, filled))
        return as_action(self._env.action_space, self._plan.pop(0))

    def see(self, transition: Transition) -> None:
        pass

    def _search(self, observation: Any, filled: float) -> np.ndarray:
        settings = self._settings
        level = settings.iterations[int(filled * len(settings.iterations))]
        config = CEMConfig(
            self._horizon, settings.population, settings.elites, level, smoothing=0.0
        )
        context = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
        state = self._model.init(context, np.zeros((1, 0)), rng=self._rng)
        found = cem(self._model, state, config, rng=self._rng)
        best: np.ndarray = found.plans[found.best]
        return best


class _AnAgent:
    def __init__(self, agent: Agent):
        self._agent = agent

    def begin(self, seed: int) -> None:
        self._agent.reset(seed=seed)

    def act(self, observation: Any, filled: float) -> Action:
        return self._agent.act(observation).action

    def see(self, transition: Transition) -> None:
        self._agent.observe(transition)


class _AFunction:
    def __init__(self, function: Callable[[Any], Any], space: gymnasium.Space[Any]):
        self._function, self._space = function, space

    def begin(self, seed: int) -> None:
        pass

    def act(self, observation: Any, filled: float) -> Action:
        return as_action(self._space, self._function(observation))

    def see(self, transition: Transition) -> None:
        pass


def described(policy: Policy) -> Any:
    """A policy as plain data."""
    if policy == "cem":
        policy = RisingCEM()
    if isinstance(policy, RisingCEM):
        return {"cem": dataclasses.asdict(policy)}
    return policy if isinstance(policy, str) else type(policy).__name__
