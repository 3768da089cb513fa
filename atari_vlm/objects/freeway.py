"""Freeway: two chickens and ten cars."""

from __future__ import annotations

import numpy as np

from atari_vlm.objects.base import COLUMNS, GameObjects, Reading, ScreenObject, Window, decimal

_ROAD = Window(left=8)
_LANES = 10
_LEFT_LANES = 5  # the upper half drives to the left


def _read(ram: np.ndarray) -> Reading:
    """Addresses 14, 15: how far up the chickens are; 108 to 117: the cars from the lowest lane to the highest.

    A car moves a pixel every so many frames. The picture shows the upper five cars before their last move; 33 to 37 count
    the frames to the next one and are 0 right after it. A car that leaves at one side comes in at the other.
    """
    objects = [
        ScreenObject("your chicken", 44, 193 - int(ram[14]), 6, 8, 0.0),
        *(_car(ram, lane) for lane in reversed(range(_LANES))),
        ScreenObject("other chicken", 108, 193 - int(ram[15]), 6, 8, 0.0),
    ]
    shown = [seen for one in objects if (seen := _ROAD.clip(one))]
    return Reading(tuple(shown), tuple(float(ram[address]) for address in (*range(33, 43), 106)))


def _car(ram: np.ndarray, lane: int) -> ScreenObject:
    """The car of a lane, counted from the top."""
    leftwards = lane < _LEFT_LANES
    behind = 1 if leftwards and ram[33 + lane] == 0 else 0
    x = (int(ram[117 - lane]) - 3 + behind) % COLUMNS
    dx = -1 / (_LEFT_LANES - lane) if leftwards else 1 / (lane - _LEFT_LANES + 1)
    return ScreenObject(f"car in lane {_LANES - lane}", x, 27 + 16 * lane, 8, 10, dx, 0.0)


def _points(ram: np.ndarray) -> int:
    return decimal(ram[103])


_CARS = [f"car in lane {number}" for number in range(1, _LANES + 1)]
FREEWAY = GameObjects(
    "Freeway",
    {"your chicken": "chicken", **dict.fromkeys(_CARS, "car"), "other chicken": "chicken"},
    _read,
    hidden=(
        *(f"frames to the move of the car in lane {_LANES - lane}" for lane in range(_LANES)),
        "frames of the throw back",
    ),
    score=_points,
    shown={"score": "the points of the left chicken"},
)
