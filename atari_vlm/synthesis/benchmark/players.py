"""Who plays while a buffer of transitions fills: what a policy stands for, as an agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_action, check_action_space
from atari_vlm.agents.base import Agent
from atari_vlm.agents.simple import RandomAgent
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.planning.cross_entropy import CEMConfig, cem
from atari_vlm.trees import map_leaves
from atari_vlm.types import Decision, Source, Transition
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


def agent_of(policy: Policy, env: Env, filled: Callable[[], float]) -> Agent:
    """The agent that a policy stands for; ``filled()`` is the share of the buffer that is full.

    Raises ``ConfigError`` for what is no policy.
    """
    space = check_action_space(env.action_space, "the environment")
    if isinstance(policy, str) and policy not in POLICIES:
        raise UnknownNameError("policy", policy, POLICIES)
    if policy == "random":
        return RandomAgent(action_space=space)
    if policy == "cem":
        policy = RisingCEM()
    if isinstance(policy, RisingCEM):
        return _Planner(policy, env, filled)
    if isinstance(policy, Agent):
        return policy
    if callable(policy):
        return _Function(policy, space)
    raise ConfigError(
        f"a policy is one of {', '.join(POLICIES)}, an agent or a function, got {policy!r}"
    )


class Apart:
    """An agent whose random numbers are not those of the environment, though both are told one seed.

    Generators of one seed draw the same numbers: a random action would depend on where the game begins.
    """

    def __init__(self, agent: Agent):
        self._agent = agent

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode, from a seed that is a function of ``seed``."""
        other = None if seed is None else np.random.SeedSequence([seed, 1]).generate_state(1)[0]
        self._agent.reset(seed=None if other is None else int(other))

    def act(self, observation: Any) -> Decision:
        """What the agent decides."""
        return self._agent.act(observation)

    def observe(self, transition: Transition) -> None:
        """The agent is told."""
        self._agent.observe(transition)


class _Planner:
    """Plays plans that are made in the real dynamics."""

    def __init__(self, settings: RisingCEM, env: Env, filled: Callable[[], float]):
        self._settings, self._space, self._filled = settings, env.action_space, filled
        env.reset(seed=0)
        self._model = EnvironmentWorldModel(env)
        limit = env.spec.max_episode_steps if env.spec is not None else None
        self._horizon = min(settings.horizon, limit or settings.horizon)
        self._plan: list[Any] = []
        self._rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None) -> None:
        self._plan, self._rng = [], np.random.default_rng(seed)

    def act(self, observation: Any) -> Decision:
        if not self._plan:
            self._plan = list(self._search(observation))
        return Decision(as_action(self._space, self._plan.pop(0)), Source.POLICY)

    def observe(self, transition: Transition) -> None:
        pass

    def _search(self, observation: Any) -> np.ndarray:
        settings = self._settings
        level = settings.iterations[int(self._filled() * len(settings.iterations))]
        config = CEMConfig(
            self._horizon, settings.population, settings.elites, level, smoothing=0.0
        )
        context = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
        state = self._model.init(context, np.zeros((1, 0)), rng=self._rng)
        found = cem(self._model, state, config, rng=self._rng)
        best: np.ndarray = found.plans[found.best]
        return best


class _Function:
    """Plays what a function says of an observation."""

    def __init__(self, function: Callable[[Any], Any], space: gymnasium.Space[Any]):
        self._function, self._space = function, space

    def reset(self, *, seed: int | None = None) -> None:
        pass

    def act(self, observation: Any) -> Decision:
        return Decision(as_action(self._space, self._function(observation)), Source.POLICY)

    def observe(self, transition: Transition) -> None:
        pass


def described(policy: Policy) -> Any:
    """A policy as plain data."""
    if policy == "cem":
        policy = RisingCEM()
    if isinstance(policy, RisingCEM):
        return {"cem": dataclasses.asdict(policy)}
    return policy if isinstance(policy, str) else type(policy).__name__
