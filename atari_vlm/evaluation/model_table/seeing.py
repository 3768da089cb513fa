"""Objects found by their colours in pictures of any size, for models that dream pictures.

What is really there is found in the real picture by the same eyes, at the model's own size: so nothing is asked of a model that
its pictures are too small to show. An object that covers a pixel in part has a share of its colour there: boxes are finer than
pixels, and a little more or less of blur moves them a little. Only games in :data:`PAINTED` have such eyes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from atari_vlm.objects.base import COLUMNS, ROWS

Colour = tuple[int, int, int]
_SHARE = 0.4  # of the way from the background to the colour: an object has it somewhere
_FAINT = 0.25  # of its largest share: what has less is none of it
_OFF = 60.0  # farthest distance from that way
_BALL, _GREEN, _ORANGE, _BROWN = (236, 236, 236), (92, 186, 92), (213, 130, 74), (144, 72, 17)


@dataclass(frozen=True)
class Paint:
    """An object of one colour on a background, in a window of the screen (left, top, right, bottom)."""

    colour: Colour
    background: Colour
    window: tuple[int, int, int, int]


PAINTED: Mapping[str, Mapping[str, Paint]] = {
    "Pong": {
        "ball": Paint(_BALL, _BROWN, (0, 34, 160, 194)),
        "your paddle": Paint(_GREEN, _BROWN, (132, 34, 152, 194)),
        "other paddle": Paint(_ORANGE, _BROWN, (8, 34, 28, 194)),
    }
}


def boxes_in_pictures(game: str, names: tuple[str, ...], pictures: np.ndarray) -> np.ndarray | None:
    """Boxes float32 ``(B, objects, 4)`` as in memory's coordinates, of pictures uint8 ``(B, h, w, 3)``; zeros where nothing is
    found, ``None`` for a game whose objects are not found by colours.
    """
    painted = PAINTED.get(game)
    if painted is None or tuple(painted) != names:
        return None
    found = [[_found(picture, paint) for paint in painted.values()] for picture in pictures]
    return np.array(found, np.float32)


def _found(picture: np.ndarray, paint: Paint) -> tuple[float, float, float, float]:
    """The box of what has the colour, among the pixels that lie in the window as a whole."""
    wide, high = COLUMNS / picture.shape[1], ROWS / picture.shape[0]  # of a pixel
    (left, right), (top, bottom) = (
        _inside(paint.window[::2], wide),
        _inside(paint.window[1::2], high),
    )
    away = picture[top:bottom, left:right].astype(np.float32) - paint.background
    way = np.subtract(paint.colour, paint.background, dtype=np.float32)
    share = away @ way / (way @ way)
    off = np.linalg.norm(away - share[..., None] * way, axis=-1)
    share = np.minimum(share, 1)
    share = np.where(off < _OFF * share, share, 0)
    if share.max(initial=0) <= _SHARE:
        return 0.0, 0.0, 0.0, 0.0
    (x, to_x), (y, to_y) = _extent(share.max(0)), _extent(share.max(1))
    return (left + x) * wide, (top + y) * high, (left + to_x) * wide, (top + to_y) * high


def _inside(window: tuple[int, ...], size: float) -> tuple[int, int]:
    return math.ceil(window[0] / size), math.floor(window[1] / size)


def _extent(shares: np.ndarray) -> tuple[float, float]:
    """Where along one axis an object begins and ends, in pixels: around the middle of its shares, as long as their sum."""
    weights = np.maximum(shares / shares.max() - _FAINT, 0) / (1 - _FAINT)
    length = float(weights.sum())
    middle = float(weights @ (np.arange(len(weights)) + 0.5)) / length
    return middle - length / 2, middle + length / 2
