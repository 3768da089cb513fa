"""Montezuma's Revenge: the explorer, what lies or waits in a room, the skull that rolls, the doors of the first room.

Known are the rooms 0, 1, 2, 5, 6, 7, 12, 13, 21 and 22, which a search from the first room reached.
"""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, Window, decimal

_ROOM = Window(top=47, bottom=181)
_JUMP = (-3, -3, -2, -2, -2, -1, -1, 0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 0)  # rows up, by 86
_FALLING, _CLIMBING, _IN_THE_AIR, _RUNNING, _VANISHING = 6, 10, 8, 18, 30
_STEP_UP, _STEP_DOWN = 239, 223  # of a climb, by 102
_POSES = {  # by 53: column, row, width, height
    0: (0, 309, 7, 19), 4: (-1, 308, 7, 20), 10: (0, 309, 7, 19), 14: (-1, 308, 7, 20), 22: (-1, 314, 8, 14),
    30: (0, 309, 7, 20),
}  # fmt: skip
_STANDING = (-1, 308, 8, 20)
_ITEMS = {  # by 49: name, row, width, height
    1: ("jewel", 310, 7, 12), 4: ("key", 309, 7, 15), 6: ("torch", 308, 6, 13), 10: ("spider", 308, 8, 11),
}  # fmt: skip
_SKULLS, _TORCH = 5, 6
_LOWER_ITEMS = {1: 44}  # rooms whose item lies so many rows lower
_ROLLING = {1: 167, 5: 117}  # rooms with a rolling skull, and its row


def _read(ram: np.ndarray) -> Reading:
    """Addresses 42, 43: the explorer, in the room 3; 44, 45: what lies there, of the kind 49; 47: the rolling skull."""
    shown = [seen for one in _objects(ram) if (seen := _ROOM.clip(one))]
    addresses = (3, 42, 43, 44, 45, 47, 49, 52, 53, 55, 65, 86)
    return Reading(tuple(shown), tuple(float(ram[address]) for address in addresses))


def _objects(ram: np.ndarray) -> list[ScreenObject]:
    room = int(ram[3])
    objects = [_explorer(ram), *_items(ram, room)]
    if room in _ROLLING:
        objects.append(ScreenObject("rolling skull", int(ram[47]) + 32, _ROLLING[room], 8, 12))
    if room == 1:
        doors = (("left door", 26, 20), ("right door", 28, 136))
        objects += [
            ScreenObject(name, x, 54, 4, 37, 0.0, 0.0) for name, at, x in doors if ram[at] == 124
        ]
    return objects


def _explorer(ram: np.ndarray) -> ScreenObject:
    """The picture shows where the explorer was a frame ago: the last move is taken back."""
    pose, way, jump = int(ram[53]), int(ram[52]), int(ram[86])
    dx, dy, width, height = _POSES.get(pose, _STANDING)
    up = _JUMP[jump] if jump < len(_JUMP) else -2 if pose == _FALLING else 0
    if pose == _CLIMBING:
        up = {_STEP_UP: 1, _STEP_DOWN: -1}.get(int(ram[102]), 0)
        dx = 0 if int(ram[42]) == 77 and ram[3] in (1, 7) else -1
    if pose == _VANISHING and way > 127:
        dx = -1
    x, y = int(ram[42]) - _sideways(ram, pose, way) + dx, dy - (int(ram[43]) - up)
    return ScreenObject("explorer", x, y, width, height)


def _sideways(ram: np.ndarray, pose: int, way: int) -> int:
    """The last move to the right: a run goes on where nothing is in the way (93), in the air every second frame (0) moves."""
    if pose == _RUNNING and (way == 72 or ram[93] == 0):
        return -1 if way < 128 else 1
    if pose in (_FALLING, _IN_THE_AIR) and ram[0] % 2 == 0:
        return {76: -1, 132: 1}.get(way, 0)
    return 0


def _items(ram: np.ndarray, room: int) -> list[ScreenObject]:
    kind, x, y = int(ram[49]), int(ram[44]) - 1, _LOWER_ITEMS.get(room, 0) - int(ram[45])
    if kind == _SKULLS:
        return [
            ScreenObject(name, x + dx, y + 308, 7, 13)
            for name, dx in (("left skull", 0), ("right skull", 16))
        ]
    if kind not in _ITEMS:
        return []
    name, row, width, height = _ITEMS[kind]
    if kind == _TORCH and ram[40] < 128:
        row, height = row + 5, height - 5
    return [ScreenObject(name, x, y + row, width, height)]


def _points(ram: np.ndarray) -> int:
    return decimal(ram[19], ram[20], ram[21])


def _lives(ram: np.ndarray) -> int:
    """Hats that are shown, and the explorer who plays."""
    return int(ram[58]) + 1


MONTEZUMA = GameObjects(
    "MontezumaRevenge",
    {
        "explorer": "explorer", "jewel": "jewel", "key": "key", "torch": "torch", "spider": "spider",
        "left skull": "skull", "right skull": "skull", "rolling skull": "skull", "left door": "door", "right door": "door",
    },
    _read,
    hidden=(
        "room", "explorer's column", "explorer's row", "item's column", "item's row", "skull's column",
        "item", "way", "pose", "depth of the fall", "inventory", "moment of the jump",
    ),
    score=_points,
    lives=_lives,
    shown={
        "score": "the points",
        "lives": " (the hats, and one more for the explorer who is playing)",
    },
)  # fmt: skip
