"""Objects found by their colours in pictures of any size, for models that dream pictures.

What is really there is found in the real picture by the same eyes, at the model's own size: so nothing is asked of a model that
its pictures are too small to show. Only games in :data:`PAINTED` have such eyes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from atari_vlm.objects.base import COLUMNS, ROWS

Colour = tuple[int, int, int]
_SHARE, _OFF = (
    0.4,
    60.0,
)  # of the way from the background to the colour; farthest distance from that way
_BALL, _GREEN, _ORANGE, _BROWN = (236, 236, 236), (92, 186, 92), (213, 130, 74), (144, 72, 17)


@dataclass(frozen=True)
class Paint:
    """An object of one colour on a background, in a window of the screen (left, top, right, bottom)."""

    colour: Colour
    background: Colour
    window: tuple[int, int, int, int]


PAINTED: Mapping[str, Mapping[str, Paint]] = {
    "Pong": {
        "ball": Paint(_BALL, _BROWN, (0, 36, 160, 192)),
        "your paddle": Paint(_GREEN, _BROWN, (132, 36, 152, 192)),
        "other paddle": Paint(_ORANGE, _BROWN, (8, 36, 28, 192)),
    }
}


def boxes_in_pictures(game: str, names: tuple[str, ...], pictures: np.ndarray) -> np.ndarray | None:
    """Boxes float32 ``(B, objects, 4)`` as in memory's coordinates, of pictures uint8 ``(B, h, w, 3)``; zeros where nothing is
    found, ``None`` for a game whose objects are not found by colours.
    """
    painted = PAINTED.get(game)
    if painted is None or tuple(painted) != names:
        return None
    return np.stack(
        [[_found(screen, paint) for paint in painted.values()] for screen in _large(pictures)]
    )


def _large(pictures: np.ndarray) -> list[np.ndarray]:
    """Every picture at the screen's own size."""
    size, way = (COLUMNS, ROWS), cv2.INTER_NEAREST
    return [np.asarray(cv2.resize(one, size, interpolation=way)) for one in pictures]


def _found(screen: np.ndarray, paint: Paint) -> tuple[float, float, float, float]:
    left, top, right, bottom = paint.window
    away = screen[top:bottom, left:right].astype(np.float32) - paint.background
    way = np.subtract(paint.colour, paint.background, dtype=np.float32)
    share = away @ way / (way @ way)
    off = np.linalg.norm(away - share[..., None] * way, axis=-1)
    mask = (share > _SHARE) & (off < _OFF * np.minimum(share, 1))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    x, y = left + columns[0], top + rows[0]
    return float(x), float(y), float(left + columns[-1] + 1), float(top + rows[-1] + 1)
