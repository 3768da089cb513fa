"""Skiing: the skier, gates of two flags, trees and moguls."""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import COLUMNS, GameObjects, Reading, ScreenObject, Window, decimal

_SLOPE = Window(left=8, top=32, right=152, bottom=178)
_PLACES = 8
_TREE, _MOGUL, _FLAG = 85, 5, 2
_HEIGHT = {_TREE: 30, _MOGUL: 6, _FLAG: 14}
_IN_ORDER = (  # what the numbers 0 to 7 are; the list on the screen counts down from the highest
    "gate 1", "mogul 1", "tree 1", "tree 2", "gate 2", "mogul 2", "tree 3", "tree 4",
)  # fmt: skip
_TREE_ROWS = (  # first and last column of each row of a tree; trees 1 and 2 are drawn the other way round
    "88 88 89 79 79 7a 7a 6a 6a 6a 6b 6b 5b 7b 4b 49 4b 4b 4d 4d 6d 2d 2f 2f 0f 0f 0d 09 2d 4b".split()
)
_MIRRORED = ("tree 1", "tree 2")
_HALF = 15  # a tree of which so many rows are left is drawn as many columns further as memory has moved it back
_SHIFT = 5
_CLOTH = {
    11: 1,
    10: 2,
    9: 3,
}  # rows that are left of a flag: columns of its cloth that are gone; all 4 below
_SKIER = {  # by the byte that says which picture of the skier is drawn: row, width, height
    160: (44, 8, 15), 176: (40, 8, 15), 195: (40, 7, 18), 214: (39, 8, 16), 234: (41, 7, 18),
}  # fmt: skip


def _read(ram: np.ndarray) -> Reading:
    """Addresses 25: the skier, 21: its picture; eight things from the top of the screen down, each with its column (62 and on),
    height above the bottom (86 and on), rows that are left of it (54 and on), kind (70 and on) and number (78 and on).

    14 is the speed, 15 the way that the skis point; one picture in a while is drawn a row lower (116).
    """
    row, width, height = _SKIER.get(int(ram[21]), (40, 8, 16))
    turned = (ram[21] == 195 and ram[15] < 8) or (ram[21] == 234 and ram[15] >= 8)
    skier = ScreenObject("skier", int(ram[25]) + 1 + int(turned), row, width, height, dy=0.0)
    things = [thing for place in range(_PLACES) for thing in _things(ram, place)]
    hidden = tuple(float(ram[address]) for address in (14, 15, 97, 116))
    return Reading((skier, *things), hidden)


def _things(ram: np.ndarray, place: int) -> list[ScreenObject]:
    """What is to be seen at one place of the list: a tree, a mogul, or the two flags of a gate."""
    kind, rows_left = int(ram[70 + place]), int(ram[54 + place])
    if kind not in _HEIGHT or rows_left in (0, 255):
        return []
    height = min(_HEIGHT[kind], rows_left - 1)
    lowest = 181 + int(ram[116] == 1)
    bottom = max(lowest - int(ram[86 + place]), _SLOPE.top) + height
    name, left = _name(ram, place), int(ram[62 + place])
    if kind == _TREE:
        back = _SHIFT if rows_left <= _HALF else 0
        return _tree(name, (left - 3 + back) % COLUMNS, bottom)
    if kind == _MOGUL:
        boxes = [ScreenObject(name, left + 2, bottom - 6, 16, 6, 0.0)]
    else:
        flags = ((f"{name}, left flag", left + 1), (f"{name}, right flag", left + 33))
        gone = _CLOTH.get(rows_left, 0 if rows_left > 11 else 4)
        boxes = [ScreenObject(flag, x + gone, bottom - 14, 5 - gone, 14, 0.0) for flag, x in flags]
    return [seen for box in boxes if (seen := _SLOPE.clip(box))]


def _name(ram: np.ndarray, place: int) -> str:
    """Both gates are number 0 in memory; their neighbours tell which one it is."""
    for other in range(_PLACES):
        number = int(ram[78 + other]) & 7
        if number:
            return _IN_ORDER[(number + other - place) % _PLACES]
    return _IN_ORDER[-place % _PLACES]


def _tree(name: str, left: int, bottom: int) -> list[ScreenObject]:
    """A tree is narrow at its top: its box is that of the rows and columns that are to be seen."""
    left = left - COLUMNS if left >= _SLOPE.right else left
    top = bottom - len(_TREE_ROWS)
    rows = []
    for i, row in enumerate(_TREE_ROWS):
        first, last = int(row[0], 16), int(row[1], 16)
        first = 15 - last if name in _MIRRORED else first
        width = int(row[1], 16) - int(row[0], 16) + 1
        rows.append(ScreenObject(name, left + first, top + i, width, 1, 0.0))
    boxes = [seen.box for row in rows if (seen := _SLOPE.clip(row))]
    if not boxes:
        return []
    x, y = min(box[0] for box in boxes), boxes[0][1]
    width, height = max(box[2] for box in boxes) - x, boxes[-1][3] - y
    return [ScreenObject(name, x, y, width, height, 0.0)]


def _gates_left(ram: np.ndarray) -> int:
    return decimal(ram[107])


_KINDS = {"skier": "skier"}
for _thing in _IN_ORDER:
    if _thing.startswith("gate"):
        _KINDS |= {f"{_thing}, left flag": "flag", f"{_thing}, right flag": "flag"}
    else:
        _KINDS[_thing] = _thing.split()[0]

SKIING = GameObjects(
    "Skiing",
    _KINDS,
    _read,
    hidden=("speed", "way of the skis", "fraction of the way", "row drawn lower"),
    score=_gates_left,
    shown={"score": "the gates that are left, the upper number"},
)
