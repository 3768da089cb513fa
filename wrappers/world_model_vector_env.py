"""A world model as a vector environment: B dreams stepped in one model call.

Each dream begins from a context of frames: the model's own start frames, given ones, or the first frames of a real
environment (which is then only reset and stepped for those). The model terminates; the horizon truncates.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from atari_vlm.errors import ConfigError, MismatchError, check_positive
from atari_vlm.world_models.base import StartFrames, WorldModel, put_rows

Start = gymnasium.Env[Any, Any] | StartFrames | None


def context_from(start: Start, world_model: WorldModel[Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One context for a dream: observations ``(T, ...)`` and the actions int64 ``(T - 1,)`` between them.

    A real environment is reset with a seed drawn from ``rng`` and plays action 0 until ``world_model.context_length`` (default 1)
    frames are seen. Raises ``ConfigError`` when there is nothing to begin from.
    """
    if start is None:
        start = getattr(world_model, "start", None)
        if start is None:
            raise ConfigError("the world model carries no start frames: pass start=, a real environment or StartFrames")
    if isinstance(start, StartFrames):
        row = int(rng.integers(len(start.observations)))
        return start.observations[row], start.actions[row]
    observation, _ = start.reset(seed=int(rng.integers(2**31)))
    frames, actions = [observation], []
    while len(frames) < getattr(world_model, "context_length", 1):
        observation, _, terminated, truncated, _ = start.step(0)
        if terminated or truncated:
            raise ConfigError("the real environment ended before it had shown enough frames to begin a dream")
        frames.append(observation)
        actions.append(0)
    return np.stack(frames), np.array(actions, np.int64)


def check_start(start: Start, world_model: WorldModel[Any]) -> None:
    """Refuse a start that the model cannot dream from, naming both sides."""
    if isinstance(start, gymnasium.Env):
        if start.action_space != world_model.action_space:
            raise MismatchError(
                f"the model acts in {world_model.action_space}, the real environment in {start.action_space}"
            )
        skip = getattr(start.unwrapped, "frame_skip", world_model.frame_skip)
        if skip != world_model.frame_skip:
            raise MismatchError(
                f"the model was made at frame skip {world_model.frame_skip}, the real environment has {skip}"
            )
        space = start.observation_space
        if space.shape != world_model.observation_space.shape:
            raise MismatchError(f"the model sees {world_model.observation_space}, the real environment shows {space}")
    elif isinstance(start, StartFrames):
        shape = start.observations.shape[2:]
        if shape != world_model.observation_space.shape:
            raise MismatchError(f"the model sees {world_model.observation_space}, the start frames are {shape}")
    elif start is not None:
        raise ConfigError(f"start is a gymnasium.Env, StartFrames or None, got {type(start).__name__}")


class WorldModelVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """``num_envs`` dreams in a ``world_model``.

    Observations are the model's decoded frames, rewards the model's. ``max_episode_steps`` is the horizon: then ``truncated``.
    ``autoreset_mode`` is gymnasium's: NEXT_STEP (default), SAME_STEP (the last frame is in ``info["final_obs"]``), or DISABLED
    (reset rows with ``reset(options={"reset_mask": mask})``). ``info`` holds ``imagined_steps`` int64 ``(B,)``.
    """

    metadata = {"render_modes": [], "render_fps": 15, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        world_model: WorldModel[Any],
        num_envs: int,
        *,
        start: Start = None,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ):
        check_positive(num_envs=num_envs)
        if max_episode_steps is not None:
            check_positive(max_episode_steps=max_episode_steps)
        check_start(start, world_model)
        self.world_model, self.num_envs, self._start = world_model, num_envs, start
        self.max_episode_steps, self._mode = max_episode_steps, AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self._mode}
        self.single_observation_space = world_model.observation_space
        self.single_action_space = world_model.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Any = None
        self._steps = np.zeros(num_envs, np.int64)
        self._done = np.ones(num_envs, bool)

    @property
    def state(self) -> Any:
        """The model's state of all rows (for planners); undefined before the first reset."""
        return self._state

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin all dreams, or those of ``options["reset_mask"]`` bool ``(B,)``. One seed fixes the whole batch."""
        if isinstance(seed, list):
            raise ConfigError("the dreams of a batch share one random generator: seed is one number, not a list")
        if seed is not None:
            self._np_random, self._np_random_seed = gymnasium.utils.seeding.np_random(seed)
        mask = (
            np.ones(self.num_envs, bool) if options is None else options.get("reset_mask", np.ones(self.num_envs, bool))
        )
        if np.shape(mask) != (self.num_envs,) or (self._state is None and not np.all(mask)):
            raise ConfigError(f"reset_mask is bool ({self.num_envs},), and the first reset begins every dream")
        self._begin(np.flatnonzero(mask))
        return self._observe(), self._info()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every dream with actions ``(B,)``; how ended rows begin again is the autoreset mode's."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        if self._mode is AutoresetMode.DISABLED and self._done.any():
            raise ConfigError(f"rows {np.flatnonzero(self._done).tolist()} have ended: reset them with a reset_mask")
        skipped = self._done.copy()
        step = self.world_model.step(self._state, np.asarray(actions), rng=self.np_random)
        self._state = step.state
        self._steps += ~skipped
        terminated = step.terminated & ~skipped
        truncated = np.zeros(self.num_envs, bool) | (
            self.max_episode_steps is not None and self._steps >= (self.max_episode_steps or 0)
        )
        truncated &= ~terminated & ~skipped
        reward = np.where(skipped, 0.0, step.reward).astype(np.float64)
        if skipped.any():
            self._begin(np.flatnonzero(skipped))
        self._done = terminated | truncated
        info: dict[str, Any] = {}
        if self._mode is AutoresetMode.SAME_STEP and self._done.any():
            info = self._final()
            self._begin(np.flatnonzero(self._done))
        return self._observe(), reward, terminated, truncated, {**self._info(), **info}

    def _begin(self, rows: np.ndarray) -> None:
        """Start new dreams in ``rows``."""
        if not len(rows):
            return
        contexts = [context_from(self._start, self.world_model, self.np_random) for _ in rows]
        observations, actions = (np.stack(part) for part in zip(*contexts, strict=True))
        fresh = self.world_model.init(observations, actions, rng=self.np_random)
        self._state = fresh if len(rows) == self.num_envs else put_rows(self._state, rows, fresh)
        self._steps[rows] = 0
        self._done[rows] = False

    def _final(self) -> dict[str, Any]:
        """What SAME_STEP keeps of the rows that just ended, before they begin anew."""
        frames = self._observe()
        final = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(self._done):
            final[row] = frames[row]
        final_info = {"imagined_steps": self._steps.copy(), "_imagined_steps": self._done.copy()}
        return {
            "final_obs": final,
            "_final_obs": self._done.copy(),
            "final_info": final_info,
            "_final_info": self._done.copy(),
        }

    def _observe(self) -> np.ndarray:
        return self.world_model.decode(self._state)

    def _info(self) -> dict[str, Any]:
        return {"imagined_steps": self._steps.copy(), "_imagined_steps": np.ones(self.num_envs, bool)}
