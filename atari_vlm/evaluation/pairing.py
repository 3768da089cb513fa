"""Differences on shared seeds: every pair of agents, and every condition of an ablation against its base.

Two runs are a pair when they played the same game with the same seed. Intervals are 95 % bootstraps over pairs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from atari_vlm.evaluation.factors import FACTORS
from atari_vlm.evaluation.results import Results, Run
from atari_vlm.scores.statistics import aggregate

PAIRED = "game,a,b,pairs,difference,low,high,probability_of_improvement".split(",")
ABLATION = "game,agent,factor,condition,pairs,score,difference,low,high,cost_usd,latency_s".split(
    ","
)


def paired_rows(results: Results) -> list[dict[str, Any]]:
    """Every ordered pair of agents of every game, so that a row can be looked up either way; none without a shared seed."""
    return [
        row
        for game in results.games
        for a, b in itertools.permutations(results.agents, 2)
        if (row := _paired(game, a, b, results.of(game, a), results.of(game, b)))
    ]


def _paired(
    game: str, a: str, b: str, ours: Sequence[Run], theirs: Sequence[Run]
) -> dict[str, Any] | None:
    differences = differences_of(ours, theirs)
    if not len(differences):
        return None
    better = (differences > 0) + 0.5 * (differences == 0)
    estimate = _estimate(differences)
    values = (game, a, b, len(differences), *estimate, float(better.mean()))
    return dict(zip(PAIRED, values, strict=True))


def differences_of(ours: Sequence[Run], theirs: Sequence[Run]) -> np.ndarray:
    """Ours minus theirs for every shared seed, float64 ``(pairs,)``, in order of the seeds."""
    mine, other = ({run.seed: run.score for run in runs} for runs in (ours, theirs))
    return np.array([mine[seed] - other[seed] for seed in sorted(mine.keys() & other.keys())])


def _estimate(differences: np.ndarray) -> tuple[float, float | None, float | None]:
    """Mean, low, high; the interval is ``None`` with one pair."""
    estimate = aggregate(differences[:, None], "mean")
    if math.isnan(estimate.low):
        return estimate.value, None, None
    return estimate.value, estimate.low, estimate.high


def ablation_rows(results: Results) -> list[dict[str, Any]]:
    """A row per game, agent, factor and condition; the base, under its own value, has difference 0."""
    return [
        row
        for game in results.games
        for agent in results.agents
        for factor in dict.fromkeys(run.factor for run in results.ablation)
        for row in _of_factor(results, game, agent, factor)
    ]


def _of_factor(results: Results, game: str, agent: str, factor: str) -> Iterator[dict[str, Any]]:
    varied = [
        run
        for run in results.ablation
        if (run.game, run.agent, run.factor) == (game, agent, factor)
    ]
    base = results.of(game, agent)
    if not varied or not base:
        return
    own = base_value(results, agent, factor)
    by_condition = {_key(own): (own, base)}
    for run in varied:
        by_condition.setdefault(_key(run.condition), (run.condition, []))[1].append(run)
    order = [_key(value) for value in FACTORS[factor].values]
    ranked = sorted(by_condition, key=lambda key: order.index(key) if key in order else -1)
    for condition, runs in (by_condition[key] for key in ranked):
        yield _ablated(factor, condition, runs, base)


def base_value(results: Results, agent: str, factor: str) -> Any:
    """The value that a factor's option has in the study itself."""
    return results.bases.get(agent, {}).get(factor, FACTORS[factor].default)


def _ablated(
    factor: str, condition: Any, runs: Sequence[Run], base: Sequence[Run]
) -> dict[str, Any]:
    first = runs[0]
    differences = differences_of(runs, base)
    costs = [run.cost_usd for run in runs]
    calls = sum(run.calls for run in runs)
    latency = sum(run.latency_s * run.calls for run in runs) / max(1, calls)
    cost = None if None in costs else float(sum(cost for cost in costs if cost is not None))
    estimate = _estimate(differences) if len(differences) else (None, None, None)
    score = float(np.mean([run.score for run in runs]))
    values = (
        *(first.game, first.agent, factor, condition, len(differences)),
        *(score, *estimate, cost, latency),
    )
    return dict(zip(ABLATION, values, strict=True))


def _key(value: Any) -> tuple[str, str]:
    return type(value).__name__, str(value)
