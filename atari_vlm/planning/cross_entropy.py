"""The cross-entropy method for plans, discrete and continuous, with the options that make it iCEM.

CEM: sample a population of plans, keep the best share (the elites), fit the sampling distribution
to them, repeat (Rubinstein 1999; for planning, Chua et al. 2018). iCEM (Pinneri et al. 2020, arXiv
2008.06389) adds: elites survive into the next iteration, the population shrinks, noise correlated
in time, and the last solution shifted as the next start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import bounds, check_action_space
from atari_vlm.errors import ConfigError, check_count, check_positive
from atari_vlm.planning.scoring import (
    PlanScores,
    Valuing,
    check_discount,
    check_plans,
    score_plans,
)
from atari_vlm.world_models.base import WorldModel


@dataclass(frozen=True)
class CEMConfig:
    """``smoothing`` is the weight of the old distribution. The iCEM options are off at their
    defaults 0 and 1.
    """

    horizon: int = 10
    population: int = 128
    elites: int = 16
    iterations: int = 4
    smoothing: float = 0.1
    discount: float = 1.0
    keep_elites: float = 0.0
    """iCEM: share of the elites that survive into the next iteration"""
    population_decay: float = 1.0
    """iCEM: the population is divided by this after each iteration (at least twice the elites)"""
    noise_beta: float = 0.0
    """iCEM: exponent of the noise's power spectrum over time; 0 is white noise (continuous actions only)"""

    def __post_init__(self) -> None:
        check_count(
            horizon=self.horizon,
            population=self.population,
            elites=self.elites,
            iterations=self.iterations,
        )
        check_positive(population_decay=self.population_decay)
        check_discount(self.discount)
        if self.elites > self.population:
            raise ConfigError(
                f"elites ({self.elites}) must not exceed the population ({self.population})"
            )
        if not (0 <= self.smoothing < 1 and 0 <= self.keep_elites <= 1 and self.noise_beta >= 0):
            raise ConfigError(
                "smoothing is in [0, 1), keep_elites in [0, 1], noise_beta is not negative"
            )


ICEM = CEMConfig(keep_elites=0.3, population_decay=1.25, noise_beta=2.0)


class Categorical:
    """Independent categorical actions: ``probabilities`` ``(H, A)`` of ``start`` and those after
    it.
    """

    def __init__(self, num_actions: int, horizon: int, start: int = 0):
        self.probabilities = np.full((horizon, num_actions), 1.0 / num_actions)
        self._actions = np.arange(num_actions) + start  # (A,)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Plans int64 ``(n, H)``."""
        thresholds = self.probabilities.cumsum(1)[None]  # (1, H, A)
        draws = rng.random((n, len(self.probabilities), 1))
        return self._actions[np.minimum((draws > thresholds).sum(2), len(self._actions) - 1)]

    def fit(self, plans: np.ndarray, weights: np.ndarray, smoothing: float) -> None:
        """Move towards the weighted plans; ``weights`` ``(n,)`` sum to 1."""
        one_hot = plans[:, :, None] == self._actions  # (n, H, A)
        target = np.einsum("n,nha->ha", weights, one_hot)
        self.probabilities = smoothing * self.probabilities + (1 - smoothing) * target

    def shift_to(self, plan: np.ndarray) -> None:
        """Start around the rest of the last plan: half the mass on it, shifted by one step."""
        following = np.append(plan[1:], plan[-1])[: len(self.probabilities)]
        one_hot = following[:, None] == self._actions
        self.probabilities[: len(following)] = (
            0.5 * self.probabilities[: len(following)] + 0.5 * one_hot
        )

    def mode(self) -> np.ndarray:
        """The most likely plan, int64 ``(H,)``."""
        return self._actions[self.probabilities.argmax(1)]


class Categoricals:
    """A :class:`Categorical` for each part of the actions, independent."""

    def __init__(self, space: gymnasium.spaces.MultiDiscrete, horizon: int):
        pairs = zip(space.nvec.tolist(), space.start.tolist(), strict=True)
        self.parts = [Categorical(n, horizon, start) for n, start in pairs]

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Plans int64 ``(n, H, A)``."""
        return np.stack([part.sample(n, rng) for part in self.parts], -1)

    def fit(self, plans: np.ndarray, weights: np.ndarray, smoothing: float) -> None:
        """Move towards the weighted plans; ``weights`` ``(n,)`` sum to 1."""
        for a, part in enumerate(self.parts):
            part.fit(plans[..., a], weights, smoothing)

    def shift_to(self, plan: np.ndarray) -> None:
        """Start around the rest of the last plan."""
        for a, part in enumerate(self.parts):
            part.shift_to(plan[..., a])

    def mode(self) -> np.ndarray:
        """The most likely plan, int64 ``(H, A)``."""
        return np.stack([part.mode() for part in self.parts], -1)


class Gaussian:
    """Diagonal Gaussian actions inside a Box: ``mean`` and ``std`` ``(H, A)``."""

    def __init__(self, space: gymnasium.spaces.Box, horizon: int, noise_beta: float):
        (self._low, self._high), self._beta = bounds(space), noise_beta
        self.mean = np.tile((space.low + space.high) / 2, (horizon, 1)).astype(np.float64)
        self._start_std = np.tile((space.high - space.low) / 4, (horizon, 1)).astype(np.float64)
        self.std = self._start_std.copy()

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Plans float32 ``(n, H, A)``, clipped to the Box."""
        noise = coloured_noise(self._beta, (n, *self.mean.shape), rng)
        return np.clip(self.mean + self.std * noise, self._low, self._high).astype(np.float32)

    def fit(self, plans: np.ndarray, weights: np.ndarray, smoothing: float) -> None:
        """Move towards the weighted plans; ``weights`` ``(n,)`` sum to 1."""
        mean = np.einsum("n,nha->ha", weights, plans)
        std = np.sqrt(np.einsum("n,nha->ha", weights, (plans - mean) ** 2))
        self.mean = smoothing * self.mean + (1 - smoothing) * mean
        self.std = smoothing * self.std + (1 - smoothing) * std

    def shift_to(self, plan: np.ndarray) -> None:
        """Start at the rest of the last plan, shifted by one step."""
        following = np.concatenate([plan[1:], plan[-1:]])[: len(self.mean)]
        self.mean[: len(following)] = following

    def mode(self) -> np.ndarray:
        """The mean plan, float32 ``(H, A)``."""
        return np.clip(self.mean, self._low, self._high).astype(np.float32)


