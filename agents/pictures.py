"""What is done to a picture before a VLM sees it: scaling, coordinate axes, several pictures in one.

Where a picture carries its palette plane, everything happens on that plane, so that the PNG stays indexed and cheap; the
pixels are the same either way.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from atari_vlm.types import Image

FrameLayout = Literal["images", "strip", "grid"]

_INK, _PAPER = (255, 255, 255), (48, 48, 48)
_GAP = 4  # pixels between tiled pictures
_LEFT, _TOP = 30, 16  # pixels of margin that hold the axes
_STEPS = (5, 10, 20, 50, 100, 200, 500, 1000)
_LABEL_GAP = 36  # pixels between two labels at least


class _Canvas:
    """Pixels to draw on: palette indices ``(H, W)`` while all pictures share a palette with room, else RGB ``(H, W, 3)``."""

    def __init__(self, images: Sequence[Image]):
        self.planes = [image.pixels for image in images]
        self.palette: np.ndarray | None = None
        self.ink: tuple[int, ...] = _INK
        self.paper: tuple[int, ...] = _PAPER
        first = images[0].palette
        planes = [image.indices for image in images if image.indices is not None]
        if first is None or len(planes) < len(images):
            return
        if any(not np.array_equal(first, image.palette) for image in images):  # type: ignore[arg-type]
            return
        used = np.unique(
            np.concatenate(
                [np.bincount(plane.ravel(), minlength=1).nonzero()[0] for plane in planes]
            )
        )
        free = [slot for slot in range(256) if slot not in set(used.tolist())]
        if len(free) >= 2:
            self.planes, (ink, paper) = planes, free[:2]
            self.palette = np.zeros((max(len(first), ink + 1, paper + 1), 3), np.uint8)
            self.palette[: len(first)] = first
            self.palette[ink], self.palette[paper] = _INK, _PAPER
            self.ink, self.paper = (ink,), (paper,)

    def blank(self, height: int, width: int) -> np.ndarray:
        """A plane of paper."""
        shape = (height, width) if self.palette is not None else (height, width, 3)
        return np.full(shape, self.paper if self.palette is None else self.paper[0], np.uint8)

    def finish(self, plane: np.ndarray) -> Image:
        """The drawn plane as a picture."""
        if self.palette is None:
            return Image(plane)
        return Image(self.palette[plane], plane, self.palette)


def scaled(image: Image, factor: float) -> Image:
    """The picture ``factor`` times as large: nearest pixel upwards, area mean downwards (which ends the palette plane)."""
    if factor == 1:
        return image
    height, width = image.pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if factor < 1:
        return Image(cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA))
    if image.indices is None or image.palette is None:
        return Image(cv2.resize(image.pixels, size, interpolation=cv2.INTER_NEAREST))
    indices = cv2.resize(image.indices, size, interpolation=cv2.INTER_NEAREST)
    return Image(image.palette[indices], indices, image.palette)


def with_axes(image: Image, factor: float = 1.0) -> Image:
    """The picture with a margin left and above that holds ticks and pixel coordinates; nothing of it is covered.

    ``factor`` is how much the picture has been scaled: the labels count the pixels before that, x to the right and y down
    from the top left corner.
    """
    canvas = _Canvas([image])
    picture = canvas.planes[0]
    height, width = picture.shape[:2]
    plane = canvas.blank(_TOP + height, _LEFT + width)
    plane[_TOP:, _LEFT:] = picture
    plane[_axes(height, width, factor)] = canvas.ink
    return canvas.finish(plane)


@functools.lru_cache(maxsize=16)
def _axes(height: int, width: int, factor: float) -> np.ndarray:
    """Which pixels of the enlarged picture are ticks and labels: bool ``(H + top, W + left)``."""
    mask = np.zeros((_TOP + height, _LEFT + width), np.uint8)
    step = next((step for step in _STEPS if step * factor >= _LABEL_GAP), _STEPS[-1])
    for x in range(0, math.ceil(width / factor), step):
        at = _LEFT + round(x * factor)
        mask[_TOP - 4 : _TOP, at : at + 1] = 255
        _write(mask, str(x), at - 7 * len(str(x)) // 2, _TOP - 6)
    for y in range(0, math.ceil(height / factor), step):
        at = _TOP + round(y * factor)
        mask[at : at + 1, _LEFT - 4 : _LEFT] = 255
        _write(mask, str(y), _LEFT - 6 - 7 * len(str(y)), at + 4)
    return mask > 127


def _write(mask: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(mask, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.34, 255, 1, cv2.LINE_8)


def tiled(images: Sequence[Image], layout: FrameLayout) -> tuple[Image, ...]:
    """The pictures as they stand (``images``), or as one: a row (``strip``) or rows as square as can be (``grid``).

    Reading order is time order; the gap between pictures is light.
    """
    if layout == "images" or len(images) < 2:
        return tuple(images)
    columns = len(images) if layout == "strip" else math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    canvas = _Canvas(images)
    height = max(plane.shape[0] for plane in canvas.planes)
    width = max(plane.shape[1] for plane in canvas.planes)
    whole = canvas.blank(rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP)
    whole[...] = canvas.ink
    for number, plane in enumerate(canvas.planes):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        whole[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return (canvas.finish(whole),)
