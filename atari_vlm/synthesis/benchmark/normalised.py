"""The normalised return of a program: how far planning in it gets from random play to planning in the true dynamics."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from atari_vlm.scores.statistics import BootstrapConfig, Estimate, resamples, runs_per_game


def normalised_return(
    model: npt.ArrayLike,
    random: npt.ArrayLike,
    oracle: npt.ArrayLike,
    config: BootstrapConfig | None = None,
) -> Estimate:
    """``R = (model - random) / (oracle - random)`` of mean returns, with an interval from drawing episodes anew.

    Each argument holds the returns of episodes ``(n,)``. 0 is random play, 1 the planner on the true dynamics (arXiv 2405.15383,
    section 4). Where random play and oracle are equal, R is undefined: the value is NaN. Where they can hardly be told apart
    (their order changes in more than 2.5 % of the draws), the interval is.
    """
    config = config or BootstrapConfig()
    groups = runs_per_game(
        {
            name: np.atleast_1d(np.asarray(returns, np.float64))
            for name, returns in (("model", model), ("random", random), ("oracle", oracle))
        }
    )
    value = _ratio(*(np.array([runs.mean()]) for runs in groups))[0]
    if math.isnan(value) or max(runs.size for runs in groups) == 1:
        return Estimate(float(value), math.nan, math.nan)
    sizes = np.cumsum([runs.size for runs in groups])[:-1]
    means = [
        [part.mean(axis=1) for part in np.split(chunk, sizes, axis=1)]
        for chunk in resamples(groups, config)
    ]
    played, low, high = (np.concatenate(parts) for parts in zip(*means, strict=True))
    way = np.sign(groups[2].mean() - groups[1].mean())
    if ((high - low) * way <= 0).mean() > (1 - config.confidence) / 2:
        return Estimate(float(value), math.nan, math.nan)
    bounds = config.interval(_ratio(played, low, high)[(high - low) * way > 0])
    return Estimate(float(value), float(bounds[0]), float(bounds[1]))


def _ratio(model: np.ndarray, random: np.ndarray, oracle: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (model - random) / (oracle - random)
    return np.where(oracle == random, np.nan, ratio)
