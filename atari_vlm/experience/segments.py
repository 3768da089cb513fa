"""Pieces of recorded play, and where they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Segments:
    """B pieces of T steps: ``slots`` int64 ``(B, T)`` (0 where padded), ``mask`` and ``is_first`` bool ``(B, T)``: whether there
    is a step, and whether an episode begins with it.
    """

    slots: np.ndarray
    mask: np.ndarray
    is_first: np.ndarray

    def rows(self, which: slice | np.ndarray) -> Segments:
        """Some of the pieces."""
        return Segments(self.slots[which], self.mask[which], self.is_first[which])


def stop_after(positions: np.ndarray, firsts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Where the stretches that hold these positions stop."""
    upto: np.ndarray = stops[np.searchsorted(firsts, positions, side="right") - 1]
    return upto


def draw(
    firsts: np.ndarray, choices: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """``count`` positions: one of ``choices[i]`` consecutive ones from ``firsts[i]``, all equally likely."""
    upto = np.cumsum(choices)
    drawn = rng.integers(upto[-1], size=count)
    which = np.searchsorted(upto, drawn, side="right")
    positions: np.ndarray = firsts[which] + drawn - (upto[which] - choices[which])
    return positions
