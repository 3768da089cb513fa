"""Episodes of a real environment, played by a planner that plans in a model of it.

The paper's planners (arXiv 2405.15383, appendix): tree search for numbered actions, a new tree for every step; the cross-entropy
method for others, whose whole plan is followed before the next is made. With ``open_loop=False`` only the first action of a plan
is played, and the next search starts at the rest of it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.actions import as_action, random_actions
from atari_vlm.agents.base import Agent
from atari_vlm.agents.simple import RandomAgent
from atari_vlm.errors import SandboxError, SandboxUnavailableError, check_count
from atari_vlm.planning.cross_entropy import CEMConfig, cem
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.planning.tree_search import mcts
from atari_vlm.runs.rollout import play_episode
from atari_vlm.synthesis.benchmark.players import Apart, Env
from atari_vlm.trees import map_leaves
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.world_models.base import WorldModel

_STEPS_WITHOUT_LIMIT = (
    100  # of an episode in an environment without a step limit, as in the paper's code
)


@dataclass(frozen=True)
class PlanningSettings:
    """How is planned and how much is played; the defaults are the paper's, but for the number of episodes (10 there).

    A plan of the cross-entropy method is never longer than ``max_episode_steps``, by default the environment's own limit.
    """

    episodes: int = 2
    seed: int = 0
    open_loop: bool = True
    max_episode_steps: int | None = None
    mcts: MCTSConfig = field(
        default_factory=lambda: MCTSConfig(
            num_simulations=25, depth=100, rollout_steps=100, batch_size=5
        )
    )
    cem: CEMConfig = field(
        default_factory=lambda: CEMConfig(
            horizon=100, population=1000, elites=100, iterations=20, smoothing=0.0
        )
    )

    def __post_init__(self) -> None:
        check_count(episodes=self.episodes)
        if self.max_episode_steps is not None:
            check_count(max_episode_steps=self.max_episode_steps)


@dataclass(frozen=True)
class Played:
    """What came of it: ``returns`` (one an episode), and how many of ``steps`` were played at random because planning failed."""

    returns: tuple[float, ...]
    steps: int
    fallbacks: int = 0

    @property
    def fallback_rate(self) -> float:
        """Share of steps that no plan stood behind."""
        return self.fallbacks / self.steps if self.steps else 0.0


def planned_returns(env: Env, model: WorldModel[Any], settings: PlanningSettings) -> Played:
    """Play ``settings.episodes`` in ``env``, planning in ``model``.

    A step for which the model cannot be asked (its program raises) is played at random and counted. Raises what the sandbox
    raises where nothing can be run at all.
    """
    return _played(env, PlanningAgent(model, settings, limit_of(env, settings)), settings)


def random_returns(env: Env, settings: PlanningSettings) -> Played:
    """The same episodes, played uniformly at random."""
    return _played(env, RandomAgent(action_space=env.action_space), settings)


def limit_of(env: Env, settings: PlanningSettings) -> int:
    """How many steps an episode has at most."""
    own = env.spec.max_episode_steps if env.spec is not None else None
    return settings.max_episode_steps or own or _STEPS_WITHOUT_LIMIT


def _played(env: Env, agent: Agent, settings: PlanningSettings) -> Played:
    apart, limit = Apart(agent), limit_of(env, settings)
    seeds = range(settings.seed, settings.seed + settings.episodes)
    episodes = [play_episode(env, apart, seed=seed, max_steps=limit) for seed in seeds]
    failed = [step.decision.source is Source.FALLBACK for e in episodes for step in e.transitions]
    return Played(tuple(e.episode_return for e in episodes), len(failed), sum(failed))


class PlanningAgent:
    """Plays what a planner finds in a model; at random, with the source FALLBACK, where the model's program raised.

    Plans of the cross-entropy method have at most ``longest`` steps.
    """

    def __init__(self, model: WorldModel[Any], settings: PlanningSettings, longest: int):
        self._model, self._settings = model, settings
        horizon = min(settings.cem.horizon, longest)
        self._cem = dataclasses.replace(settings.cem, horizon=horizon)
        self._rng = np.random.default_rng(0)
        self._plan: np.ndarray | None = None
        self._at = 0

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode without a plan; without a seed the random numbers go on where they were."""
        self._plan = None
        if seed is not None:
            self._rng = np.random.default_rng(seed)

    def act(self, observation: Any) -> Decision:
        """Search, or follow the plan that there is."""
        space = self._model.action_space
        try:
            return Decision(as_action(space, self._search(observation)), Source.POLICY)
        except SandboxUnavailableError:
            raise
        except SandboxError:
            self._plan = None
            chosen = random_actions(space, (), self._rng)
            return Decision(as_action(space, chosen), Source.FALLBACK)

    def observe(self, transition: Transition) -> None:
        """Nothing is learnt."""

    def _search(self, observation: Any) -> Any:
        if isinstance(self._model.action_space, Discrete):
            state = self._state(observation)
            return mcts(self._model, state, self._settings.mcts, rng=self._rng).action
        if self._plan is None or not self._settings.open_loop or self._at >= len(self._plan):
            self._plan, self._at = self._new_plan(observation), 0
        self._at += 1
        return self._plan[self._at - 1]

    def _new_plan(self, observation: Any) -> np.ndarray:
        warm = None if self._settings.open_loop else self._plan
        state = self._state(observation)
        found = cem(self._model, state, self._cem, rng=self._rng, warm_start=warm)
        best: np.ndarray = found.plans[found.best]
        return best

    def _state(self, observation: Any) -> Any:
        context = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
        width = self._model.action_space.shape or ()
        dtype = np.float32 if width else np.int64
        return self._model.init(context, np.zeros((1, 0, *width), dtype), rng=self._rng)
