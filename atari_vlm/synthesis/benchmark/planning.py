"""Episodes of a real environment, played by a planner that plans in a model of it.

The paper's planners (arXiv 2405.15383, appendix): tree search for numbered actions, a new tree for every step; the cross-entropy
method for others, whose whole plan is followed before the next is made. With ``open_loop=False`` only the first action of a plan
is played, and the next search starts at the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.actions import as_action, random_actions
from atari_vlm.errors import SandboxError, SandboxUnavailableError, check_count
from atari_vlm.planning.cross_entropy import CEMConfig, cem
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.planning.tree_search import mcts
from atari_vlm.trees import map_leaves
from atari_vlm.types import Action
from atari_vlm.world_models.base import WorldModel

Env = gymnasium.Env[Any, Any]
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


def planned_returns(
    env: Env, model: Callable[[Env], WorldModel[Any]] | WorldModel[Any], settings: PlanningSettings
) -> Played:
    """Play ``settings.episodes`` in ``env``, planning in ``model`` (or in what it makes of the environment after its reset).

    A step for which the model cannot be asked (its program raises) is played at random and counted. Raises what the sandbox
    raises where nothing can be run at all.
    """
    returns, steps, fallbacks = [], 0, 0
    for episode in range(settings.episodes):
        observation, _ = env.reset(seed=settings.seed + episode)
        made: WorldModel[Any] = model(env) if callable(model) else model
        planner = _Planner(made, settings, limit_of(env, settings), settings.seed + episode)
        total, over = 0.0, False
        while not over:
            action = planner.act(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            over = terminated or truncated or planner.steps >= planner.limit
        returns.append(total)
        steps, fallbacks = steps + planner.steps, fallbacks + planner.fallbacks
    return Played(tuple(returns), steps, fallbacks)


def random_returns(env: Env, settings: PlanningSettings) -> Played:
    """The same episodes, played uniformly at random."""
    returns, steps, limit = [], 0, limit_of(env, settings)
    for episode in range(settings.episodes):
        env.reset(seed=settings.seed + episode)
        rng = np.random.default_rng([settings.seed + episode, 1])
        total, played, over = 0.0, 0, False
        while not over:
            action = as_action(env.action_space, random_actions(env.action_space, (), rng))
            _, reward, terminated, truncated, _ = env.step(action)
            total, played = total + float(reward), played + 1
            over = terminated or truncated or played >= limit
        returns.append(total)
        steps += played
    return Played(tuple(returns), steps)


def limit_of(env: Env, settings: PlanningSettings) -> int:
    """How many steps an episode has at most."""
    own = env.spec.max_episode_steps if env.spec is not None else None
    return settings.max_episode_steps or own or _STEPS_WITHOUT_LIMIT


class _Planner:
    """Chooses the actions of one episode."""

    def __init__(self, model: WorldModel[Any], settings: PlanningSettings, limit: int, seed: int):
        self._model, self._settings, self.limit = model, settings, limit
        self._rng = np.random.default_rng([seed, 0])
        self._plan: np.ndarray | None = None
        self._at = 0
        self.steps = self.fallbacks = 0

    def act(self, observation: Any) -> Action:
        """The next action; a random one where the model raised."""
        self.steps += 1
        space = self._model.action_space
        try:
            chosen = self._search(observation)
        except SandboxUnavailableError:
            raise
        except SandboxError:
            self.fallbacks += 1
            self._plan = None
            chosen = random_actions(space, (), self._rng)
        return as_action(space, chosen)

    def _search(self, observation: Any) -> Any:
        if isinstance(self._model.action_space, Discrete):
            return mcts(
                self._model, self._state(observation), self._settings.mcts, rng=self._rng
            ).action
        if self._plan is None or not self._settings.open_loop or self._at >= len(self._plan):
            self._plan = self._new_plan(observation)
            self._at = 0
        self._at += 1
        return self._plan[self._at - 1]

    def _new_plan(self, observation: Any) -> np.ndarray:
        config = self._settings.cem
        changed = CEMConfig(**{**vars(config), "horizon": min(config.horizon, self.limit)})
        warm = None if self._settings.open_loop else self._plan
        state = self._state(observation)
        found = cem(self._model, state, changed, rng=self._rng, warm_start=warm)
        best: np.ndarray = found.plans[found.best]
        return best

    def _state(self, observation: Any) -> Any:
        context = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
        width = self._model.action_space.shape or ()
        dtype = np.int64 if not width else np.float32
        return self._model.init(context, np.zeros((1, 0, *width), dtype), rng=self._rng)
