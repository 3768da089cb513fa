"""Comparing algorithms beyond one number: performance profiles and the probability of improvement.

Definitions after Agarwal et al. (NeurIPS 2021), sections 4.2 and 4.3. Scores as in :mod:`atari_vlm.scores.statistics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.scores.statistics import BootstrapConfig, Estimate, Scores, resamples, runs_per_game


@dataclass(frozen=True, eq=False)
class Profile:
    """Share of runs that score above each threshold, averaged over games; all float64 ``(thresholds,)``."""

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _share_above(flat: np.ndarray, weights: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return np.stack(
        [(flat > threshold) @ weights for threshold in thresholds], axis=1
    )  # (R, thresholds)


def performance_profile(
    scores: Scores, thresholds: npt.ArrayLike, config: BootstrapConfig | None = None
) -> Profile:
    """The run-score distribution: for each threshold, the share of runs above it, every game weighing the same.

    With one run of every game the interval is NaN. Raises ``ConfigError`` for thresholds that are not rising numbers.
    """
    config = config or BootstrapConfig()
    points = np.asarray(thresholds, dtype=np.float64)
    if (
        points.ndim != 1
        or points.size == 0
        or not (np.diff(points) > 0).all()
        or not np.isfinite(points).all()
    ):
        raise ConfigError("thresholds must be a rising sequence of finite numbers")
    games = runs_per_game(scores)
    weights = np.concatenate([np.full(runs.size, 1 / (runs.size * len(games))) for runs in games])
    share = _share_above(np.concatenate(games)[None], weights, points)[0]
    if max(runs.size for runs in games) == 1:
        return Profile(points, share, np.full_like(share, np.nan), np.full_like(share, np.nan))
    draws = np.concatenate(
        [_share_above(chunk, weights, points) for chunk in resamples(games, config)]
    )
    return Profile(points, share, *config.interval(draws))


def _probability(ours: list[np.ndarray], theirs: list[np.ndarray]) -> np.ndarray:
    per_game = []
    for x, y in zip(ours, theirs, strict=True):  # (R, n), (R, m)
        difference = x[:, :, None] - y[:, None, :]
        per_game.append(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2)))
    return np.mean(per_game, axis=0)  # (R,)


def probability_of_improvement(
    ours: Scores, theirs: Scores, config: BootstrapConfig | None = None
) -> Estimate:
    """How likely a random run of ours beats a random run of theirs on a random game; ties count half.

    Both hold the same games in the same order (mappings are matched by name); else ``MismatchError``.
    """
    config = config or BootstrapConfig()
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        if set(ours) != set(theirs):
            raise MismatchError(
                f"the games differ: {sorted(set(ours) ^ set(theirs))} are on one side only"
            )
        theirs = {name: theirs[name] for name in ours}
    first, second = runs_per_game(ours), runs_per_game(theirs)
    if len(first) != len(second):
        raise MismatchError(f"ours has {len(first)} games, theirs has {len(second)}")
    value = float(_probability([x[None] for x in first], [y[None] for y in second])[0])
    if max(runs.size for runs in [*first, *second]) == 1:
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(config.seed)

    def draw(runs: np.ndarray) -> np.ndarray:
        return runs[rng.integers(runs.size, size=(config.repetitions, runs.size))]

    low, high = config.interval(_probability([draw(x) for x in first], [draw(y) for y in second]))
    return Estimate(value, float(low), float(high))
