"""Pong: ball and paddles."""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, Window, signed

_FIELD = Window(top=34, bottom=194)


def _read(ram: np.ndarray) -> Reading:
    """Addresses 49, 54: ball (54 is 0 out of play), 58, 56: its motion; 51, 50: your and the other paddle.

    A paddle of yours is drawn on every second row. 60 is where 51 will be a frame later.
    """
    ball_dx, ball_dy = -signed(ram[58]), signed(ram[56])
    own_y = 2 * ((int(ram[51]) + 1) // 2) - 14
    objects = [
        ScreenObject("ball", int(ram[49]) - 49, int(ram[54]) - 14, 2, 4, ball_dx, ball_dy),
        ScreenObject("your paddle", 140, own_y, 4, 16, 0.0),
        ScreenObject("other paddle", 16, int(ram[50]) - 15, 4, 16, 0.0),
    ]
    shown = [seen for one in objects if (seen := _FIELD.clip(one))]
    hidden = (*ram[[49, 54]], ball_dx, ball_dy, *ram[[51, 60, 50, 14, 13, 11, 12]])
    return Reading(tuple(shown), tuple(float(value) for value in hidden))


def _points(ram: np.ndarray) -> int:
    return int(ram[14])


PONG = GameObjects(
    "Pong",
    {"ball": "ball", "your paddle": "your paddle", "other paddle": "other paddle"},
    _read,
    hidden=(
        "ball x", "ball y", "ball dx", "ball dy", "your paddle's place", "your paddle's next place",
        "other paddle's place", "your points", "other points", "frames to the serve", "frames of sound",
    ),
    score=_points,
    shown={"score": "the points of the player on the right"},
)  # fmt: skip
