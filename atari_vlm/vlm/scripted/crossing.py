"""Freeway: see where the cars of each lane will be, and look a few steps ahead for a way up."""

from __future__ import annotations

import numpy as np

from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import ROWS, Box, Sight

_YELLOW, _ROAD = 0xFCFC54, 0x8E8E8E
_BELOW, _ABOVE = (
    Box(106, 202, 44, 49),
    Box(15, 101, 44, 49),
)  # the road's middle line between them is yellow too
_LANES = tuple(range(27, 187, 16))  # first row of a car in each lane, top lane first
_SPEEDS = (
    -0.8,
    -1.0,
    -4 / 3,
    -2.0,
    -4.0,
    4.0,
    2.0,
    4 / 3,
    1.0,
    0.8,
)  # pixels a step in the game's first variation
_ROAD_AREA = Box(27, 186, 8, 159)
_REACH = (42, 51)  # columns that a car must not touch: the chicken's and a margin
_HORIZON = 12
_STEP = 4  # rows the chicken moves in a step
_NEVER = 999  # more than any row


def play_freeway(scene: Scene) -> Move | None:
    """Go up unless a car would be hit on every way up within the next steps."""
    row = _chicken_row(scene.now)
    if row is None:
        return None
    best = _best_rows(_blocked(scene.now))
    up, stay, down = (int(best[min(max(row + step, 0), ROWS - 1)]) for step in (-_STEP, 0, _STEP))
    where = f"My chicken is at y={row}"
    if up <= min(stay, down):
        return Move(
            scene.steer(down=-1), f"{where}; going up now gets me furthest, as far as I can see."
        )
    if stay <= down:
        return Move(scene.steer(), f"{where}; a car is about to pass in front of me: wait.")
    return Move(scene.steer(down=1), f"{where}; a car is coming at me: step back.")


def _chicken_row(sight: Sight) -> int | None:
    """First row of the chicken, which is 8 rows high."""
    lower, upper = sight.box(_BELOW, _YELLOW), sight.box(_ABOVE, _YELLOW)
    if lower is not None and lower.height > 2:
        return lower.bottom - 7
    return upper.top if upper is not None else None


def _best_rows(blocked: np.ndarray) -> np.ndarray:
    """For every row taken one step from now: the highest row that can be reached safely within the horizon."""
    best = np.arange(ROWS)
    for time in range(_HORIZON, 0, -1):
        if time < _HORIZON:
            padded = np.pad(best, _STEP, constant_values=_NEVER)
            best = np.minimum(best, np.minimum(padded[: -2 * _STEP], padded[2 * _STEP :]))
        best = np.where(blocked[time], _NEVER, best)
    return best


def _blocked(sight: Sight) -> np.ndarray:
    """Boolean ``(horizon + 1, rows)``: a chicken with this first row touches a car so many steps from now."""
    road = ~sight.mask(_ROAD_AREA, _ROAD, _YELLOW)
    cars = road.reshape(len(_LANES), 16, -1)[:, 1:7].sum(axis=1) >= 2  # (lanes, columns)
    count = np.pad(cars.cumsum(axis=1), ((0, 0), (1, 0)))
    lanes = np.arange(len(_LANES))[:, None]
    hit = count[lanes, _WINDOW_END] > count[lanes, _WINDOW_START]  # (lanes, horizon + 1)
    blocked = np.zeros((_HORIZON + 1, ROWS), bool)
    for lane, times in zip(_LANES, hit, strict=True):
        blocked[times, lane - 7 : lane + 8] = True
    return blocked


def _window(column: int) -> np.ndarray:
    """For each lane and time the column, counted from 8, where a car is now that will then be at ``column``."""
    origin = column - 8 - np.outer(_SPEEDS, np.arange(_HORIZON + 1))
    return origin.round().clip(0, 152).astype(int)


_WINDOW_START, _WINDOW_END = _window(_REACH[0]), _window(_REACH[1] + 1)
