"""A world model as a vector environment: B dreams stepped in one model call.

Each dream begins from a context of frames: the model's own start frames, given ones, or the first
frames of a real environment. The model terminates; the horizon truncates.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from atari_vlm.actions import as_actions
from atari_vlm.errors import ConfigError
from atari_vlm.space_trees import map_space, row_of
from atari_vlm.spaces import autoreset_mode_of
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.dream_start import Start
from atari_vlm.wrappers.dreaming import Dreaming, replaced


class WorldModelVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """``num_envs`` dreams in a ``world_model``. Observations are its decoded frames, rewards and
    terminations its own.

    Args:
        world_model: what is dreamed in.
        num_envs: number of dreams B.
        start: the model's own start frames (``None``), :class:`StartFrames`, a real environment
            whose first frames are taken, or a list of B of them. Real environments stay the
            caller's to close, and without ``reanchor_every`` are only played to begin a dream.
        max_episode_steps: the horizon; then ``truncated``. ``None``: only the model ends a dream.
        autoreset_mode: gymnasium's: NEXT_STEP, SAME_STEP (the last frame is in
            ``info["final_obs"]``), or DISABLED (reset ended rows with
            ``reset(options={"reset_mask": mask})``).
        render_mode: ``"rgb_array"`` (what the model draws, or the picture that it shows) or ``None``.
        reanchor_every: needs one real environment per dream, which then plays the same actions;
            after each so many steps the model's state is made anew from its frames, and
            ``info["reanchored"]`` bool ``(B,)`` says in which rows. Reward and termination stay the
            model's; once the real episode has ended its dream goes on alone.

    ``info`` holds ``imagined_steps`` int64 ``(B,)``, the steps of each dream, and where the model
    tells one ``imagined_text``, a list of B strings.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 15,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        world_model: WorldModel[Any],
        num_envs: int,
        *,
        start: Start = None,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        reanchor_every: int | None = None,
    ):
        self._mode = autoreset_mode_of(autoreset_mode)
        self._dreaming = Dreaming(
            world_model, num_envs, start, max_episode_steps, render_mode, reanchor_every
        )
        self.world_model, self.num_envs, self.render_mode = world_model, num_envs, render_mode
        self.max_episode_steps, self.reanchor_every = max_episode_steps, reanchor_every
        fps = self._dreaming.render_fps
        self.metadata = {**self.metadata, "autoreset_mode": self._mode, "render_fps": fps}
        self.single_observation_space = world_model.observation_space
        self.single_action_space = world_model.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Any = None
        self._frames: Any = None
        self._steps = np.zeros(num_envs, np.int64)
        self._done = np.ones(num_envs, bool)

    @property
    def state(self) -> Any:
        """The model's state of all rows (for planners); undefined before the first reset."""
        return self._state

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin all dreams, or those of ``options["reset_mask"]`` bool ``(B,)``. One seed fixes the
        whole batch.
        """
        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise ConfigError(
                f"the dreams of a batch share one random generator: seed is one number, got {seed!r}"
            )
        if seed is not None:
            self._np_random, self._np_random_seed = gymnasium.utils.seeding.np_random(int(seed))
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ConfigError(
                f"reset_mask is bool ({self.num_envs},) with at least one true, got {mask!r}"
            )
        if self._state is None and not mask.all():
            raise ConfigError("the first reset begins every dream: reset without a mask")
        self._begin(np.flatnonzero(mask))
        self._frames = self.world_model.decode(self._state)
        return self._shown(), self._info()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every dream with actions ``(B,)``; how ended rows begin again is the autoreset
        mode's.

        Rewards are float64 ``(B,)``; terminated and truncated bool ``(B,)``. Raises gymnasium's
        ``ResetNeeded`` before the first reset and, in mode DISABLED, for ended rows.
        """
        actions = self._check_actions(actions)
        ended, live = self._done.copy(), ~self._done
        step = self.world_model.step(self._state, actions, rng=self.np_random)
        self._state = step.state
        self._steps += live
        terminated = np.asarray(step.terminated) & live
        truncated = np.zeros(self.num_envs, bool)
        if self.max_episode_steps is not None:
            truncated = (self._steps >= self.max_episode_steps) & live & ~terminated
        reward = np.where(live, step.reward, 0.0).astype(np.float64)
        anchors: dict[str, Any] = {}
        if self._dreaming.anchor is not None:
            going = (live, np.where(terminated | truncated, 0, self._steps))
            self._state, reanchored = self._dreaming.anchor.follow(
                self._state, actions, going, self.np_random
            )
            anchors = {"reanchored": reanchored, "_reanchored": np.ones(self.num_envs, bool)}
        self._begin(np.flatnonzero(ended))
        self._done = terminated | truncated
        self._frames = self.world_model.decode(self._state)
        info: dict[str, Any] = {}
        if self._mode is AutoresetMode.SAME_STEP and self._done.any():
            info = self._final()
            self._begin(np.flatnonzero(self._done))
            self._frames = self.world_model.decode(self._state)
        return self._shown(), reward, terminated, truncated, {**self._info(), **anchors, **info}

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Every dream's picture, uint8 ``(H, W, 3)``; ``None`` without a render mode or before the
        first reset, ``NotSupportedError`` where the model draws none.
        """
        if self.render_mode is None or self._frames is None:
            return None
        return tuple(self._dreaming.pictures(self._state, self._frames))

    def get_action_meanings(self) -> list[str]:
        """Action names, where the model knows them, else numbers."""
        return self._dreaming.action_names()

    def _check_actions(self, actions: Any) -> np.ndarray:
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        if self._mode is AutoresetMode.DISABLED and self._done.any():
            ended = np.flatnonzero(self._done).tolist()
            raise gymnasium.error.ResetNeeded(
                f"rows {ended} have ended: reset them with options={{'reset_mask': ...}}"
            )
        checked = as_actions(self.single_action_space, actions)
        if checked.shape != self.action_space.shape:
            raise ConfigError(
                f"actions must have the shape {self.action_space.shape}, got {checked.shape}"
            )
        return checked

    def _begin(self, rows: np.ndarray) -> None:
        """Start new dreams in ``rows``."""
        if len(rows):
            fresh = self._dreaming.begin(rows, self.np_random)
            self._state = replaced(self._state, rows, fresh, self.num_envs)
            self._steps[rows] = 0
            self._done[rows] = False

    def _shown(self) -> Any:
        """What the dreams show now, copied; texts as tuples, as gymnasium batches them."""

        def copied(space: gymnasium.Space[Any], leaf: np.ndarray) -> Any:
            return tuple(leaf) if isinstance(space, gymnasium.spaces.Text) else leaf.copy()

        return map_space(copied, self.single_observation_space, self._frames)

    def _final(self) -> dict[str, Any]:
        """What SAME_STEP keeps of the rows that just ended, before they begin anew."""
        final = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(self._done):
            final[row] = row_of(self.single_observation_space, self._frames, row)
        final_info = self._told(self._done)
        masks = {"_final_obs": self._done.copy(), "_final_info": self._done.copy()}
        return {"final_obs": final, "final_info": final_info, **masks}

    def _info(self) -> dict[str, Any]:
        return self._told(np.ones(self.num_envs, bool))

    def _told(self, rows: np.ndarray) -> dict[str, Any]:
        """What is told of some rows."""
        steps = self._steps * rows
        info: dict[str, Any] = {"imagined_steps": steps, "_imagined_steps": rows.copy()}
        texts = self._dreaming.texts(self._state)
        if texts is not None:
            info |= {"imagined_text": texts, "_imagined_text": rows.copy()}
        return info
