"""Aggregates of scores over games, with stratified-bootstrap intervals.

Scores are independent runs of each game, normalised so that games can be averaged. They are given as an array ``(runs,
games)`` or, where games have different numbers of runs, as a mapping ``game -> runs``. One run's score is usually the mean
return of its episodes.

Definitions after Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021),
section 4 and appendix A: mean and median are taken over the games' mean scores, the IQM over all runs of all games together,
the optimality gap over runs and then games. An interval comes from drawing the runs of each game anew, with replacement, and
reading the percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.games import game

Metric = Literal["iqm", "mean", "median", "optimality_gap"]
Scores = npt.ArrayLike | Mapping[str, Sequence[float] | np.ndarray]
FEWEST_RUNS = 3  # below this many runs of a game an interval says little
_CHUNK = 4_000_000  # bootstrap values held at a time


@dataclass(frozen=True)
class Estimate:
    """A point estimate and its interval. ``low`` and ``high`` are NaN when no game has two runs to draw from."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether the interval is defined."""
        return not math.isnan(self.low)

    def as_dict(self) -> dict[str, float | None]:
        """Plain JSON data; an undefined interval is ``None``."""
        low, high = (self.low, self.high) if self.has_interval else (None, None)
        return {"value": self.value, "low": low, "high": high}

    def __str__(self) -> str:
        return (
            f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
            if self.has_interval
            else f"{self.value:.3f}"
        )


@dataclass(frozen=True)
class BootstrapConfig:
    """How intervals are drawn: ``repetitions`` resamples from a generator with ``seed``; percentiles at ``confidence``."""

    confidence: float = 0.95
    repetitions: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1, got {self.confidence!r}")
        if self.repetitions < 100:
            raise ConfigError(f"repetitions must be at least 100, got {self.repetitions!r}")

    def interval(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The percentiles of draws ``(repetitions, ...)`` that enclose ``confidence`` of them; each ``(...)``."""
        tail = 50 * (1 - self.confidence)
        low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
        return low, high


def runs_per_game(scores: Scores) -> list[np.ndarray]:
    """The runs of each game as float64 arrays ``(runs,)``; ``ConfigError`` for empty, misshapen or non-finite scores."""
    if isinstance(scores, Mapping):
        games = [np.asarray(runs, dtype=np.float64) for runs in scores.values()]
    else:
        array = np.asarray(scores, dtype=np.float64)
        if array.ndim != 2:
            raise ConfigError(
                f"scores must be an array (runs, games) or a mapping game -> runs, got shape {array.shape}"
            )
        games = list(array.T)
    if not games or any(runs.ndim != 1 or runs.size == 0 for runs in games):
        raise ConfigError("scores must hold at least one game, and at least one run of every game")
    if not all(np.isfinite(runs).all() for runs in games):
        raise ConfigError(
            "scores must be finite numbers; leave a missing run out (mapping game -> runs)"
        )
    return games


def few_runs_note(scores: Scores) -> str:
    """One sentence when a game has fewer than three runs, else an empty string. Reports print it beside the numbers."""
    fewest = min(runs.size for runs in runs_per_game(scores))
    if fewest >= FEWEST_RUNS:
        return ""
    runs = "1 run" if fewest == 1 else f"{fewest} runs"
    return f"Some games have only {runs}: fewer than {FEWEST_RUNS} runs say little about the spread between runs."


def human_normalise(game_name: str, scores: npt.ArrayLike) -> np.ndarray:
    """(score - random) / (human - random) under the Atari-57 reference, float64 of the same shape; 1 is human.

    Raises ``ConfigError`` for a game outside the reference: there is no number that would be comparable.
    """
    entry = game(game_name)
    if entry.random_score is None or entry.human_score is None:
        raise ConfigError(
            f"{entry.name} is not in the Atari-57 human reference; only its raw score can be reported"
        )
    raw = np.asarray(scores, dtype=np.float64)
    return (raw - entry.random_score) / (entry.human_score - entry.random_score)


def _game_means(flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.add.reduceat(flat, starts, axis=1) / sizes  # (R, games)


def _mean(flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return _game_means(flat, starts, sizes).mean(axis=1)


def _median(flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.median(_game_means(flat, starts, sizes), axis=1)


def _iqm(flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    cut = flat.shape[1] // 4
    middle = np.partition(flat, (cut, flat.shape[1] - cut - 1), axis=1)[
        :, cut : flat.shape[1] - cut
    ]
    return middle.mean(axis=1)


def _optimality_gap(flat: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return 1 - _game_means(np.minimum(flat, 1), starts, sizes).mean(axis=1)


# Each takes the runs of all games side by side (R, N), where each game starts (games,), and its number of runs (games,).
_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "iqm": _iqm,
    "mean": _mean,
    "median": _median,
    "optimality_gap": _optimality_gap,
}


def resamples(games: list[np.ndarray], config: BootstrapConfig) -> Iterator[np.ndarray]:
    """Chunks ``(r, N)`` of stratified resamples, N runs in all: game by game, runs drawn with replacement."""
    rng = np.random.default_rng(config.seed)
    per_chunk = max(1, _CHUNK // sum(runs.size for runs in games))
    for start in range(0, config.repetitions, per_chunk):
        rows = min(per_chunk, config.repetitions - start)
        yield np.concatenate(
            [runs[rng.integers(runs.size, size=(rows, runs.size))] for runs in games], axis=1
        )


def aggregate(
    scores: Scores,
    metric: Metric = "iqm",
    confidence: float = 0.95,
    *,
    repetitions: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Aggregate normalised ``scores`` ``(runs, games)`` (or a mapping game -> runs) into a value with its interval.

    ``"iqm"`` is the mean of the middle half of all runs, ``"mean"`` and ``"median"`` are taken over the games' means,
    ``"optimality_gap"`` is the mean shortfall from 1. Equal arguments give equal results. With one run of every game the
    interval is undefined (NaN). Raises ``ConfigError`` for empty or non-finite scores, ``UnknownNameError`` for the metric.
    """
    if metric not in _METRICS:
        raise UnknownNameError("metric", metric, _METRICS)
    config = BootstrapConfig(confidence, repetitions, seed)
    games = runs_per_game(scores)
    sizes = np.array([runs.size for runs in games])
    starts = np.cumsum(sizes) - sizes
    measure = _METRICS[metric]
    value = float(measure(np.concatenate(games)[None], starts, sizes)[0])
    if sizes.max() == 1:
        return Estimate(value, math.nan, math.nan)
    draws = np.concatenate([measure(chunk, starts, sizes) for chunk in resamples(games, config)])
    low, high = config.interval(draws)
    return Estimate(value, float(low), float(high))


def aggregates(scores: Scores, **options: Any) -> dict[str, Estimate]:
    """All metrics of :func:`aggregate` by name."""
    return {
        metric: aggregate(scores, metric, **options)
        for metric in ("mean", "median", "iqm", "optimality_gap")
    }
