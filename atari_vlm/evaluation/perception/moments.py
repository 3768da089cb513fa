"""Moments of a game that questions can be asked about: the screen, and what memory says of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.objects.base import GameObjects, ScreenObject
from atari_vlm.picture import Palette
from atari_vlm.types import Image

SCALE = 3  # a picture is sent so many times as large as the screen
FRAMES_APART = 8  # between the two pictures of a question about motion
_STEP = 4  # emulator frames between moments
_MOMENTS = 500
_SKIPPED = 30  # moments at the start: titles, and things that come in one after the other
_HELD = 3  # moments for which random play holds an action


@dataclass(frozen=True, eq=False)
class Moment:
    """One emulator frame. ``screen`` uint8 ``(H, W)`` palette indices; ``score`` and ``lives`` ``None`` where none is shown."""

    screen: np.ndarray
    palette: Palette
    objects: tuple[ScreenObject, ...]
    score: int | None
    lives: int | None
    episode: int

    @property
    def image(self) -> Image:
        """The picture that is sent: the screen, every pixel :data:`SCALE` times as large."""
        return _image(self)

    @property
    def size(self) -> list[int]:
        """Width and height of the picture that is sent."""
        height, width = self.screen.shape
        return [width * SCALE, height * SCALE]


@lru_cache(maxsize=32)  # a picture is large, and soon asked about again
def _image(moment: Moment) -> Image:
    large = moment.screen.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    rgb = moment.palette.rgb
    return Image(rgb.take(large, axis=0), indices=large, palette=rgb)


def moments(table: GameObjects, seed: int) -> list[Moment]:
    """Moments of random play, equal for equal seeds. A moment shows the emulator's last frame alone, as memory knows it."""
    config = EmulatorConfig(table.game, frame_skip=_STEP, two_frame_maximum=False)
    emulator = Emulator(config)
    random = np.random.default_rng([seed, zlib.crc32(table.game.encode())])
    emulator.reset(seed)
    found, action, episode = [], 0, 0
    for number in range(_SKIPPED + _MOMENTS):
        if number % _HELD == 0:
            action = int(random.integers(len(emulator.action_names)))
        emulator.step(action)
        if number >= _SKIPPED:
            found.append(_moment(table, emulator, episode))
        if emulator.terminated or emulator.truncated:
            emulator.reset()
            episode += 1
    return found


def _moment(table: GameObjects, emulator: Emulator, episode: int) -> Moment:
    memory = emulator.ale.getRAM().astype(np.int64)
    return Moment(
        emulator.plane.copy(),
        emulator.palette,
        table.read(memory).objects,
        table.score(memory) if table.score else None,
        table.lives(memory) if table.lives else None,
        episode,
    )


def pairs(found: Sequence[Moment]) -> Iterator[tuple[Moment, Moment]]:
    """Moments :data:`FRAMES_APART` frames from one another, of one episode."""
    for before, now in zip(found, found[FRAMES_APART // _STEP :], strict=False):
        if before.episode == now.episode:
            yield before, now
