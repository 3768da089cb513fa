"""Looking at a picture: objects found by their palette colour, in the Atari's own 210 x 160 coordinates."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from atari_vlm._lazy import computed_once
from atari_vlm.types import Image

ROWS, COLUMNS = 210, 160


@dataclass(frozen=True)
class Box:
    """A rectangle in 210 x 160 coordinates, edges included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def x(self) -> float:
        """Column of the centre."""
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        """Row of the centre."""
        return (self.top + self.bottom) / 2

    @property
    def width(self) -> int:
        """Columns covered."""
        return self.right - self.left + 1

    @property
    def height(self) -> int:
        """Rows covered."""
        return self.bottom - self.top + 1

    @property
    def index(self) -> tuple[slice, slice]:
        """The index that cuts the box out of a 210 x 160 array."""
        return slice(self.top, self.bottom + 1), slice(self.left, self.right + 1)


FULL = Box(0, ROWS - 1, 0, COLUMNS - 1)


class Sight:
    """One picture, read as colours at 210 x 160 positions.

    The picture has any size; a nearest-resized Atari frame keeps its exact palette colours, which is what the players look
    for. A picture made by averaging neighbours shows fewer exact colours, so less is found in it.
    """

    def __init__(self, image: Image):
        self._image = image

    @computed_once
    def colours(self) -> np.ndarray:
        """uint32 ``(210, 160)``: ``0xRRGGBB`` at each of the Atari's own pixels."""
        pixels = self._image.pixels
        height, width = pixels.shape[:2]
        lookup = _lookup(height, width)
        if self._image.indices is not None and self._image.palette is not None:
            return _packed(self._image.palette).take(self._image.indices.ravel().take(lookup))
        if height * width <= 2 * ROWS * COLUMNS:
            return _packed(pixels.reshape(-1, 3)).take(lookup)
        return _packed(pixels.reshape(-1, 3).take(lookup.ravel(), axis=0)).reshape(ROWS, COLUMNS)

    def mask(self, area: Box, *colours: int) -> np.ndarray:
        """Boolean array over ``area``: where one of ``colours`` is."""
        part = self.colours[area.index]
        matches = part == colours[0]
        for colour in colours[1:]:
            matches |= part == colour
        return matches

    def box(self, area: Box, *colours: int) -> Box | None:
        """The smallest box around every pixel of ``colours`` inside ``area``; ``None`` if there is none."""
        return bounding_box(self.mask(area, *colours), area)

    def other_than(self, area: Box, *colours: int) -> Box | None:
        """The smallest box around everything in ``area`` that is none of ``colours``."""
        return bounding_box(~self.mask(area, *colours), area)


def bounding_box(mask: np.ndarray, area: Box = FULL) -> Box | None:
    """Box around the true pixels of ``mask``, a boolean array over ``area``; ``None`` if there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return Box(
        area.top + int(rows[0]),
        area.top + int(rows[-1]),
        area.left + int(columns[0]),
        area.left + int(columns[-1]),
    )


def _packed(rgb: np.ndarray) -> np.ndarray:
    """``0xRRGGBB`` of each row of uint8 ``(N, 3)``, as uint32 ``(N,)``."""
    padded = np.zeros((len(rgb), 4), np.uint8)
    padded[:, :3] = rgb[:, ::-1]
    codes: np.ndarray = padded.view("<u4")[:, 0]
    return codes


@functools.lru_cache(maxsize=32)
def _lookup(height: int, width: int) -> np.ndarray:
    """Flat index, into a picture of this size, of each of the 210 x 160 positions (their centres, scaled)."""
    rows = (np.arange(ROWS) * 2 + 1) * height // (2 * ROWS)
    columns = (np.arange(COLUMNS) * 2 + 1) * width // (2 * COLUMNS)
    flat: np.ndarray = rows[:, None] * width + columns
    return flat
