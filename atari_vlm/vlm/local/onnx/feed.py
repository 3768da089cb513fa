"""What the ONNX form of a small Qwen3-VL is given: pictures, and who stands where, worked out in numpy.

Everything that depends on the grid of a picture is an input, so that the graph itself is the same for every size.

================  ====================  =========================================================================
``ids``           int64 (B, S)          prompt, padded on the left, and all choices behind it
``positions``     int64 (3, B, S)       time, height and width position of each token
``bias``          float32 (B, 1, S, S)  0 where a token may look, the lowest number where it may not
``read``          int64 (R,)            the places whose logits are wanted
``picture``       int64 (B, S)          0 for text, else 1 + the number of the picture token that stands there
``patches``       float32 (P, N, F)     pictures in patches, short ones filled up with zeros
``places``        int64 (P, N, 2)       row and column of each patch
``corners``       int64 (P, N, 4)       the four learned positions around each patch
``shares``        float32 (P, N, 4)     how much of each
``seen``          float32 (P, N)        0 for a patch, the lowest number for a filling
================  ====================  =========================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from atari_vlm.vlm.local.prompt import Padded, Piece, Prompt

LOWEST = np.finfo(np.float32).min
Feed = dict[str, np.ndarray]
_ROOM = 256  # grids that are remembered


def feed(
    padded: Padded, mask: np.ndarray, read: np.ndarray, prompts: Sequence[Prompt], look: Look
) -> Feed:
    """Inputs for one pass; ``padded`` holds the choices too, ``mask`` is bool ``(B, 1, S, S)``, ``read`` int64 ``(R,)``."""
    return {
        "ids": padded.ids,
        "positions": np.ascontiguousarray(padded.positions),
        "bias": np.where(mask, np.float32(0), LOWEST),
        "read": read,
        **look.pictures(padded, prompts),
    }


class Look:
    """How a model looks at pictures: ``merge`` x ``merge`` patches become one token, ``side`` x ``side`` positions were learned.

    ``features`` is the width of a patch.
    """

    def __init__(self, merge: int, side: int, features: int):
        self.merge, self.side, self.features = merge, side, features
        self._grid = functools.lru_cache(_ROOM)(self._worked_out)

    def pictures(self, padded: Padded, prompts: Sequence[Prompt]) -> Feed:
        """The inputs that tell of pictures; without any, one of empty patches that nobody looks at."""
        pieces = [piece for prompt in prompts for piece in prompt.pieces]
        grids = [_grid_of(piece) for piece in pieces] or [(self.merge, self.merge)]
        longest = max(rows * columns for rows, columns in grids)
        tokens = longest // self.merge**2  # of each picture, fillings included
        out = {
            "picture": self._tokens(padded, prompts, tokens),
            "patches": np.zeros((len(grids), longest, self.features), np.float32),
            "places": np.zeros((len(grids), longest, 2), np.int64),
            "corners": np.zeros((len(grids), longest, 4), np.int64),
            "shares": np.zeros((len(grids), longest, 4), np.float32),
            "seen": np.full((len(grids), longest), LOWEST),
        }
        for row, grid in enumerate(grids):
            places, corners, shares = self._grid(*grid)
            size = len(places)
            out["places"][row, :size], out["corners"][row, :size] = places, corners
            out["shares"][row, :size], out["seen"][row, :size] = shares, 0
        for row, piece in enumerate(pieces):
            values = piece.tensors["pixel_values"]
            out["patches"][row, : len(values)] = values
        return out

    def _tokens(self, padded: Padded, prompts: Sequence[Prompt], tokens: int) -> np.ndarray:
        """Which picture token stands at each place, from 1; 0 for text: int64 ``(B, S)``."""
        picture = np.zeros_like(padded.ids)
        number = 0
        for row, (prompt, pad) in enumerate(zip(prompts, padded.pads, strict=True)):
            for start, stop in prompt.spans:
                first = 1 + number * tokens
                picture[row, pad + start : pad + stop] = first + np.arange(stop - start)
                number += 1
        return picture

    def _worked_out(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places ``(N, 2)``, and the corners and shares ``(N, 4)`` of bilinear interpolation with the ends aligned."""
        places = in_blocks(rows, columns, self.merge)
        lines = [
            _taps(places[:, axis], size, self.side) for axis, size in ((0, rows), (1, columns))
        ]
        (above, height), (left, width) = lines
        corners = (above[:, :, None] * self.side + left[:, None]).reshape(-1, 4)
        return places, corners, (height[:, :, None] * width[:, None]).reshape(-1, 4)


def in_blocks(rows: int, columns: int, merge: int) -> np.ndarray:
    """Row and column of each patch in the order of the processor: the patches of one token together, int64 ``(N, 2)``."""
    shape = (rows // merge, merge, columns // merge, merge)
    axes = np.indices((rows, columns)).reshape(2, *shape).swapaxes(2, 3)
    return np.ascontiguousarray(axes.reshape(2, -1).T)


def _taps(at: np.ndarray, size: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The two learned positions around each place on an axis of ``size``, and their weights: ``(N, 2)`` each."""
    exact = at.astype(np.float32) * np.float32(side - 1) / np.float32(max(size - 1, 1))
    low = np.floor(exact)
    rest = exact - low
    taps = np.minimum(low.astype(np.int64)[:, None] + np.arange(2), side - 1)
    return taps, np.stack([1 - rest, rest], axis=1)


def _grid_of(piece: Piece) -> tuple[int, int]:
    _, rows, columns = piece.tensors["image_grid_thw"][0]
    return int(rows), int(columns)
