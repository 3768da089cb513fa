"""One ALE emulator with frame skip 1, and the one place of this package that skips frames.

Stepping it with the same seed and actions gives the rewards, ends, lives and frame counts of ``ALE/<Game>-v5`` with ALE's own
frame skip, sticky actions included: every frame draws the same random numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import ale_py
import gymnasium
import numpy as np

from atari_vlm.actions import as_index
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.games import game
from atari_vlm.picture import TwoFrames, palette_for


@dataclass(frozen=True)
class EmulatorConfig:
    """Which game, and how it is played.

    ``game_name`` as :func:`atari_vlm.games.game` takes it. One step is ``frame_skip`` >= 1 emulator frames (60 a second).
    ``repeat_action_probability``, from 0 to below 1, is the chance, drawn each frame, that the action before is repeated.
    Without ``two_frame_maximum`` a step shows its last frame alone, as ALE does.
    """

    game_name: str = "Pong-v5"
    frame_skip: int = 4
    repeat_action_probability: float = 0.25
    full_action_space: bool = False
    two_frame_maximum: bool = True

    def __post_init__(self) -> None:
        game(self.game_name)
        check_count(frame_skip=self.frame_skip)
        number = isinstance(self.repeat_action_probability, (int, float))
        if not number or not 0 <= self.repeat_action_probability < 1:
            raise ConfigError(
                f"repeat_action_probability must be at least 0 and below 1, got {self.repeat_action_probability!r}"
            )


class Emulator:
    """A running game.

    ``plane`` uint8 ``(H, W)`` holds palette indices: the screen after a reset, and the brighter of a step's last two frames
    after a step (its last frame alone with frame skip 1, or without ``two_frame_maximum``). ``frames_shown`` is 2 or 1 by
    that. ``changed`` holds the runs of pixels in which ``plane`` may differ from the one before, as
    :meth:`atari_vlm.picture.TwoFrames.blend` does; ``None`` means everywhere. A step writes to both in place. ``human``
    opens ALE's own window, with sound, which holds the game to 60 frames a second.
    """

    def __init__(self, config: EmulatorConfig, *, human: bool = False):
        self.config, self.game = config, game(config.game_name)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        made = gymnasium.make(
            f"ALE/{self.game.name}-v5",
            frameskip=1,
            repeat_action_probability=config.repeat_action_probability,
            full_action_space=config.full_action_space,
            render_mode="human" if human else None,
        )
        self.ale_env = cast(Any, made.unwrapped)
        self.ale = self.ale_env.ale
        self.action_names: tuple[str, ...] = tuple(self.ale_env.get_action_meanings())
        height, width = self.ale.getScreenDims()
        self.screen_shape: tuple[int, int] = (height, width)
        self.palette = palette_for(self.ale.getScreen(), self.ale.getScreenRGB())
        self._actions = tuple(self.ale_env._action_set)
        self._frames = TwoFrames(self.screen_shape, self.palette.rank)
        self.plane = self._frames.plane
        self.changed: np.ndarray | None = None
        self.frames_shown = 2 if config.two_frame_maximum and config.frame_skip > 1 else 1
        self._shown = (self._frames.first, self._frames.second)[-self.frames_shown :]
        self._ready = False

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode. With a seed the emulator is loaded and seeded anew; without, its random numbers go on."""
        self.ale_env.reset(seed=seed)
        self.ale.getScreen(self.plane)
        self.changed = None
        self._ready = True

    def step(self, action: int) -> float:
        """Play one agent step and return its reward. After the end of an episode nothing moves and the reward is 0.

        Raises ``ConfigError`` for an action outside the action set, gymnasium's ``ResetNeeded`` before the first reset.
        """
        reward = self.play(action, self._shown)
        self.changed = self._frames.blend() if self.frames_shown == 2 else self._frames.follow()
        return reward

    def play(self, action: int, frames: Iterable[np.ndarray]) -> float:
        """A :meth:`step` that leaves ``plane`` as it was.

        ``frames``, :attr:`frames_shown` planes uint8 ``(H, W)``, receive the last emulator frames, palette indices: those
        whose brighter colours the picture shows.
        """
        if not self._ready:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        number = as_index(action)
        if not 0 <= number < len(self._actions):
            raise ConfigError(
                f"action must be a number from 0 to {len(self._actions) - 1}, got {action!r}"
            )
        ale, joystick = self.ale, self._actions[number]
        reward = 0.0
        for _ in range(self.config.frame_skip - self.frames_shown):
            reward += ale.act(joystick)
        for frame in frames:
            reward += ale.act(joystick)
            ale.getScreen(frame)
        return reward

    @property
    def terminated(self) -> bool:
        """Whether the game is over."""
        return bool(self.ale.game_over(with_truncation=False))

    @property
    def truncated(self) -> bool:
        """Whether ALE has cut the episode, which it does after 108,000 frames (half an hour)."""
        return bool(self.ale.game_truncated())

    @property
    def lives(self) -> int:
        """Lives left; 0 in games without lives."""
        return int(self.ale.lives())

    @property
    def frames(self) -> int:
        """Frames of this episode, from the emulator's own counter."""
        return int(self.ale.getEpisodeFrameNumber())

    def screen(self) -> np.ndarray:
        """The picture of ``plane`` at the screen's own size, uint8 ``(H, W, 3)``, RGB, a fresh array."""
        return self.palette.rgb.take(self.plane, axis=0)
