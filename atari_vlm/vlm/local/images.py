"""Image preprocessing for models that read flat patches (Qwen2-VL and its successors, GLM-V), without torchvision.

The same numbers as the stock processor in a fraction of the time: one look-up table does rescaling and normalising, and
every plane is written straight into patch order. Where the picture has to be resized, OpenCV does it (cubic to enlarge, area
to shrink) instead of PIL's bicubic, so pixels differ slightly there; at a size that needs no resizing they are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from atari_vlm.vlm.local.prompt import Tensors

Size = tuple[int, int]


class PatchProcessor:
    """Pixels to patches, with the settings of a stock image processor.

    ``stock`` is the checkpoint's own processor: it is asked once per picture size for the patch grid, so that the rule for
    the target size stays its own. Where there is none, ``rule`` says how many rows and columns of patches a size gives.
    """

    def __init__(self, stock: Any, rule: Callable[[Size], Size] | None = None):
        self._stock, self._rule = stock, rule or self._asked
        self._patch, self._merge, self._temporal = (
            stock.patch_size,
            stock.merge_size,
            stock.temporal_patch_size,
        )
        levels = np.arange(256)[None] * stock.rescale_factor
        mean, std = np.array(stock.image_mean)[:, None], np.array(stock.image_std)[:, None]
        self._table = ((levels - mean) / std).astype(np.float32)  # (3, 256)
        self._grids: dict[Size, Size] = {}

    def __call__(self, pixels: np.ndarray) -> Tensors:
        """Pixels uint8 ``(H, W, 3)`` to ``pixel_values`` float32 ``(N, 3 * T * P * P)`` and ``image_grid_thw`` ``(1, 3)``."""
        p, m = self._patch, self._merge
        rows, columns = self._grid(pixels.shape[:2])  # type: ignore[arg-type]
        planes = cv2.split(resized(pixels, (rows * p, columns * p)))
        out = np.empty((rows // m, columns // m, m, m, 3, self._temporal, p, p), np.float32)
        for channel, plane in enumerate(planes):
            values = cv2.LUT(plane, self._table[channel]).reshape(
                rows // m, m, p, columns // m, m, p
            )
            out[:, :, :, :, channel] = values.transpose(0, 3, 1, 4, 2, 5)[:, :, :, :, None]
        grid = np.array([[1, rows, columns]], dtype=np.int64)
        return {"pixel_values": out.reshape(rows * columns, -1), "image_grid_thw": grid}

    def _grid(self, size: Size) -> Size:
        if size not in self._grids:
            self._grids[size] = self._rule(size)
        return self._grids[size]

    def _asked(self, size: Size) -> Size:
        _, rows, columns = self._stock(
            np.zeros((*size, 3), np.uint8), return_tensors="np", input_data_format="channels_last"
        )["image_grid_thw"][0]
        return int(rows), int(columns)


def fast_processor(stock: Any) -> PatchProcessor | None:
    """A :class:`PatchProcessor` that was just seen to give ``stock``'s numbers, or ``None`` where it does not fit."""
    if not all(
        hasattr(stock, name)
        for name in ("patch_size", "merge_size", "temporal_patch_size", "image_mean")
    ):
        return None
    ours = PatchProcessor(stock)
    return ours if any(_agree(ours, stock, tokens) for tokens in (8, 4, 2)) else None


def _agree(ours: PatchProcessor, stock: Any, tokens: int) -> bool:
    """Whether both give the same numbers for a picture ``tokens`` tokens wide and high, which neither has to resize."""
    edge = tokens * stock.patch_size * stock.merge_size
    ramp = (
        (np.arange(edge * edge * 3, dtype=np.uint32) % 251).astype(np.uint8).reshape(edge, edge, 3)
    )
    expected, actual = (
        stock(ramp, return_tensors="np", input_data_format="channels_last"),
        ours(ramp),
    )
    if expected["pixel_values"].shape != actual["pixel_values"].shape:
        return False
    same_size = tuple(actual["image_grid_thw"][0, 1:] * stock.patch_size) == (edge, edge)
    return same_size and np.allclose(expected["pixel_values"], actual["pixel_values"], atol=1e-5)


def resized(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Pixels uint8 ``(H, W, 3)`` at ``size`` (height, width): as they are if they fit, else cubic to enlarge, area to shrink."""
    if pixels.shape[:2] == size:
        return pixels
    shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size[1], size[0]), interpolation=interpolation))


def clip_video(
    frames: Sequence[np.ndarray], count: int, edge: int, mean: np.ndarray, std: np.ndarray
) -> np.ndarray:
    """``count`` frames spread evenly over ``frames`` (oldest first), float32 ``(count, 3, edge, edge)``, normalised.

    A short window repeats its frames. Frames are squeezed to the square rather than cropped: on an Atari screen the score
    and the walls are at the edge.
    """
    picked = np.linspace(0, len(frames) - 1, count).round().astype(int)
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    table = ((levels - mean) / std).astype(np.float32)  # (256, 3)
    video = np.stack(
        [resized(frames[index], (edge, edge)) for index in picked]
    )  # (count, edge, edge, 3)
    return np.stack([table[video[..., channel], channel] for channel in range(3)], axis=1)
