"""The fast path for arrays: many games in one process, one uint8 stack.

``gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=8)``. Every row plays exactly as ``AtariVLM/<Game>-v5`` does with the same
picture options, seed and actions; only the texts are left out, and each picture is written once, into the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike

from atari_vlm.actions import as_actions
from atari_vlm.env.camera import Camera, CameraConfig
from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.env.environment import FRAMES_PER_SECOND, OPTIONS
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.picture import ResizeShape
from atari_vlm.registration import MAX_EPISODE_STEPS
from atari_vlm.spaces import autoreset_mode_of

_NO_ARGUMENTS = ("self", "others", "__class__")
Seed = int | Sequence[int | None] | None


class AtariVLMVectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """``num_envs`` games of one kind; observations are uint8 ``(N, frame_stack, H, W[, 3])``, oldest picture first.

    Args:
        num_envs: number of games N.
        game_name: as in :class:`~atari_vlm.env.environment.AtariVLMEnvironment`, and so are the keywords down to
            ``two_frame_maximum``; the defaults here are the usual 84 x 84 gray area average.
        autoreset_mode: ``"NextStep"``, ``"SameStep"`` or ``"Disabled"``, as gymnasium defines them.
        render_mode: ``"rgb_array"`` or ``None``.

    Raises ``ConfigError`` or ``UnknownNameError`` (both ``ValueError``) for wrong arguments, and for the options of single
    environments that arrays have no use for, which ``vectorization_mode="sync"`` takes.
    """

    def __init__(
        self,
        num_envs: int = 1,
        game_name: str = "Pong-v5",
        *,
        frame_stack: int = 4,
        frame_skip: int = 4,
        resize_shape: ResizeShape = (84, 84),
        grayscale: bool = True,
        max_episode_steps: int | None = MAX_EPISODE_STEPS,
        repeat_action_probability: float = 0.25,
        full_action_space: bool = False,
        interpolation: str = "area",
        keep_aspect: bool = False,
        two_frame_maximum: bool = True,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **others: Any,
    ):
        self._arguments = {
            name: value for name, value in locals().items() if name not in _NO_ARGUMENTS
        }
        for name in others:
            raise _not_here(name)
        check_count(num_envs=num_envs, frame_stack=frame_stack)
        if max_episode_steps is not None:
            check_count(max_episode_steps=max_episode_steps)
        if render_mode not in (None, "rgb_array"):
            raise UnknownNameError("render_mode", render_mode, ["rgb_array"])
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.max_episode_steps = max_episode_steps
        config = EmulatorConfig(
            game_name, frame_skip, repeat_action_probability, full_action_space, two_frame_maximum
        )
        camera_config = CameraConfig(resize_shape, grayscale, interpolation, keep_aspect)
        self._emulators = [Emulator(config) for _ in range(num_envs)]
        first = self._emulators[0]
        of_screen = (camera_config, first.palette, first.screen_shape)
        self._cameras = [Camera(*of_screen) for _ in range(num_envs)]
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": max(1, round(FRAMES_PER_SECOND / frame_skip)),
            "autoreset_mode": self.autoreset_mode,
            "privileged": False,
        }
        self._allocate((frame_stack, *self._cameras[0].shape, *(() if grayscale else (3,))))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        """The spaces and the arrays of ``num_envs`` games that show a stack of this ``shape``."""
        self.single_observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(len(self.get_action_meanings()))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._stacks = np.zeros((self.num_envs, *shape), np.uint8)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._returns = np.zeros(self.num_envs, np.float64)
        self._done = np.zeros(self.num_envs, np.bool_)

    def reset(
        self, *, seed: Seed = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:  # type: ignore[override]
        """Begin episodes in all games, or in those of ``options["reset_mask"]``, bool ``(N,)`` with at least one true.

        An integer ``seed`` seeds game i with ``seed + i``; a sequence holds one seed (or ``None``) a game.
        """
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(
                f"seed must hold one seed for each of the {self.num_envs} games, got {len(seeds)}"
            )
        mask = self._reset_mask(options or {})
        for i in np.flatnonzero(mask).tolist():
            self._begin(i, seeds[i])
        return self._stacks.copy(), self._info(mask)

    def step(
        self, actions: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one action in every game; ``actions`` are integers ``(N,)``, a list too.

        Rewards are float64, ends bool, all ``(N,)``.

        In mode NextStep a game that had ended ignores its action and begins anew with reward 0; in mode SameStep it begins anew
        at once and ``info["final_obs"]``, ``info["final_info"]`` tell how it ended; in mode Disabled stepping it is an error.
        """
        checked = as_actions(self.single_action_space, actions)
        if checked.shape != (self.num_envs,):
            raise ConfigError(
                f"actions must hold one action for each of the {self.num_envs} games, got {actions!r}"
            )
        if self.autoreset_mode is AutoresetMode.DISABLED and self._done.any():
            ended = np.flatnonzero(self._done).tolist()
            raise gymnasium.error.ResetNeeded(
                f"games {ended} have ended: reset them with options={{'reset_mask': ...}}"
            )
        rewards = np.zeros(self.num_envs, np.float64)
        terminated = np.zeros(self.num_envs, np.bool_)
        truncated = np.zeros(self.num_envs, np.bool_)
        again = (
            self._done
            if self.autoreset_mode is AutoresetMode.NEXT_STEP
            else np.zeros(self.num_envs, np.bool_)
        )
        for i, action in enumerate(checked.tolist()):
            if again[i]:
                self._begin(i, None)
            else:
                rewards[i], terminated[i], truncated[i] = self._play(i, action)
        self._done = terminated | truncated
        info = (
            self._finish()
            if self.autoreset_mode is AutoresetMode.SAME_STEP and self._done.any()
            else {}
        )
        return (
            self._stacks.copy(),
            rewards,
            terminated,
            truncated,
            info | self._info(np.ones(self.num_envs, np.bool_)),
        )

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Every game's screen at its own size, uint8 ``(H, W, 3)``; ``None`` without a render mode."""
        return (
            tuple(emulator.screen() for emulator in self._emulators) if self.render_mode else None
        )

    def get_action_meanings(self) -> list[str]:
        """ALE's names of the actions, in index order."""
        return list(self._emulators[0].action_names)

    def _reset_mask(self, options: dict[str, Any]) -> np.ndarray:
        mask = options.get("reset_mask", np.ones(self.num_envs, np.bool_))
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
            or not mask.any()
        ):
            raise ConfigError(
                f"reset_mask must be a bool array ({self.num_envs},) with at least one true, got {mask!r}"
            )
        return mask

    def _begin(self, i: int, seed: int | None) -> None:
        """Begin an episode in game i: its first picture fills the stack."""
        self._emulators[i].reset(seed)
        self._steps[i], self._returns[i], self._done[i] = 0, 0.0, False
        self._stacks[i] = self._shoot(i)

    def _play(self, i: int, action: int) -> tuple[float, bool, bool]:
        """One step of game i; returns reward, terminated, truncated."""
        emulator, stack = self._emulators[i], self._stacks[i]
        reward = emulator.step(action)
        self._steps[i] += 1
        self._returns[i] += reward
        stack[:-1] = stack[1:]
        stack[-1] = self._shoot(i)
        cut = self.max_episode_steps is not None and self._steps[i] >= self.max_episode_steps
        return reward, emulator.terminated, bool(emulator.truncated or cut)

    def _shoot(self, i: int) -> np.ndarray:
        emulator = self._emulators[i]
        return self._cameras[i].shoot(emulator.plane, emulator.changed)[0]

    def _finish(self) -> dict[str, Any]:
        """Mode SameStep: begin anew where games ended, and tell how they did."""
        ended = self._done.copy()
        last = np.full(self.num_envs, None, dtype=object)
        info = {
            "final_obs": last,
            "_final_obs": ended,
            "final_info": self._info(ended),
            "_final_info": ended.copy(),
        }
        for i in np.flatnonzero(ended).tolist():
            last[i] = self._stacks[i].copy()
            self._begin(i, None)
        return info

    def _info(self, mask: np.ndarray) -> dict[str, Any]:
        """The single environment's info as arrays ``(N,)``, zero outside ``mask``, each with its mask."""
        emulators = self._emulators
        values = {
            "episode_step": self._steps * mask,
            "episode_reward": self._returns * mask,
            "lives": np.array([emulator.lives for emulator in emulators]) * mask,
            "emulator_frames": np.array([emulator.frames for emulator in emulators]) * mask,
        }
        return {
            key: each
            for name, value in values.items()
            for key, each in ((name, value), (f"_{name}", mask.copy()))
        }

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs to be made anew; a copy is fresh and wants a ``reset``."""
        return {"arguments": self._arguments, "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.spec = state["spec"]


def _not_here(option: str) -> ConfigError:
    if option not in OPTIONS:
        return UnknownNameError("option", option, OPTIONS)
    return ConfigError(
        f"this vector environment shows arrays alone and has no {option}; a vector of whole environments has it: "
        'gymnasium.make_vec(..., vectorization_mode="sync"), or "async" for processes'
    )
