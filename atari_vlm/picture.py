"""Pictures of the emulator's screen: its palettes, the two-frame maximum, resizing and PNG.

The emulator draws *indices* into a palette of at most 256 colours. As long as a picture stays a plane of indices it is small,
lossless and cheap to encode; colours are looked up last (:mod:`atari_vlm.env.camera`).
"""

from __future__ import annotations

import functools
import json
import re
import struct
import zlib
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

import cv2
import numpy as np

from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError

Interpolation = Literal["nearest", "area", "cubic"]
ResizeShape = tuple[int, int] | str | None

MAX_EDGE_PX = 4096  # more than any model reads; a mistyped size must not take the machine's memory
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
_CV2_METHODS = {"area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
PAL_LINES = 250
_SCALE = re.compile(r"x([1-9]\d?)")


@dataclass(frozen=True, eq=False)
class Palette:
    """The colours of one television standard.

    ``rgb`` uint8 ``(256, 3)``. ``gray`` uint8 ``(256,)``, the luminance 0.2989 R + 0.5870 G + 0.1140 B, rounded. ``rank`` uint8
    ``(256,)`` orders the indices from dark to bright, without ties.
    """

    name: str
    rgb: np.ndarray
    gray: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, name: str, colours: list[str]) -> Palette:
        """Build it from 128 hexadecimal colours: entry k is index 2k; an odd index is its even neighbour without colour."""
        even = np.array([list(bytes.fromhex(colour)) for colour in colours], np.uint8)
        even_gray = np.rint(even @ np.array([0.2989, 0.5870, 0.1140])).astype(np.uint8)
        rgb = np.empty((256, 3), np.uint8)
        rgb[0::2], rgb[1::2] = even, even_gray[:, None]
        gray = np.repeat(even_gray, 2)
        rank = np.empty(256, np.uint8)
        rank[np.lexsort((np.arange(256), gray))] = np.arange(256)
        return cls(name, rgb, gray, rank)


@functools.cache
def palettes() -> tuple[Palette, ...]:
    """The palettes of NTSC and PAL consoles."""
    raw = json.loads((resources.files("atari_vlm") / "data" / "palettes.json").read_text(encoding="utf-8"))
    return tuple(Palette.of(name, " ".join(raw[name]).split()) for name in ("ntsc", "pal"))


def palette_for(indices: np.ndarray, rgb: np.ndarray) -> Palette:
    """The palette with which ``indices`` ``(H, W)`` look like ``rgb`` ``(H, W, 3)``; ``MismatchError`` if there is none.

    A screen of few colours can look alike in both; then its height decides: ALE shows 250 lines of a PAL console.
    """
    ntsc, pal = palettes()
    for palette in (pal, ntsc) if len(indices) == PAL_LINES else (ntsc, pal):
        if np.array_equal(palette.rgb[indices], rgb):
            return palette
    raise MismatchError(
        "the emulator draws with colours of neither the NTSC nor the PAL palette; is this another ale-py?"
    )


def brighter_of(first: np.ndarray, second: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Pixel by pixel the brighter colour of two index planes uint8 ``(H, W)``; games draw flickering sprites every other frame.

    ``rank`` is :attr:`Palette.rank`. The result is again a plane of indices, and does not depend on the order of the two.
    """
    return np.where(rank.take(first) > rank.take(second), first, second)


class TwoFrames:
    """The last two frames of an emulator, and the plane of their brighter colours (:func:`brighter_of`), kept in place.

    ``first``, ``second`` and ``plane`` are uint8 ``(H, W)`` palette indices; whoever owns the emulator writes the first two.
    """

    def __init__(self, shape: tuple[int, int], rank: np.ndarray):
        self.first, self.second, self.plane = np.zeros((3, *shape), np.uint8)
        self._rank = rank
        self._words = [words_of(plane) for plane in (self.first, self.second, self.plane)]

    def blend(self) -> np.ndarray:
        """Update ``plane``; return the ascending numbers of its runs (see :func:`runs_of`) that may have changed by that."""
        first, second, plane = self._words
        differs = first != second
        differs |= second != plane
        changed = differs.nonzero()[0]
        earlier, later = first.take(changed), second.take(changed)
        old, new = earlier.view(np.uint8), later.view(np.uint8)
        np.copyto(new, old, where=self._rank.take(old) > self._rank.take(new))
        plane[changed] = later
        return changed

    def follow(self) -> np.ndarray:
        """As :meth:`blend`, but ``plane`` becomes ``second`` alone."""
        _, second, plane = self._words
        changed = (second != plane).nonzero()[0]
        plane[changed] = second.take(changed)
        return changed


def runs_of(plane: np.ndarray) -> np.ndarray:
    """A contiguous plane as runs of 8 neighbouring pixels ``(n, 8)``, or of 1 where they do not divide it; a view."""
    return plane.reshape(-1, 8 if plane.size % 8 == 0 else 1)


def words_of(plane: np.ndarray) -> np.ndarray:
    """Each run of :func:`runs_of` as one number ``(n,)``, so that runs are compared at once; a view."""
    runs = runs_of(plane)
    return runs.view(np.uint64 if runs.shape[1] == 8 else np.uint8).ravel()


def target_shape(resize_shape: ResizeShape, screen_shape: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that ``resize_shape`` asks for: ``(224, 224)``, an integer scale ``"x3"``, or ``None`` for the screen's."""
    if resize_shape is None:
        return screen_shape
    if isinstance(resize_shape, str):
        scale = _SCALE.fullmatch(resize_shape)
        if scale is not None and int(scale[1]) * max(screen_shape) <= MAX_EDGE_PX:
            return screen_shape[0] * int(scale[1]), screen_shape[1] * int(scale[1])
    elif isinstance(resize_shape, (tuple, list)) and len(resize_shape) == 2:
        height, width = resize_shape
        whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in (height, width))
        if whole and 0 < height <= MAX_EDGE_PX and 0 < width <= MAX_EDGE_PX:
            return int(height), int(width)
    raise ConfigError(
        f"resize_shape must be (height, width) with both from 1 to {MAX_EDGE_PX}, an integer scale such as 'x3' within that, "
        f"or None for the screen's own size; got {resize_shape!r}"
    )


