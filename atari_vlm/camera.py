"""From the emulator's plane of palette indices to the picture an observation shows: size, colour, shades of gray."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from atari_vlm.errors import UnknownNameError
from atari_vlm.picture import INTERPOLATIONS, Palette, ResizeShape, resize, runs_of, target_shape, words_of


@dataclass(frozen=True)
class Look:
    """What pictures shall look like; see :func:`target_shape` and :func:`resize`."""

    resize_shape: ResizeShape = (224, 224)
    grayscale: bool = False
    interpolation: str = "nearest"
    keep_aspect: bool = False

    def __post_init__(self) -> None:
        target_shape(self.resize_shape, (210, 160))
        if self.interpolation not in INTERPOLATIONS:
            raise UnknownNameError("interpolation", self.interpolation, INTERPOLATIONS)


class Camera:
    """Turns the index planes of one emulator into pictures.

    A picture is a function of its plane alone. The camera keeps the last one only to paint, and to average, no more than what
    changed since.
    """

    def __init__(self, look: Look, palette: Palette, screen_shape: tuple[int, int]):
        self.look, self.palette = look, palette
        self.shape = target_shape(look.resize_shape, screen_shape)
        self._indexed = look.interpolation == "nearest" or self.shape == screen_shape
        self._table = palette.gray if look.grayscale else palette.rgb
        self._packed = np.zeros((256, 4), np.uint8)
        self._packed[:, :3] = palette.rgb
        self._cell = _exact_cell(screen_shape, self.shape) if look.interpolation == "area" else 0
        channels = () if look.grayscale else (3,)
        self._painted = np.empty((*(self.shape if self._indexed else screen_shape), *channels), np.uint8)
        run = runs_of(np.empty(self._painted.shape[:2], np.uint8)).shape[1]
        self._painted_runs = self._painted.reshape(-1, run, *channels)
        self._picture = self._painted if self._indexed else np.empty((*self.shape, *channels), np.uint8)
        self._plane: np.ndarray | None = None

    def shoot(self, plane: np.ndarray, changed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the picture of ``plane``, uint8 ``(H, W, 3)`` or gray ``(H, W)``, and, where it has one, its index plane.

        ``changed`` holds at least the runs (see :func:`runs_of`) in which ``plane`` differs from the last one shot; ``None``
        means that all may. Both results are the camera's own: copy them before the next shot, and do not write to them.
        """
        if self._indexed and plane.shape != self.shape:
            plane = resize(plane, self.shape, keep_aspect=self.look.keep_aspect)
            changed = None if self._plane is None else (words_of(plane) != words_of(self._plane)).nonzero()[0]
            self._plane = plane
        self._paint(plane, changed)
        if not self._indexed:
            self._shrink(plane, changed)
        return self._picture, plane if self._indexed else None

    def _paint(self, plane: np.ndarray, changed: np.ndarray | None) -> None:
        """Look the colours up."""
        runs = runs_of(plane)
        if changed is not None and changed.size < len(runs) // 4:
            self._painted_runs[changed] = self._table.take(runs.take(changed, axis=0), axis=0)
        elif self.look.grayscale:
            cv2.LUT(plane, self._table, dst=self._painted)
        else:
            packed = self._packed.view(np.uint32).ravel().take(plane)  # four bytes a pixel are looked up in one go
            cv2.cvtColor(packed.view(np.uint8).reshape(*plane.shape, 4), cv2.COLOR_RGBA2RGB, dst=self._painted)

    def _shrink(self, plane: np.ndarray, changed: np.ndarray | None) -> None:
        """Resize what is painted; under ``area`` only the band of rows that changed, where that gives the same pixels."""
        look = self.look
        if changed is None or not self._cell or look.keep_aspect:
            self._picture[...] = resize(self._painted, self.shape, look.interpolation, keep_aspect=look.keep_aspect)
        elif changed.size > 0:
            run, width = runs_of(plane).shape[1], plane.shape[1]
            first, last = int(changed[0]) * run // width, (int(changed[-1]) * run + run - 1) // width
            top, bottom = first // self._cell * self._cell, (last // self._cell + 1) * self._cell
            source, target = plane.shape[0], self.shape[0]
            band = slice(top * target // source, bottom * target // source)
            self._picture[band] = resize(self._painted[top:bottom], (band.stop - band.start, self.shape[1]), "area")


def _exact_cell(source: tuple[int, int], target: tuple[int, int]) -> int:
    """Rows after which the weights of an area average repeat, or 0 where a band would not give exactly the same pixels.

    It does when the picture shrinks and the ratio is a binary fraction (210 to 84 rows is 5 / 2), so that no weight is rounded.
    """
    divisor = math.gcd(source[0], target[0])
    numerator, denominator = source[0] // divisor, target[0] // divisor
    shrinks = source[0] >= target[0] and source[1] >= target[1]
    return numerator if shrinks and denominator & (denominator - 1) == 0 else 0
