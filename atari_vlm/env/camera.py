"""From the emulator's plane of palette indices to the picture an observation shows: size, colour, shades of gray."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from atari_vlm.errors import UnknownNameError
from atari_vlm.picture import (
    INTERPOLATIONS,
    Palette,
    ResizeShape,
    resize,
    runs_of,
    target_shape,
    words_of,
)


@dataclass(frozen=True)
class CameraConfig:
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

    def __init__(self, config: CameraConfig, palette: Palette, screen_shape: tuple[int, int]):
        self.config, self.palette = config, palette
        self.shape = target_shape(config.resize_shape, screen_shape)
        self._indexed = config.interpolation == "nearest" or self.shape == screen_shape
        self._table = palette.gray if config.grayscale else palette.rgb
        self._packed = np.zeros((256, 4), np.uint8)
        self._packed[:, :3] = palette.rgb
        self._cell = _exact_cell(screen_shape, self.shape) if config.interpolation == "area" else 0
        self._picture = np.empty((*self.shape, *(() if config.grayscale else (3,))), np.uint8)
        run = runs_of(np.empty(self.shape, np.uint8)).shape[1]
        run_of_colours = np.dtype(
            (np.void, run * (1 if config.grayscale else 3))
        )  # one value holds all bytes of a run
        self._picture_runs = self._picture.reshape(-1).view(run_of_colours)
        self._plane: np.ndarray | None = None

    def shoot(
        self, plane: np.ndarray, changed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the picture of ``plane``, uint8 ``(H, W, 3)`` or gray ``(H, W)``, and, where it has one, its index plane.

        ``changed`` holds at least the runs (see :func:`runs_of`) in which ``plane`` differs from the last one shot; ``None``
        means that all may. Both results are the camera's own: copy them before the next shot, and do not write to them.
        """
        if not self._indexed:
            self._resample(plane, changed)
            return self._picture, None
        if plane.shape != self.shape:
            plane = resize(plane, self.shape, keep_aspect=self.config.keep_aspect)
            changed = (
                None
                if self._plane is None
                else (words_of(plane) != words_of(self._plane)).nonzero()[0]
            )
            self._plane = plane
        self._paint(plane, changed)
        return self._picture, plane

    def _colours(self, plane: np.ndarray) -> np.ndarray:
        """Look up the colours of any rows of indices."""
        if self.config.grayscale:
            return cv2.LUT(plane, self._table)
        packed = (
            self._packed.view(np.uint32).ravel().take(plane)
        )  # four bytes a pixel are looked up in one go
        return cv2.cvtColor(packed.view(np.uint8).reshape(*plane.shape, 4), cv2.COLOR_RGBA2RGB)

    def _paint(self, plane: np.ndarray, changed: np.ndarray | None) -> None:
        """The picture is the plane in colour: look up what changed."""
        words = words_of(plane)
        if changed is None or changed.size > len(words) // 4:
            self._picture[...] = self._colours(plane)
        else:
            colours = self._table.take(words.take(changed).view(np.uint8), axis=0)
            self._picture_runs[changed] = colours.reshape(-1).view(self._picture_runs.dtype)

    def _resample(self, plane: np.ndarray, changed: np.ndarray | None) -> None:
        """The picture is the plane in colour, resized; ``area`` does only the cells of rows that changed, where that is exact."""
        config, cell, (height, width) = self.config, self._cell, plane.shape
        if changed is None or not cell or config.keep_aspect:
            self._picture[...] = resize(
                self._colours(plane),
                self.shape,
                config.interpolation,
                keep_aspect=config.keep_aspect,
            )
        elif changed.size > 0:
            touched = np.zeros(height // cell, np.bool_)
            touched[changed * runs_of(plane).shape[1] // (cell * width)] = True
            rows = plane.reshape(-1, cell, width)[touched].reshape(-1, width)
            small = resize(
                self._colours(rows), (len(rows) * self.shape[0] // height, self.shape[1]), "area"
            )
            picture = self._picture.reshape(height // cell, -1)
            picture[touched] = small.reshape(-1, picture.shape[1])


def _exact_cell(source: tuple[int, int], target: tuple[int, int]) -> int:
    """Rows after which the weights of an area average repeat, or 0 where a cell of them would not give exactly its pixels.

    It does when the picture shrinks and the ratio is a binary fraction (210 to 84 rows is 5 / 2), so that no weight is rounded.
    """
    divisor = math.gcd(source[0], target[0])
    numerator, denominator = source[0] // divisor, target[0] // divisor
    shrinks = source[0] >= target[0] and source[1] >= target[1]
    whole = source[1] % 8 == 0  # no run of pixels lies in two rows
    return numerator if shrinks and whole and denominator & (denominator - 1) == 0 else 0
