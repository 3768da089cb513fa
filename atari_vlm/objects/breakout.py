"""Breakout: ball and paddle."""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, Window, decimal, signed

_FIELD = Window(left=8, top=32, right=152, bottom=195)


def _read(ram: np.ndarray) -> Reading:
    """Addresses 99, 101: ball (101 is 0 out of play), with 256ths of a pixel in 100, 102; 72: paddle.

    103, 104 and 105, 106 are the ball's motion down and to the left, whole pixels and 256ths.
    """
    dx = -(signed(ram[105]) + ram[106] / 256)
    dy = signed(ram[103]) + ram[104] / 256
    objects = [ScreenObject("paddle", int(ram[72]) - 47, 189, 16, 4, dy=0.0)]
    if ram[101]:
        objects.insert(0, ScreenObject("ball", int(ram[99]) - 49, int(ram[101]) + 9, 2, 4, dx, dy))
    shown = [seen for one in objects if (seen := _FIELD.clip(one))]
    hidden = (ram[99] - ram[100] / 256, ram[101] + ram[102] / 256, dx, dy, ram[72], ram[57])
    return Reading(tuple(shown), tuple(float(value) for value in hidden))


def _points(ram: np.ndarray) -> int:
    return decimal(ram[76], ram[77])


def _lives(ram: np.ndarray) -> int:
    return int(ram[57])


BREAKOUT = GameObjects(
    "Breakout",
    {"ball": "ball", "paddle": "paddle"},
    _read,
    hidden=("ball x", "ball y", "ball dx", "ball dy", "paddle's place", "lives"),
    score=_points,
    lives=_lives,
    shown={
        "score": "the points, the three digits on the left",
        "lives": " (the digit right of the points)",
    },
)
