"""One ALE emulator with frame skip 1, and the one place of this package that skips frames.

Stepping it with the same seed and actions gives the rewards, ends, lives and frame counts of ``ALE/<Game>-v5`` with ALE's own
frame skip, sticky actions included: every frame draws the same random numbers.

Loading a game takes ALE a tenth of a second, and only loading heeds a seed. So an emulator loads when it is reset, not when it is
made; what does not change in a game is asked once of ALE's own environment.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import ale_py
import gymnasium
import numpy as np
from ale_py.roms import get_rom_path

from atari_vlm.actions import as_index
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.games import game
from atari_vlm.picture import Palette, TwoFrames, palette_for


@dataclass(frozen=True)
class _Facts:
    """What ALE's environment says of a game, the same for every emulator. ``keys``: its ``get_keys_to_action``."""

    rom: str
    frames: int  # of an episode, at most
    action_names: tuple[str, ...]
    actions: tuple[Any, ...]
    keys: dict[tuple[str, ...], int]
    screen_shape: tuple[int, int]
    palette: Palette


@functools.cache
def _facts(name: str, full_action_space: bool) -> _Facts:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    made = gymnasium.make(f"ALE/{name}-v5", frameskip=1, full_action_space=full_action_space)
    ale_env = cast(Any, made.unwrapped)
    height, width = ale_env.ale.getScreenDims()
    options = gymnasium.spec(f"ALE/{name}-v5").kwargs
    return _Facts(
        rom=options["game"],
        frames=options["max_num_frames_per_episode"],
        action_names=tuple(ale_env.get_action_meanings()),
        actions=tuple(ale_env._action_set),
        keys=ale_env.get_keys_to_action(),
        screen_shape=(height, width),
        palette=palette_for(ale_env.ale.getScreen(), ale_env.ale.getScreenRGB()),
    )


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
        facts = _facts(self.game.name, config.full_action_space)
        self.action_names, self.palette = facts.action_names, facts.palette
        self.screen_shape, self.keys = facts.screen_shape, facts.keys
        self._rom, self._actions, self._loaded = facts.rom, facts.actions, False
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", config.repeat_action_probability)
        self._ale.setInt("max_num_frames_per_episode", facts.frames)
        for setting in ("display_screen", "sound") if human else ():
            self._ale.setBool(setting, True)
        self._frames = TwoFrames(self.screen_shape, self.palette.rank)
        self.plane = self._frames.plane
        self.changed: np.ndarray | None = None
        self.frames_shown = 2 if config.two_frame_maximum and config.frame_skip > 1 else 1
        self._shown = (self._frames.first, self._frames.second)[-self.frames_shown :]
        self._ready = False

    @property
    def ale(self) -> Any:
        """The ``ale_py.ALEInterface``, with the game loaded."""
        if not self._loaded:
            self._load(None)
        return self._ale

    def _load(self, seed: int | None) -> None:
        """As ALE's environment seeds and loads."""
        _, ale_seed = np.random.SeedSequence(seed).generate_state(2)
        self._ale.setInt("random_seed", ale_seed.astype(np.int32))
        self._ale.loadROM(get_rom_path(self._rom))
        self._loaded = True

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode. With a seed the emulator is loaded and seeded anew; without, its random numbers go on."""
        if seed is not None or not self._loaded:
            self._load(seed)
        self._ale.reset_game()
        self._ale.getScreen(self.plane)
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
        ale, joystick = self._ale, self._actions[number]
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
