"""Where the objects of a few games are, read from the console's 128 bytes of memory.

The addresses and offsets were found by comparing memory and picture over random play of each game's first variation, which
is what the environments play; a test repeats the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.wrappers.views import attribute


@dataclass(frozen=True)
class ScreenObject:
    """An object by its left upper corner and size, in pixels of the emulator's screen (160 wide, 210 high)."""

    name: str
    x: int
    y: int
    width: int
    height: int


def _pong(ram: np.ndarray) -> list[ScreenObject]:
    """Addresses 49, 54: ball; 50: the opponent's paddle; 51: the player's. A ball at height 0 is not in play."""
    objects = [
        ScreenObject("your paddle", 140, ram[51] - 13, 4, 16),
        ScreenObject("other paddle", 16, ram[50] - 15, 4, 16),
    ]
    return (
        [ScreenObject("ball", ram[49] - 49, ram[54] - 14, 2, 4), *objects]
        if 46 <= ram[54] <= 207
        else objects
    )


def _breakout(ram: np.ndarray) -> list[ScreenObject]:
    """Addresses 99, 101: ball (at rest or lost above 184 or at 0); 72: paddle, whose right part is cut off at the wall."""
    objects = [ScreenObject("paddle", ram[72] - 47, 189, 16, 4)]
    return (
        [ScreenObject("ball", ram[99] - 49, ram[101] + 9, 2, 4), *objects]
        if 23 <= ram[101] < 180
        else objects
    )


def _freeway(ram: np.ndarray) -> list[ScreenObject]:
    """Address 14: how far up the left chicken is; 108 to 117: the cars from the lowest lane to the highest.

    The picture shows the upper five cars, which drive to the left, before their last move; 33 to 37 count the frames to the
    next one and are 0 right after it.
    """
    cars = []
    for lane in range(10):
        moved = lane < 5 and ram[33 + lane] == 0
        cars.append(
            ScreenObject(
                f"car in lane {10 - lane}", ram[117 - lane] - 3 + moved, 27 + 16 * lane, 8, 10
            )
        )
    return [ScreenObject("your chicken", 44, 193 - ram[14], 6, 8), *cars[::-1]]


READERS: dict[str, Callable[[np.ndarray], list[ScreenObject]]] = {
    "Breakout": _breakout,
    "Freeway": _freeway,
    "Pong": _pong,
}


def check_readable(env: gymnasium.Env[Any, Any], game: str) -> None:
    """Raise ``UnknownNameError`` for a game without reader and ``ConfigError`` for an environment without emulator."""
    if game not in READERS:
        raise UnknownNameError("game with objects", game, READERS)
    if attribute(env, "ale") is None:
        raise ConfigError(
            "objects are read from an ALE emulator's memory; this environment has no attribute 'ale'"
        )


def read_objects(env: gymnasium.Env[Any, Any], game: str) -> list[ScreenObject]:
    """The objects of ``env`` as they are now."""
    return READERS[game](attribute(env, "ale").getRAM().astype(int))


def describe_objects(objects: list[ScreenObject]) -> str:
    """One line an object, by its centre."""
    lines = [f"- {o.name}: x {o.x + o.width // 2}, y {o.y + o.height // 2}" for o in objects]
    return "\n".join(["Objects (x from the left 0 to 159, y from the top 0 to 209):", *lines])
