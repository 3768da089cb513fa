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
from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.spaces import autoreset_mode_of
from atari_vlm.trees import map_leaves, put_rows, stacked, take_row, take_rows
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.dream_start import RealStart, Start, start_of


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
        render_mode: ``"rgb_array"`` (the decoded frames) or ``None``.
        reanchor_every: needs one real environment per dream, which then plays the same actions;
            after each so many steps the model's state is made anew from its frames, and
            ``info["reanchored"]`` bool ``(B,)`` says in which rows. Reward and termination stay the
            model's; once the real episode has ended its dream goes on alone.

    ``info`` holds ``imagined_steps`` int64 ``(B,)``, the steps of each dream.
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
        given = {"max_episode_steps": max_episode_steps, "reanchor_every": reanchor_every}
        check_positive(
            num_envs=num_envs, **{name: value for name, value in given.items() if value is not None}
        )
        if render_mode not in (None, "rgb_array"):
            raise UnknownNameError("render_mode", render_mode, ("rgb_array",))
        self._mode = autoreset_mode_of(autoreset_mode)
        space = world_model.observation_space
        if (
            render_mode is not None
            and isinstance(space, gymnasium.spaces.Dict)
            and "image" not in space.spaces
        ):
            raise ConfigError(f"a dream is rendered from its pictures; the model shows {space}")
        self._start = start_of(start, world_model)
        self._check_real(num_envs, reanchor_every)
        self.world_model, self.num_envs, self.render_mode = world_model, num_envs, render_mode
        self.max_episode_steps, self.reanchor_every = max_episode_steps, reanchor_every
        fps = max(1, round(60 / world_model.frame_skip)) if world_model.frame_skip > 1 else 15
        self.metadata = {**self.metadata, "autoreset_mode": self._mode, "render_fps": fps}
        self.single_observation_space = world_model.observation_space
        self.single_action_space = world_model.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Any = None
        self._observe = None if reanchor_every is None else getattr(world_model, "observe", None)
        self._real_state: Any = (
            None  # what the real environments lead to, of a model that can observe
        )
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
        anchors = self._reanchor(live, actions, terminated | truncated)
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
        """Every dream's last decoded frame; ``None`` without a render mode or before the first
        reset.
        """
        if self.render_mode is None or self._frames is None:
            return None
        return tuple(
            np.array(self._frames["image"] if isinstance(self._frames, dict) else self._frames)
        )

    def get_action_meanings(self) -> list[str]:
        """Action names, where the model knows them, else numbers."""
        n, first = (int(getattr(self.single_action_space, name, 0)) for name in ("n", "start"))
        return list(getattr(self.world_model, "action_names", map(str, range(first, first + n))))

    def _check_real(self, num_envs: int, reanchor_every: int | None) -> None:
        real = self._start.envs if isinstance(self._start, RealStart) else []
        if len(real) > 1 and len(real) != num_envs:
            raise ConfigError(
                f"start is one real environment or one for each of the {num_envs} dreams, got {len(real)}"
            )
        if reanchor_every is not None and len(real) != num_envs:
            raise ConfigError(
                f"reanchor_every needs a real environment for each of the {num_envs} dreams as start, got {len(real)}"
            )

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
            fresh = self._made([self._start.begin(int(row), self.np_random) for row in rows])
            self._state = self._replaced(self._state, rows, fresh)
            if self._observe is not None:
                self._real_state = self._replaced(self._real_state, rows, fresh)
            self._steps[rows] = 0
            self._done[rows] = False

    def _made(self, contexts: list[tuple[Any, np.ndarray]]) -> Any:
        """The state of as many rows, made from their contexts."""
        observations, actions = (stacked(part) for part in zip(*contexts, strict=True))
        return self.world_model.init(observations, actions, rng=self.np_random)

    def _shown(self) -> Any:
        """What the dreams show now, copied."""
        return map_leaves(np.array, self._frames)

    def _replaced(self, state: Any, rows: np.ndarray, fresh: Any) -> Any:
        return fresh if len(rows) == self.num_envs else put_rows(state, rows, fresh)

    def _reanchor(self, live: np.ndarray, actions: np.ndarray, over: np.ndarray) -> dict[str, Any]:
        """Let the real environments follow; where it is time, bring the dreams that go on back to
        them.
        """
        if self.reanchor_every is None:
            return {}
        assert isinstance(self._start, RealStart)
        self._start.follow(np.flatnonzero(live), actions)
        if self._observe is not None:
            pictures = self._start.latest()
            self._real_state = self._observe(
                self._real_state, actions, pictures, rng=self.np_random
            )
        due = live & ~over & (self._steps % self.reanchor_every == 0)
        rows = np.array(
            [row for row in np.flatnonzero(due).tolist() if not self._start.is_over(row)], np.int64
        )
        if len(rows):
            contexts = [self._start.context(row) for row in rows]
            fresh = (
                take_rows(self._real_state, rows)
                if self._observe is not None
                else self._made(contexts)
            )
            self._state = self._replaced(self._state, rows, fresh)
        reanchored = np.zeros(self.num_envs, bool)
        reanchored[rows] = True
        return {"reanchored": reanchored, "_reanchored": np.ones(self.num_envs, bool)}

    def _final(self) -> dict[str, Any]:
        """What SAME_STEP keeps of the rows that just ended, before they begin anew."""
        final = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(self._done):
            final[row] = take_row(self._frames, row)
        final_info = {
            "imagined_steps": self._steps * self._done,
            "_imagined_steps": self._done.copy(),
        }
        masks = {"_final_obs": self._done.copy(), "_final_info": self._done.copy()}
        return {"final_obs": final, "final_info": final_info, **masks}

    def _info(self) -> dict[str, Any]:
        return {
            "imagined_steps": self._steps.copy(),
            "_imagined_steps": np.ones(self.num_envs, bool),
        }
