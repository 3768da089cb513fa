"""Least, largest, mean and spread of every number of a data set and of its pictures' channels, summed as episodes pass by."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as PIL

_LEVELS = np.arange(256) / 255


class Statistics:
    """Sums so far. Numbers count as they are; of pictures each channel from 0 to 1, as LeRobot shows them."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}  # least, largest, sum, sum of squares, count
        self._pictures: dict[str, np.ndarray] = {}  # int64 (3, 256): how often each level is there

    def add(
        self, numbers: Mapping[str, np.ndarray], pictures: Sequence[bytes], picture: str
    ) -> None:
        """Count an episode's numbers ``(T,)`` and its pictures (PNG), which are called ``picture``."""
        for name, values in numbers.items():
            v = values.astype(np.float64)
            new = np.array([v.min(), v.max(), v.sum(), (v * v).sum(), len(v)])
            old = self._sums.get(name, np.array([np.inf, -np.inf, 0, 0, 0]))
            ends = [min(old[0], new[0]), max(old[1], new[1])]
            self._sums[name] = np.array([*ends, *(old[2:] + new[2:])])
        levels = self._pictures.setdefault(picture, np.zeros((3, 256), np.int64))
        for png in pictures:
            pixels = np.asarray(PIL.open(io.BytesIO(png)))
            for channel in range(3):
                levels[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)

    def told(self) -> dict[str, Any]:
        """``{name: {"min", "max", "mean", "std", "count"}}`` as lists; of pictures each ``(3, 1, 1)``."""
        found: dict[str, Any] = {}
        for name, (least, most, total, squares, count) in self._sums.items():
            mean = total / count
            spread = float(np.sqrt(max(0.0, squares / count - mean * mean)))
            found[name] = _row(least, most, mean, spread, int(count))
        for name, levels in self._pictures.items():
            found[name] = _of_levels(levels)
        return found


def _row(least: float, most: float, mean: float, spread: float, count: int) -> dict[str, Any]:
    values = {"min": least, "max": most, "mean": mean, "std": spread}
    return {**{name: [float(value)] for name, value in values.items()}, "count": [count]}


def _of_levels(levels: np.ndarray) -> dict[str, Any]:
    counts = levels.sum(axis=1)
    mean = levels @ _LEVELS / counts
    spread = np.sqrt(np.maximum(0.0, levels @ _LEVELS**2 / counts - mean**2))
    there = [np.flatnonzero(row) for row in levels]
    values = {
        "min": np.array([row[0] for row in there]) / 255,
        "max": np.array([row[-1] for row in there]) / 255,
        "mean": mean,
        "std": spread,
    }
    shaped = {name: value.reshape(3, 1, 1).tolist() for name, value in values.items()}
    return {**shaped, "count": [int(counts[0])]}
