"""Boxing: two fighters, seen from above, arms included."""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, Window, decimal

_RING = Window(left=8, top=30, right=160, bottom=183)
_REACH = {207: 0, 191: 0, 223: 1, 239: 2, 95: 0, 111: 0, 127: 1, 143: 2}  # of an arm
_RIGHTWARDS = ((5, 38, 14, 47), (5, 38, 21, 46), (5, 38, 30, 46))  # column, row, width, height
_LEFTWARDS = ((3, 37, 14, 47), (-5, 37, 22, 46), (-14, 37, 31, 46))


def _read(ram: np.ndarray) -> Reading:
    """Addresses 32, 34: you; 33, 35: the other one; 75, 73 and 79, 77: how far their arms reach; 84: whether you face left."""
    left = bool(ram[84] & 1)
    fighters = (
        _fighter("you", ram[32], ram[34], _reach(ram[75], ram[73]), left),
        _fighter("other boxer", ram[33], ram[35], _reach(ram[79], ram[77]), not left),
    )
    shown = [seen for one in fighters if (seen := _RING.clip(one))]
    hidden = (*ram[[32, 34, 33, 35, 75, 73, 79, 77, 84, 18, 19, 17]],)
    return Reading(tuple(shown), tuple(float(value) for value in hidden))


def _reach(upper: int, lower: int) -> int:
    return max(_REACH.get(int(upper), 0), _REACH.get(int(lower), 0))


def _fighter(name: str, x: int, y: int, reach: int, leftwards: bool) -> ScreenObject:
    dx, dy, width, height = (_LEFTWARDS if leftwards else _RIGHTWARDS)[reach]
    return ScreenObject(name, int(x) + dx, int(y) + dy, width, height)


def _points(ram: np.ndarray) -> int:
    return decimal(ram[18])


BOXING = GameObjects(
    "Boxing",
    {"you": "boxer", "other boxer": "boxer"},
    _read,
    hidden=(
        "your column", "your row", "other column", "other row", "your upper arm", "your lower arm",
        "other upper arm", "other lower arm", "you face left", "your points", "other points", "minutes",
    ),
    score=_points,
    shown={"score": "the points of the white boxer"},
)  # fmt: skip
