"""Shares and their intervals: of what changed, how much is right; how often what is said to happen does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atari_vlm.evaluation.fidelity import estimate
from atari_vlm.scores.statistics import BootstrapConfig

Figure = dict[str, float]  # mean, low, high
Ratio = tuple[np.ndarray, np.ndarray]  # what is right and what is counted, float64 (N,) each
BOOTSTRAP = BootstrapConfig(repetitions=1000)
LEAST_OVERLAP = 0.5  # of two boxes that are the same object's
LEAST_COLOUR = 24  # of 255, in some channel: a pixel that differs
_BINS = 10


def same_boxes(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether boxes ``(..., 4)`` are the same: both not to be seen, or overlapping by half of what they cover together."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(np.maximum(box[..., 2:] - box[..., :2], 0), axis=-1) for box in (one, other)]
    union = areas[0] + areas[1] - both
    same: np.ndarray = both >= LEAST_OVERLAP * union  # nothing and nothing: 0 >= 0
    return same


def same_places(one: np.ndarray, other: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Whether boxes ``(..., 4)`` that were found in pictures are the same: both not to be seen, or their middles no farther apart
    than a pixel ``(2,)`` is wide and high. A ball may be smaller than that, and a little blur makes it larger.
    """
    seen = [(box[..., 2:] > box[..., :2]).all(-1) for box in (one, other)]
    off = np.abs(one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2
    same: np.ndarray = np.where(seen[0] & seen[1], (off <= pixel).all(-1), seen[0] == seen[1])
    return same


def same_pixels(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether pixels ``(..., 3)`` differ by less than :data:`LEAST_COLOUR` in every channel."""
    off = np.maximum(one, other) - np.minimum(one, other)
    same: np.ndarray = off.max(axis=-1) < LEAST_COLOUR
    return same


def right_of_changed(
    truth_is_last: np.ndarray, said_is_last: np.ndarray, right: np.ndarray
) -> Ratio:
    """Of all that changed since the last real moment, in truth or in the dream, what is right; arrays ``(N, ...)`` of bool.

    A copy of the last moment is right about none of it, the game itself about all of it.
    """
    changed = ~(truth_is_last & said_is_last)
    return _rows(changed & right), _rows(changed)


def _rows(flags: np.ndarray) -> np.ndarray:
    counts: np.ndarray = flags.reshape(len(flags), -1).sum(1).astype(np.float64)
    return counts


def summed(ratios: Sequence[Ratio]) -> Ratio:
    """The draws of the same rows together."""
    return sum(top for top, _ in ratios), sum(bottom for _, bottom in ratios)  # type: ignore[return-value]


def joined(ratios: Sequence[Ratio]) -> Ratio:
    """Rows after rows."""
    return np.concatenate([top for top, _ in ratios]), np.concatenate([low for _, low in ratios])


def share(ratio: Ratio | None) -> Figure | None:
    """The share with its interval from drawing rows anew; ``None`` where nothing is counted."""
    if ratio is None or not ratio[1].sum():
        return None
    return figure(*_values(estimate({"it": ratio}, BOOTSTRAP)["it"]))


def _values(found: object) -> tuple[float, float, float]:
    return tuple(float(getattr(found, name)) for name in ("value", "low", "high"))  # type: ignore[return-value]


def figure(mean: float, low: float, high: float) -> Figure:
    """As it is written."""
    return {"mean": mean, "low": low, "high": high}


def less(one: Figure | None) -> Figure | None:
    """1 minus a share."""
    return None if one is None else figure(1 - one["mean"], 1 - one["high"], 1 - one["low"])


def calibration(said: np.ndarray, happened: np.ndarray) -> Figure:
    """1 minus the expected calibration error: chances ``said`` ``(N,)`` against what ``happened``, bool ``(N,)``.

    Chances are put into ten bins; the error is the mean distance, weighed by steps, of a bin's mean chance from how often it
    happened (Guo et al. 2017, arXiv 1706.04599).
    """
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    off = np.zeros((len(said), _BINS))
    off[np.arange(len(said)), bins] = said - happened
    rng = np.random.default_rng(BOOTSTRAP.seed)
    weights = rng.multinomial(len(said), np.full(len(said), 1 / len(said)), BOOTSTRAP.repetitions)
    drawn = 1 - np.abs(weights @ off).sum(1) / len(said)
    low, high = BOOTSTRAP.interval(drawn)
    return figure(float(1 - np.abs(off.sum(0)).sum() / len(said)), float(low), float(high))
