"""Any small Gymnasium environment as its own perfect world model: what it holds is copied out and put back.

The upper bound for planners, beside :mod:`atari_vlm.world_models.emulator` for Atari games. It serves environments whose state is
numbers, texts and arrays in their own attributes (classic control, toy text, games of your own like those) and MuJoCo's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import check_action_space
from atari_vlm.errors import NotSupportedError
from atari_vlm.trees import leaves, map_leaves, objects, stacked, take_row
from atari_vlm.world_models.base import ModelStep

_NUMBERS = (bool, int, float, str, type(None), np.generic)
_MOST = 4096  # numbers of an array that is still a state and no table


@dataclass(frozen=True)
class EnvironmentState:
    """``snapshot`` and ``observation`` object ``(B,)``; ``over`` bool ``(B,)``."""

    snapshot: np.ndarray
    observation: np.ndarray
    over: np.ndarray


class EnvironmentWorldModel:
    """A perfect model of ``env``, in a copy of it: ``env`` itself is only read, never stepped.

    ``init`` begins at the environment's *present* state; the last observation that it is given is taken for that of this state.
    Step limits do not count: a model terminates, an environment truncates. Random numbers come from ``rng``, so that a planner
    does not foresee the environment's own. A row that is over stays over with reward 0.

    Raises ``NotSupportedError`` where two copies of one state do not do the same.
    """

    reward_transform = "none"
    frame_skip = 1

    def __init__(self, env: gymnasium.Env[Any, Any]):
        self.observation_space = env.observation_space
        self.action_space: gymnasium.Space[Any] = check_action_space(env.action_space)
        self._real: Any = env.unwrapped
        self._twin: Any = copy.deepcopy(env.unwrapped)
        self._twin.render_mode = None
        self._save, self._restore = _keeper(self._real)
        self._check(env.action_space)

    def init(
        self, observations: Any, actions: np.ndarray, *, rng: np.random.Generator
    ) -> EnvironmentState:
        """The present state of the environment, once per row."""
        rows = len(next(leaves(observations)))
        lasts = [take_row(map_leaves(_last, observations), row) for row in range(rows)]
        return EnvironmentState(
            objects([self._save(self._real)] * rows), objects(lasts), np.zeros(rows, np.bool_)
        )

    def step(
        self, state: EnvironmentState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[EnvironmentState]:
        """One step of every row."""
        played = self.rollout(state, np.asarray(action)[:, np.newaxis], rng=rng)
        return ModelStep(played.state, played.reward[:, 0], played.terminated[:, 0])

    def rollout(
        self, state: EnvironmentState, plans: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[EnvironmentState]:
        """Play plans ``(B, H)`` or ``(B, H, A)``, each until its row is over."""
        snapshots, shown = list(state.snapshot), list(state.observation)
        rewards, ended = np.zeros(plans.shape[:2], np.float32), np.ones(plans.shape[:2], np.bool_)
        over = state.over.copy()
        self._twin._np_random = rng
        for row in np.flatnonzero(~over).tolist():
            self._restore(self._twin, snapshots[row])
            for t, action in enumerate(plans[row]):
                shown[row], reward, over[row], _, _ = self._twin.step(action)
                rewards[row, t], ended[row, t] = reward, over[row]
                if over[row]:
                    break
            snapshots[row] = self._save(self._twin)
        return ModelStep(EnvironmentState(objects(snapshots), objects(shown), over), rewards, ended)

    def decode(self, state: EnvironmentState) -> Any:
        """The observations of the rows ``(B, ...)``, in tuples and dicts as the space has them."""
        return stacked(list(state.observation))

    def _check(self, space: gymnasium.Space[Any]) -> None:
        """Play a step twice from one state."""
        space = copy.deepcopy(space)
        space.seed(0)
        self._twin.reset(seed=0)
        begun, action, seen = self._save(self._twin), space.sample(), []
        for _ in range(2):
            self._restore(self._twin, begun)
            self._twin._np_random = np.random.default_rng(0)
            for _ in range(3):
                observation, reward, over, _, _ = self._twin.step(action)
                seen.append((_flat(observation), float(reward), bool(over)))
                if over:
                    break
        half = len(seen) // 2
        if seen[:half] != seen[half:]:
            name = type(self._twin).__name__
            raise NotSupportedError(f"{name} keeps its state where it cannot be put back")


def _keeper(base: Any) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
    """How the state of such an environment is read and put back."""
    if hasattr(base, "data") and hasattr(base, "model"):
        return _save_mujoco, _restore_mujoco
    return _save_attributes, _restore_attributes


def _save_attributes(base: Any) -> dict[str, Any]:
    return {name: _copied(value) for name, value in vars(base).items() if _is_state(value)}


def _restore_attributes(base: Any, saved: dict[str, Any]) -> None:
    vars(base).update({name: _copied(value) for name, value in saved.items()})


def _is_state(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.size <= _MOST and value.dtype != object
    if isinstance(value, (list, tuple)):
        return len(value) <= _MOST and all(map(_is_state, value))
    return isinstance(value, _NUMBERS)


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _save_mujoco(base: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MuJoCo's own state, and the positions of bodies that rewards are computed from, which lag behind it."""
    import mujoco

    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(base.model, kind))
    mujoco.mj_getState(base.model, base.data, state, kind)
    return state, base.data.xpos.copy(), base.data.xipos.copy()


def _restore_mujoco(base: Any, saved: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    import mujoco

    state, positions, centres = saved
    mujoco.mj_setState(base.model, base.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    base.data.xpos[:], base.data.xipos[:] = positions, centres


def _last(context: Any) -> Any:
    return context[:, -1]


def _flat(observation: Any) -> list[Any]:
    return [number for leaf in leaves(observation) for number in np.ravel(leaf).tolist()]
