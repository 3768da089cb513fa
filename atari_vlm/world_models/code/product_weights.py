"""The weights of a product of experts: log-linear in every number of the next state, by maximum likelihood.

Experts that foretell a number vote for it with their weights. Of a number that takes V values in the data, a value that got
the votes S has the probability exp(S) / Z, one without votes 1 / Z, and Z sums over all V. That is a product of distributions
with one peak each, uniform where an expert has no opinion (PoE-World, arXiv 2505.10819). Its logarithm is concave in the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atari_vlm.world_models.code.matching import ABSOLUTE, RELATIVE

_PENALTY = (
    0.01  # nats a transition that a weight of 1 must bring: what only echoes others goes to 0
)
_STEPS, _CLOSE = 300, 1e-7


@dataclass(frozen=True)
class Votes:
    """What K experts foretold of N states with D numbers.

    ``said`` float64 ``(K, M)``, NaN for no opinion, at those M of the N * D numbers that somebody foretold; ``leader`` int64
    ``(K, M)`` is the first expert that said the same; ``right`` bool ``(K, M)``; ``values`` ``(M,)`` is V of each; ``silent``
    are the nats of the numbers that nobody foretold, summed, and ``count`` is N.
    """

    said: np.ndarray
    leader: np.ndarray
    right: np.ndarray
    values: np.ndarray
    silent: float
    count: int


def votes_of(said: np.ndarray, true: np.ndarray, values: np.ndarray) -> Votes:
    """Votes from what was ``said`` ``(K, N, D)`` of ``true`` ``(N, D)``, whose D numbers take so many ``values`` ``(D,)``."""
    opinion = np.isfinite(said)
    heard = opinion.any(axis=0)
    here, target = said[:, heard], true[heard]
    leader = np.tile(np.arange(len(said))[:, None], (1, here.shape[1]))
    for later in range(1, len(said)):
        for first in range(later):
            same = alike(here[later], here[first]) & (leader[later] == later)
            leader[later, same] = first
    spread = np.broadcast_to(values, true.shape)
    silent = -float(np.log(spread[~heard]).sum())
    return Votes(here, leader, alike(here, target), spread[heard].astype(float), silent, len(true))


def alike(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Equal as the tolerant scorer sees it; never where there is no opinion."""
    with np.errstate(invalid="ignore"):
        close: np.ndarray = np.abs(said - true) <= ABSOLUTE + RELATIVE * np.abs(true)
    return close


def mean_nats(votes: Votes, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean log-likelihood of a transition, and its slope in every weight ``(K,)``."""
    opinion = np.isfinite(votes.said)
    columns = np.arange(votes.said.shape[1])
    support = np.zeros_like(votes.said)
    for weight, leader, spoken in zip(weights, votes.leader, opinion, strict=True):
        support[leader, columns] += weight * spoken
    leads = opinion & (votes.leader == np.arange(len(weights))[:, None])
    heights = np.where(leads, np.exp(support), 0.0)
    rest = np.maximum(votes.values - leads.sum(axis=0), 0.0)
    total = heights.sum(axis=0) + rest
    nats = (weights[:, None] * votes.right).sum(axis=0) - np.log(total)
    shares = heights[votes.leader, columns] / total * opinion
    slope = (votes.right - shares).sum(axis=1) / votes.count
    return (float(nats.sum()) + votes.silent) / votes.count, slope


def fit_weights(votes: Votes, kept: np.ndarray, *, penalty: float = 0.0) -> np.ndarray:
    """The weights of the experts ``kept``, between 0 and what one miss in N + 1 is worth, by projected ascent."""
    highest = float(np.log((votes.count + 1) * votes.values.max(initial=2.0)))
    weights = np.where(kept, min(1.0, highest), 0.0)
    value, slope = _goal(votes, weights, penalty)
    pace = np.ones(len(weights))
    for _ in range(_STEPS):
        tried = np.clip(weights + pace * slope, 0.0, highest) * kept
        reached, next_slope = _goal(votes, tried, penalty)
        if reached < value:
            pace *= 0.3
            if pace.max() < 1e-6:
                break
            continue
        gained, turned = reached - value, slope * next_slope < 0
        weights, value, slope = tried, reached, next_slope
        pace = np.where(turned, pace * 0.7, pace * 1.6)
        if gained < _CLOSE:
            break
    return weights


def penalised(votes: Votes) -> np.ndarray:
    """Weights of all experts under the penalty that sends those that bring nothing to 0."""
    return fit_weights(votes, np.ones(len(votes.said), bool), penalty=_PENALTY)


def _goal(votes: Votes, weights: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    nats, slope = mean_nats(votes, weights)
    return nats - penalty * float(weights.sum()), slope - penalty
