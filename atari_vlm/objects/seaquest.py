"""Seaquest: your submarine, and in four lanes fish or enemy submarines, divers or their torpedoes.

Your own torpedo is left out: it is one row high and flickers.
"""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, Window, decimal

_SEA = Window(left=8, top=44, bottom=165)
_LANES, _LANE_ROWS = 4, 24
_PLACES = ((4, 0), (2, 16), (1, 32))  # a bit, and how far right of the lane's column it stands
_SURFACE, _LINE = 13, 57  # where 97 is at the surface; the row under the line of the water
_OF_SUBMARINES = 8  # what 47 is while the lanes hold enemy submarines; it is their colour

_DIVERS = {0: (66, 13), 1: (65, 13)}  # by 91, how they kick: row and height


def _read(ram: np.ndarray) -> Reading:
    """Addresses 70, 97: your submarine (while 105 is 0); 33 down to 30: the lanes' columns from the top, 39 down to 36
    who is there; 93: how far all fish have sunk; 74 down to 71: divers or torpedoes.
    """
    objects = [_submarine(ram)] if ram[105] == 0 else []
    for lane in range(_LANES):
        objects += [*_enemies(ram, lane), *_others(ram, lane)]
    shown = [seen for one in objects if (seen := _SEA.clip(one))]
    addresses = (70, 97, 102, 93, 47, 62, *range(30, 34), *range(36, 40), *range(71, 75))
    return Reading(tuple(shown), tuple(float(ram[at]) for at in addresses))


def _submarine(ram: np.ndarray) -> ScreenObject:
    """Near the surface its lower part is not drawn above the line of the water, and its upper part not below."""
    place = int(ram[97])
    top, bottom = place + 33, place + 44
    if place == _SURFACE:
        bottom = top + 7
    elif bottom > _LINE + 6:
        top = max(top, _LINE)
    return ScreenObject("submarine", int(ram[70]), top, 16, bottom - top)


def _enemies(ram: np.ndarray, lane: int) -> list[ScreenObject]:
    column, who = int(ram[33 - lane]), int(ram[39 - lane])
    kind, top, height = "fish", 65 + int(ram[93]), 7
    if ram[47] == _OF_SUBMARINES:
        kind, top, height = "enemy submarine", 68, 11
    return [
        ScreenObject(
            f"{kind} {lane + 1}.{number}",
            _column(column + right),
            top + _LANE_ROWS * lane,
            8,
            height,
        )
        for number, (bit, right) in enumerate(_PLACES, start=1)
        if who & bit
    ]


def _others(ram: np.ndarray, lane: int) -> list[ScreenObject]:
    column, down = int(ram[74 - lane]), _LANE_ROWS * lane
    if column == 0:
        return []
    if ram[47] == _OF_SUBMARINES:
        return [ScreenObject(f"torpedo {lane + 1}", _column(column + 2), 73 + down, 6, 4)]
    top, height = _DIVERS.get(int(ram[91]) & 3, (65, 14))
    return [ScreenObject(f"diver {lane + 1}", _column(column), top + down, 8, height)]


def _column(value: int) -> int:
    """What is left of the screen is 256 columns to the right in memory."""
    value %= 256
    return value - 256 if value > 200 else value


def _points(ram: np.ndarray) -> int:
    return decimal(ram[56], ram[57], ram[58])


def _lives(ram: np.ndarray) -> int:
    return int(ram[59]) + 1


_NUMBERS = [f"{lane}.{place}" for lane in range(1, 5) for place in range(1, 4)]
SEAQUEST = GameObjects(
    "Seaquest",
    {
        "submarine": "submarine",
        **{f"fish {number}": "fish" for number in _NUMBERS},
        **{f"enemy submarine {number}": "enemy submarine" for number in _NUMBERS},
        **{f"diver {lane}": "diver" for lane in range(1, 5)},
        **{f"torpedo {lane}": "torpedo" for lane in range(1, 5)},
    },
    _read,
    hidden=(
        "submarine's column", "submarine's depth", "oxygen", "fish sunk by", "colour of enemies", "divers on board",
        *(f"column of lane {lane}" for lane in range(4, 0, -1)), *(f"who is in lane {lane}" for lane in range(4, 0, -1)),
        *(f"column of the other in lane {lane}" for lane in range(4, 0, -1)),
    ),
    score=_points,
    lives=_lives,
    shown={"score": "the points", "lives": " (the small submarines, and one more for the one that is playing)"},
)  # fmt: skip
