"""Pictures between the forms that they have: arrays, PIL images with what they were made from, parts of a message."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from PIL import Image as PIL

from atari_vlm.errors import ConfigError
from atari_vlm.types import Image

# keys of PIL.Image.Image.info; both hold bytes
_INDICES, _PALETTE = "atari_indices", "atari_palette"
_SOURCE = "atari_source"  # likewise: (height, width), and the bytes of a plane with those of its palette, or of an RGB picture


def to_pil(
    picture: np.ndarray, *, indices: np.ndarray | None = None, palette: np.ndarray | None = None
) -> PIL.Image:
    """An array uint8 ``(H, W, 3)`` or ``(H, W)`` as a PIL image of mode RGB or L.

    ``indices`` ``(H, W)`` and ``palette`` ``(256, 3)`` of the same RGB picture make it cheaper and travel in ``image.info``.
    """
    if indices is None or palette is None or picture.ndim == 2:
        return PIL.fromarray(picture.copy())  # mode L would share the array's memory
    plane, colours = indices.tobytes(), palette.tobytes()
    indexed = PIL.frombuffer("P", (indices.shape[1], indices.shape[0]), plane, "raw", "P", 0, 1)
    indexed.putpalette(colours)
    image = indexed.convert("RGB")
    image.info = {_INDICES: plane, _PALETTE: colours}
    return image


def carry_source(
    image: PIL.Image, source: np.ndarray, palette: np.ndarray | None = None
) -> PIL.Image:
    """``image`` with what it was made from in its ``info``: an RGB picture, or a plane ``(h, w)`` with its ``palette``."""
    image.info[_SOURCE] = (
        source.shape[:2],
        source.tobytes(),
        None if palette is None else palette.tobytes(),
    )
    return image


def source_of(image: Any) -> np.ndarray | None:
    """What :func:`carry_source` gave an image, as RGB uint8 ``(h, w, 3)``; ``None`` for an array, or another image."""
    carried = image.info.get(_SOURCE) if isinstance(image, PIL.Image) else None
    if carried is None:
        return None
    shape, content, palette = carried
    pixels = np.frombuffer(content, np.uint8)
    if palette is not None:
        pixels = np.frombuffer(palette, np.uint8).reshape(-1, 3).take(pixels, axis=0)
    return pixels.reshape(*shape, 3)


def to_image(value: PIL.Image | np.ndarray) -> Image:
    """A PIL image (any mode) or a uint8 array ``(H, W, 3)`` or ``(H, W)`` as a part of a message.

    Nothing of an array is kept by reference. The palette plane of an environment's own PIL image is kept as long as it
    still shows the image's pixels: an image that was drawn upon, cropped or filtered since loses it.
    """
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim not in (2, 3):
            raise ConfigError(
                f"a picture is uint8 (H, W, 3) or (H, W), got {value.dtype} {value.shape}"
            )
        return Image(np.repeat(value[..., None], 3, axis=2) if value.ndim == 2 else value.copy())
    picture = value if value.mode == "RGB" else value.convert("RGB")
    packed = np.frombuffer(picture.tobytes("raw", "RGBX"), np.uint32).reshape(
        value.height, value.width
    )
    pixels = cv2.cvtColor(packed.view(np.uint8).reshape(*packed.shape, 4), cv2.COLOR_RGBA2RGB)
    plane, colours = value.info.get(_INDICES, b""), value.info.get(_PALETTE, b"")
    if len(plane) != packed.size:
        return Image(pixels)
    indices = np.frombuffer(plane, np.uint8).reshape(packed.shape)
    palette = np.frombuffer(colours, np.uint8).reshape(-1, 3)
    padded = np.full((len(palette), 4), 255, np.uint8)  # as Pillow pads its pixels
    padded[:, :3] = palette
    kept = np.array_equal(padded.view(np.uint32).ravel().take(indices), packed)
    return Image(pixels, indices, palette) if kept else Image(pixels)
