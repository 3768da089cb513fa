"""Pong: ball and paddles, and the knob that the player turns."""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import GameObjects, Hidden, Reading, ScreenObject, Window, signed
from atari_vlm.objects.pong_knob import followed

_FIELD = Window(top=34, bottom=194)
_HEIGHTS = {240: 16, 248: 8}  # of a paddle, by what memory holds


def _read(ram: np.ndarray) -> Reading:
    """Addresses 49, 54: ball (54 is 0 out of play), 58, 56: its motion; 51, 50: your and the other paddle.

    60 is where 51 will be a frame later. 8 counts frames; after an even one 4 is what was read of your knob, after an odd one of
    the other player's. 64 is 0 while your button is held. 38 and 37: 256 minus the height of your and the other paddle, which is
    8 instead of 16 where its difficulty switch is thrown.
    """
    ball_dx, ball_dy = -signed(ram[58]), signed(ram[56])
    own_y = 2 * ((int(ram[51]) + 1) // 2) - 14
    objects = [
        ScreenObject("ball", int(ram[49]) - 49, int(ram[54]) - 14, 2, 4, ball_dx, ball_dy),
        ScreenObject("your paddle", 140, own_y, 4, _height(ram[38]), 0.0),
        ScreenObject("other paddle", 16, int(ram[50]) - 15, 4, _height(ram[37]), 0.0),
    ]
    shown = [seen for one in objects if (seen := _FIELD.clip(one))]
    knob = ram[4] if ram[8] % 2 == 0 else 0
    hidden = (*ram[[49, 54]], ball_dx, ball_dy, *ram[[51, 60, 50, 14, 13, 11, 12]])
    hidden = (*hidden, ram[8], ram[64] == 0, knob)
    return Reading(tuple(shown), tuple(float(value) for value in hidden))


def _height(byte: int) -> int:
    """Of a paddle: 16 or 8, whatever stands there before the game has begun."""
    return _HEIGHTS.get(int(byte), 16)


def _points(ram: np.ndarray) -> int:
    return int(ram[14])


_HIDDEN = (
    "ball x", "ball y", "ball dx", "ball dy", "your paddle's place", "your paddle's next place", "other paddle's place",
    "your points", "other points", "frames to the serve", "frames of sound", "frame", "button", "your knob",
)  # fmt: skip
_NEXT, _FRAME, _KNOB = map(_HIDDEN.index, ("your paddle's next place", "frame", "your knob"))


def _follow(before: Hidden | None, now: Hidden, action: str) -> Hidden:
    """The knob, which memory shows rounded and every other frame, followed from the step before."""
    start = None if before is None else (before[_NEXT], before[_FRAME], before[_KNOB])
    turned = ("LEFT" in action) - ("RIGHT" in action)  # to the left the paddle goes down
    return (*now[:_KNOB], followed(start, turned, now[_NEXT], now[_FRAME], now[_KNOB]))


PONG = GameObjects(
    "Pong",
    {"ball": "ball", "your paddle": "your paddle", "other paddle": "other paddle"},
    _read,
    hidden=_HIDDEN,
    score=_points,
    shown={"score": "the points of the player on the right"},
    follow=_follow,
)
