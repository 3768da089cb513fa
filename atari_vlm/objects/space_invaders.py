"""Space Invaders: 36 invaders, the cannon, the ship that crosses on top.

Shots are left out: they are a pixel wide, flicker, and their ends change from frame to frame.
"""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, Window, decimal

_FIELD = Window(top=8, bottom=195)
_ROWS = _COLUMNS = 6
_NO_SHIP = 180
_LEFT_WALL, _RIGHT_WALL = 35, 117
_RIGHT_HELD, _LEFT_HELD = 127, 191


def _read(ram: np.ndarray) -> Reading:
    """Addresses 26, 16: the invaders' left and upper edge; 23 down to 18: who is left, a bit a column from the left, row by row
    from the top; 28: the cannon (:func:`_cannon_moved`), which blinks (74, bit 3) until 120 is 0; 30: the ship (180: none).
    """
    objects = _invaders(ram)
    if ram[120] == 0 or ram[74] & 8:
        objects.append(
            ScreenObject("cannon", int(ram[28]) - 1 - _cannon_moved(ram), 185, 7, 10, dy=0.0)
        )
    if ram[30] != _NO_SHIP:
        objects.append(ScreenObject("ship", int(ram[30]) - 1, 12, 7, 8, dy=0.0))
    shown = [seen for one in objects if (seen := _FIELD.clip(one))]
    hidden = tuple(float(ram[at]) for at in (16, 26, *range(18, 24), 24, 28, 30, *range(81, 88)))
    return Reading(tuple(shown), hidden)


def _cannon_moved(ram: np.ndarray) -> int:
    """By how many pixels memory is ahead of the picture: every other frame (1 is 128) the cannon moves as the stick (110) is
    held, after it was drawn.
    """
    place, stick = int(ram[28]), int(ram[110])
    if ram[1] != 128:
        return 0
    if stick == _RIGHT_HELD and place < _RIGHT_WALL:
        return 1
    return -1 if stick == _LEFT_HELD and place > _LEFT_WALL else 0


def _invaders(ram: np.ndarray) -> list[ScreenObject]:
    left, top = int(ram[26]) - 1, 31 + 2 * int(ram[16])
    return [
        ScreenObject(f"invader {row + 1}.{column + 1}", left + 16 * column, top + 18 * row, 8, 10)
        for row in range(_ROWS)
        for column in range(_COLUMNS)
        if ram[23 - row] >> column & 1
    ]


def _points(ram: np.ndarray) -> int:
    return decimal(ram[102], ram[104])


_INVADERS = [
    f"invader {row + 1}.{column + 1}" for row in range(_ROWS) for column in range(_COLUMNS)
]
SPACE_INVADERS = GameObjects(
    "SpaceInvaders",
    {**dict.fromkeys(_INVADERS, "invader"), "cannon": "cannon", "ship": "ship"},
    _read,
    hidden=(
        "rows down", "left edge", *(f"row {row} from below" for row in range(1, 7)), "pace", "cannon's place",
        "ship's place", *(f"shots, byte {at}" for at in range(81, 88)),
    ),
    score=_points,
    shown={"score": "the points on the left"},
)  # fmt: skip
