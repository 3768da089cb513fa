"""Many dreamed games at once: the arrays of ``gymnasium.make_vec("AtariVLM/<Game>-v5")``, from one
call of the model a step.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from atari_vlm.env.camera import CameraConfig
from atari_vlm.errors import check_count
from atari_vlm.picture import ResizeShape, target_shape
from atari_vlm.registration import MAX_EPISODE_STEPS
from atari_vlm.space_trees import value_at
from atari_vlm.world_models.base import check_fit
from atari_vlm.wrappers.dreamed_game import (
    close_model,
    facts_of,
    model_for,
    on_screen,
    picture_of,
    shown,
)
from atari_vlm.wrappers.world_model_vector_env import WorldModelVectorEnv


class DreamedVectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """``num_envs`` dreams of one game; observations are uint8 ``(N, frame_stack, H, W[, 3])``,
    oldest picture first.

    Arguments as :class:`~atari_vlm.wrappers.dreamed_game.DreamedGame`'s, with the defaults and the
    spaces of :class:`~atari_vlm.env.vector.AtariVLMVectorEnv`. All dreams begin with start frames
    of the checkpoint, and one seed fixes the whole batch. ``info`` holds ``imagined_steps`` int64
    ``(N,)``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        game_name: str = "Pong-v5",
        checkpoint: str | None = None,
        *,
        kind: str | None = None,
        frame_stack: int = 4,
        frame_skip: int | None = None,
        resize_shape: ResizeShape = (84, 84),
        grayscale: bool = True,
        max_episode_steps: int | None = MAX_EPISODE_STEPS,
        full_action_space: bool = False,
        interpolation: str = "area",
        keep_aspect: bool = False,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        model_options: dict[str, Any] | None = None,
    ):
        check_count(num_envs=num_envs, frame_stack=frame_stack)
        self._camera_config = CameraConfig(resize_shape, grayscale, interpolation, keep_aspect)
        name, names, self._screen_shape = facts_of(game_name, full_action_space)
        model = model_for(name, checkpoint, kind, model_options or {})
        check_fit(
            model, names, model.frame_skip if frame_skip is None else frame_skip, f"{name} here"
        )
        self._dreams = WorldModelVectorEnv(
            model,
            num_envs,
            max_episode_steps=max_episode_steps,
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
        )
        self.num_envs, self.render_mode = num_envs, render_mode
        self.world_model, self._names, self._picture = model, names, picture_of(model)
        self.metadata = {
            **self._dreams.metadata,
            "privileged": False,
            "reward_transform": model.reward_transform,
        }
        picture = target_shape(resize_shape, self._screen_shape)
        self._allocate((frame_stack, *picture, *(() if grayscale else (3,))))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        """The spaces and the arrays of ``num_envs`` dreams that show a stack of this ``shape``."""
        self.single_observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(len(self._names))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._stacks = np.zeros((self.num_envs, *shape), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:  # type: ignore[override]
        """Begin all dreams, or those of ``options["reset_mask"]``; see
        :meth:`WorldModelVectorEnv.reset`.
        """
        observations, info = self._dreams.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        self._fill(value_at(observations, self._picture), mask)
        return self._stacks.copy(), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every dream; autoreset as :meth:`WorldModelVectorEnv.step` does it."""
        observations, reward, terminated, truncated, info = self._dreams.step(actions)
        frames = value_at(observations, self._picture)
        begun = info["imagined_steps"] == 0
        last = np.full(self.num_envs, None, dtype=object)
        for i in range(self.num_envs):
            ended = "final_obs" in info and info["final_obs"][i] is not None
            newest = value_at(info["final_obs"][i], self._picture) if ended else frames[i]
            if ended or not begun[i]:
                self._stacks[i, :-1] = self._stacks[i, 1:]
                self._stacks[i, -1] = self._shown(newest)
            last[i] = self._stacks[i].copy() if ended else None
        self._fill(frames, begun)
        if "final_obs" in info:
            info["final_obs"] = last
        return self._stacks.copy(), reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Every dream at the screen's size, uint8 ``(H, W, 3)``; ``None`` without a render mode."""
        frames = self._dreams.render()
        return (
            None
            if frames is None
            else tuple(on_screen(frame, self._screen_shape) for frame in frames)
        )

    def get_action_meanings(self) -> list[str]:
        """ALE's names of the actions, in index order."""
        return list(self._names)

    def close_extras(self, **_: Any) -> None:
        """End what the model holds."""
        close_model(self.world_model)

    def _fill(self, frames: np.ndarray, rows: np.ndarray) -> None:
        """The first pictures of new dreams fill their stacks."""
        for i in np.flatnonzero(rows):
            self._stacks[i] = self._shown(frames[i])

    def _shown(self, frame: np.ndarray) -> np.ndarray:
        return shown(on_screen(frame, self._screen_shape), self._camera_config)