Sampler = Categorical | Categoricals | Gaussian


def coloured_noise(
    beta: float, shape: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Unit-variance noise ``(n, H, A)`` whose power over time falls as 1 / frequency**beta (Timmer
    & König 1995).
    """
    n, horizon, width = shape
    if beta == 0 or horizon < 2:
        return rng.standard_normal(shape)
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1.0 / horizon
    scale = frequencies ** (-beta / 2)
    spectrum = rng.standard_normal((2, n, width, len(scale))) * scale
    noise = np.fft.irfft(spectrum[0] + 1j * spectrum[1], n=horizon, axis=-1).transpose(
        0, 2, 1
    )  # (n, H, A)
    return noise / np.sqrt((noise**2).mean((0, 1), keepdims=True))


def distribution(space: gymnasium.Space[Any], horizon: int, noise_beta: float = 0.0) -> Sampler:
    """The widest sampling distribution over plans of an action space."""
    space = check_action_space(space, "the world model")
    if isinstance(space, gymnasium.spaces.Box):
        return Gaussian(space, horizon, noise_beta)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return Categoricals(space, horizon)
    return Categorical(int(space.n), horizon, int(space.start))


def start_from(sampler: Sampler, space: gymnasium.Space[Any], plan: Any) -> None:
    """Start a search around the rest of ``plan`` ``(H,)`` or ``(H, A)``, which was followed until
    now; ``None``: nowhere.
    """
    if plan is not None:
        sampler.shift_to(check_plans(space, np.asarray(plan)[None], "warm_start")[0])


def cem(
    world_model: WorldModel[Any],
    state: Any,
    config: CEMConfig | None = None,
    *,
    rng: np.random.Generator,
    warm_start: np.ndarray | None = None,
    initial_plans: np.ndarray | None = None,
    value: Valuing = "own",
) -> PlanScores:
    """Search for a plan from the one row of ``state``; returns the last population with the best
    plan ever seen in it.

    ``warm_start`` is the plan followed until now (the search starts around its rest);
    ``initial_plans`` ``(P, H)`` (a VLM's, for instance) are part of the first population.
    """
    config = config or CEMConfig()
    sampler = distribution(world_model.action_space, config.horizon, config.noise_beta)
    start_from(sampler, world_model.action_space, warm_start)
    kept = (
        None
        if initial_plans is None
        else _initial(world_model.action_space, initial_plans, config.horizon)
    )
    population, best = config.population, None
    for _ in range(config.iterations):
        plans = sampler.sample(population, rng)
        if kept is not None and len(kept):
            plans = np.concatenate([kept, plans])
        result = score_plans(
            world_model, state, plans, discount=config.discount, rng=rng, value=value
        )
        elites = result.order[: config.elites]
        if np.isfinite(result.scores[elites[0]]):
            elites = elites[np.isfinite(result.scores[elites])]
        sampler.fit(result.plans[elites], np.full(len(elites), 1.0 / len(elites)), config.smoothing)
        if best is None or result.scores[result.best] > best.scores[0]:
            best = _only(result, result.best)
        kept = result.plans[elites[: round(config.keep_elites * len(elites))]]
        population = max(2 * config.elites, int(population / config.population_decay))
    assert best is not None
    return _joined(best, result)


def _initial(space: gymnasium.Space[Any], plans: Any, horizon: int) -> np.ndarray:
    """Plans for the first population, cut to ``horizon``; shorter ones are refused."""
    checked = check_plans(space, plans, "initial_plans")
    if checked.shape[1] < horizon:
        raise ConfigError(
            f"initial_plans have {checked.shape[1]} actions, the search's horizon is {horizon}"
        )
    return checked[:, :horizon]


def _only(result: PlanScores, index: int) -> PlanScores:
    row = [index]
    return PlanScores(
        result.plans[row],
        result.scores[row],
        result.rewards[row],
        result.lengths[row],
        result.spread[row],
    )


def _joined(first: PlanScores, second: PlanScores) -> PlanScores:
    pairs = zip(
        (first.plans, first.scores, first.rewards, first.lengths, first.spread),
        (second.plans, second.scores, second.rewards, second.lengths, second.spread),
        strict=True,
    )
    return PlanScores(*(np.concatenate(pair) for pair in pairs))
