"""Model-predictive path integral control (Williams et al. 2017, arXiv 1509.01149): plans weighted
by exp(return).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import check_count, check_positive
from atari_vlm.planning.cross_entropy import distribution, start_from
from atari_vlm.planning.scoring import PlanScores, Valuing, check_discount, score_plans
from atari_vlm.world_models.base import WorldModel


@dataclass(frozen=True)
class MPPIConfig:
    """``temperature`` is in units of the return's standard deviation over the population: small is
    greedy.
    """

    horizon: int = 10
    population: int = 128
    iterations: int = 3
    temperature: float = 0.3
    discount: float = 1.0

    def __post_init__(self) -> None:
        check_count(horizon=self.horizon, population=self.population, iterations=self.iterations)
        check_positive(temperature=self.temperature)
        check_discount(self.discount)


def mppi(
    world_model: WorldModel[Any],
    state: Any,
    config: MPPIConfig | None = None,
    *,
    rng: np.random.Generator,
    warm_start: np.ndarray | None = None,
    value: Valuing = "own",
) -> PlanScores:
    """Search for a plan; plan 0 of the result is the weighted mean (discrete: the most likely
    actions), the rest the samples.
    """
    config = config or MPPIConfig()
    sampler = distribution(world_model.action_space, config.horizon)
    start_from(sampler, world_model.action_space, warm_start)
    for _ in range(config.iterations):
        plans = np.concatenate([sampler.mode()[None], sampler.sample(config.population, rng)])
        result = score_plans(
            world_model, state, plans, discount=config.discount, rng=rng, value=value
        )
        sampler.fit(result.plans, _weights(result.scores, config.temperature), smoothing=0.0)
    final = np.concatenate([sampler.mode()[None], result.plans])
    return score_plans(world_model, state, final, discount=config.discount, rng=rng, value=value)


def _weights(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of scores over their spread, ``(P,)``; uniform where all scores are equal or none is
    finite.
    """
    finite = np.isfinite(scores)
    if not finite.any():
        return np.full(len(scores), 1.0 / len(scores))
    scale = temperature * max(float(scores[finite].std()), 1e-8)
    weights = np.where(
        finite, np.exp((np.where(finite, scores, 0.0) - scores[finite].max()) / scale), 0.0
    )
    normalised: np.ndarray = weights / weights.sum()
    return normalised