@functools.lru_cache(maxsize=64)
def _nearest(source: int, target: int) -> np.ndarray:
    """For every target position the source position below its centre, int64 ``(target,)``."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _fit(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The largest shape inside ``target`` with ``source``'s aspect."""
    scale = min(target[0] / source[0], target[1] / source[1])
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def resize(
    picture: np.ndarray, shape: tuple[int, int], interpolation: str = "nearest", *, keep_aspect: bool = False
) -> np.ndarray:
    """Resize uint8 ``(h, w)`` or ``(h, w, 3)`` to ``shape`` = (height, width).

    ``nearest`` takes the pixel below each target pixel's centre (Pillow's rule) and invents no colour, so it also resizes a
    plane of indices; ``area`` averages; ``cubic`` is smooth. ``keep_aspect`` puts the picture in the middle of a black one.
    """
    if interpolation not in INTERPOLATIONS:
        raise UnknownNameError("interpolation", interpolation, INTERPOLATIONS)
    if picture.shape[:2] == shape:
        return picture
    if keep_aspect:
        height, width = _fit((picture.shape[0], picture.shape[1]), shape)
        top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
        canvas = np.zeros((*shape, *picture.shape[2:]), np.uint8)
        canvas[top : top + height, left : left + width] = resize(picture, (height, width), interpolation)
        return canvas
    if interpolation == "nearest":
        columns = picture.take(_nearest(picture.shape[1], shape[1]), axis=1)
        return columns.take(_nearest(picture.shape[0], shape[0]), axis=0)
    return cv2.resize(picture, (shape[1], shape[0]), interpolation=_CV2_METHODS[interpolation])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _indexed_png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """PNG colour type 3 (PNG specification, section 11.2), 4 bits a pixel up to 16 colours, else 8; every row unfiltered."""
    height, width = indices.shape
    used = np.flatnonzero(cv2.calcHist([indices], [0], None, [256], [0, 256]))
    depth = 4 if used.size <= 16 else 8
    per_row = (width * depth + 7) // 8
    rows = np.zeros((height, 1 + per_row), np.uint8)
    if depth == 4:
        codes = np.zeros(256, np.uint8)
        codes[used] = np.arange(used.size)
        pixels = np.zeros((height, 2 * per_row), np.uint8)
        pixels[:, :width] = cv2.LUT(indices, codes)
        pairs = pixels.view("<u2")  # left pixel in the low byte
        rows[:, 1:] = ((pairs << 4) | (pairs >> 8)).astype(np.uint8)
        palette = palette[used]
    else:
        rows[:, 1:] = indices
        palette = palette[: used[-1] + 1]
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)),
            _chunk(b"PLTE", np.ascontiguousarray(palette).tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.data, 1)),
            _chunk(b"IEND", b""),
        )
    )


def encode_png(pixels: np.ndarray, *, indices: np.ndarray | None = None, palette: np.ndarray | None = None) -> bytes:
    """Encode a picture without loss.

    ``pixels`` uint8 ``(H, W, 3)`` RGB or ``(H, W)`` gray. ``indices`` uint8 ``(H, W)`` and ``palette`` uint8
    ``(N <= 256, 3)``, when given, are the same picture (not checked) and make an indexed PNG: smaller and many times faster.
    """
    if indices is not None and palette is not None:
        return _indexed_png(np.ascontiguousarray(indices), palette)
    done, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise ConfigError(f"cannot encode a picture of shape {pixels.shape} and dtype {pixels.dtype} as PNG")
    return data.tobytes()


def to_ansi(pixels: np.ndarray, columns: int = 80) -> str:
    """A picture uint8 ``(H, W, 3)`` as 24-bit coloured half blocks for a terminal, ``columns`` wide."""
    lines = max(1, round(columns * pixels.shape[0] / pixels.shape[1] / 2))
    small = cv2.resize(pixels, (columns, 2 * lines), interpolation=cv2.INTER_AREA).tolist()
    text = ""
    for upper, lower in zip(small[0::2], small[1::2], strict=True):
        for (r, g, b), (s, h, c) in zip(upper, lower, strict=True):
            text += f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{s};{h};{c}m▀"
        text += "\x1b[0m\n"
    return text
