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
_CV2_METHODS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}
PAL_LINES = 250
_UP = 2  # PNG's filter that stores the difference to the row above
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
    raw = json.loads(
        (resources.files("atari_vlm") / "data" / "palettes.json").read_text(encoding="utf-8")
    )
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
    The three lie one after the other, so that one comparison covers both pairs of neighbours.
    """

    def __init__(self, shape: tuple[int, int], rank: np.ndarray):
        planes = np.zeros((3, *shape), np.uint8)
        self.first, self.second, self.plane = planes
        words = words_of(planes[0])
        words = planes.reshape(3, -1).view(words.dtype)
        self._uppers, self._lowers = words[:2], words[1:]
        self._second_words, self._plane_words = self._lowers
        self._differs = np.empty(self._uppers.shape, np.bool_)
        self._either, self._second_differs = self._differs
        self._bright = rank.astype(np.uint16) << 8 | np.arange(
            256, dtype=np.uint16
        )  # rank, then index

    def blend(self) -> np.ndarray:
        """Update ``plane``; return the ascending numbers of its runs (see :func:`runs_of`) that may have changed by that."""
        np.not_equal(self._uppers, self._lowers, out=self._differs)
        changed: np.ndarray = np.logical_or(
            self._either, self._second_differs, out=self._either
        ).nonzero()[0]
        both = self._bright.take(self._uppers.take(changed, axis=1).view(np.uint8))
        brighter = np.maximum(both[0], both[1]).astype(np.uint8)  # drops the rank
        self._plane_words[changed] = brighter.view(self._plane_words.dtype)
        return changed

    def follow(self) -> np.ndarray:
        """As :meth:`blend`, but ``plane`` becomes ``second`` alone."""
        changed: np.ndarray = (self._second_words != self._plane_words).nonzero()[0]
        self._plane_words[changed] = self._second_words.take(changed)
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
        whole = all(
            isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in (height, width)
        )
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


@functools.lru_cache(maxsize=64)
def _is_opencvs(source: tuple[int, ...], target: tuple[int, int]) -> bool:
    """Whether OpenCV's nearest pixels, which its fixed-point arithmetic rounds, are those of :func:`_nearest`."""
    for old, new in zip(source, target, strict=True):
        positions = np.arange(old, dtype=np.uint16)[np.newaxis]
        taken = cv2.resize(positions, (new, 1), interpolation=cv2.INTER_NEAREST_EXACT)
        if not np.array_equal(taken[0], _nearest(old, new)):
            return False
    return True


def _fit(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The largest shape inside ``target`` with ``source``'s aspect."""
    scale = min(target[0] / source[0], target[1] / source[1])
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def resize(
    picture: np.ndarray,
    shape: tuple[int, int],
    interpolation: str = "nearest",
    *,
    keep_aspect: bool = False,
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
        canvas[top : top + height, left : left + width] = resize(
            picture, (height, width), interpolation
        )
        return canvas
    if interpolation == "nearest" and not _is_opencvs(picture.shape[:2], shape):
        columns = picture.take(_nearest(picture.shape[1], shape[1]), axis=1)
        return columns.take(_nearest(picture.shape[0], shape[0]), axis=0)
    return cv2.resize(picture, (shape[1], shape[0]), interpolation=_CV2_METHODS[interpolation])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
    )


def _deflate(rows: np.ndarray) -> bytes:
    """zlib, level 1, with a small hash table: setting up the usual one takes as long as filling it here."""
    packer = zlib.compressobj(level=1, memLevel=6)
    return packer.compress(rows.data) + packer.flush()


def _indexed_png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """PNG colour type 3 (PNG specification, section 11.2), 4 bits a pixel up to 16 colours, else 8.

    A row that repeats the row above is filtered by "up" to zeros, which leaves few rows to look at; the others are unfiltered.
    """
    height, width = indices.shape
    fresh = _fresh_rows(indices)
    shown = indices[fresh]
    used = np.flatnonzero(cv2.calcHist([shown], [0], None, [256], [0, 256]))
    depth = 4 if used.size <= 16 else 8
    rows = np.zeros((height, 1 + (width * depth + 7) // 8), np.uint8)
    rows[:, 0] = _UP
    rows[fresh, 0] = 0
    rows[fresh, 1:] = _half_bytes(shown, used) if depth == 4 else shown
    palette = palette[used] if depth == 4 else palette[: used[-1] + 1]
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)),
            _chunk(b"PLTE", np.ascontiguousarray(palette).tobytes()),
            _chunk(b"IDAT", _deflate(rows)),
            _chunk(b"IEND", b""),
        )
    )


def _fresh_rows(plane: np.ndarray) -> np.ndarray:
    """The ascending numbers of the rows of a contiguous plane ``(H, W)`` that differ from the row above; row 0 is one."""
    words = plane.view(np.uint64) if plane.shape[1] % 8 == 0 else plane
    is_fresh = np.zeros(len(plane), np.bool_)
    is_fresh[0] = True
    is_fresh[(words[1:] != words[:-1]).ravel().nonzero()[0] // words.shape[1] + 1] = True
    return is_fresh.nonzero()[0]


def _half_bytes(indices: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Each index as its position in ``used`` (at most 16), two pixels a byte, the left one in the upper half."""
    codes = np.zeros(256, np.uint8)
    codes[used] = np.arange(used.size)
    pixels = cv2.LUT(indices, codes)
    if pixels.shape[1] % 2:
        pixels = np.pad(pixels, ((0, 0), (0, 1)))
    pairs = pixels.view("<u2")  # left pixel in the low byte
    return ((pairs << 4) | (pairs >> 8)).astype(np.uint8)


def encode_png(
    pixels: np.ndarray, *, indices: np.ndarray | None = None, palette: np.ndarray | None = None
) -> bytes:
    """Encode a picture without loss.

    ``pixels`` uint8 ``(H, W, 3)`` RGB or ``(H, W)`` gray. ``indices`` uint8 ``(H, W)`` and ``palette`` uint8
    ``(N <= 256, 3)``, when given, are the same picture (not checked) and make an indexed PNG: smaller and many times faster.
    """
    if indices is not None and palette is not None:
        return _indexed_png(np.ascontiguousarray(indices), palette)
    done, data = cv2.imencode(
        ".png", pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    )
    if not done:
        raise ConfigError(
            f"cannot encode a picture of shape {pixels.shape} and dtype {pixels.dtype} as PNG"
        )
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
