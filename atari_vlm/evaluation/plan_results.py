"""What came of each variant of a run with plans, and the table that compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.evaluation.plan_settings import PlanSettings
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.scores.statistics import Estimate, aggregate


@dataclass(frozen=True)
class VariantResult:
    """One variant's episodes. Intervals are 95 % bootstraps over episodes.

    ``against_replanning``: return minus that of the variant which asks at every step, seed by seed; ``None`` where this one does.
    ``correlation``: Pearson's, of predicted with real rewards over the steps that had a prediction; ``None`` where it is
    undefined (no predictions, or no two different values).
    """

    name: str
    mean_return: Estimate
    against_replanning: Estimate | None
    steps: int
    vlm_calls: int
    cost_usd: float | None
    seconds: float
    fallback_rate: float
    correlation: float | None


def reward_correlation(journal: Journal, rows: Sequence[EpisodeRow]) -> float | None:
    """Pearson's correlation of predicted and real reward over the steps of some episodes; ``None`` where undefined."""
    pairs = [
        (step.decision["details"]["predicted_reward"], step.reward)
        for row in rows
        for step in journal.steps(row.episode)
        if step.decision["details"].get("predicted_reward") is not None
    ]
    if len(pairs) < 2:
        return None
    predicted, real = np.array(pairs, np.float64).T
    if predicted.std() == 0 or real.std() == 0:
        return None
    return float(np.corrcoef(predicted, real)[0, 1])


COLUMNS = (
    "variant",
    "mean return [95 %]",
    "against replanning",
    "VLM calls",
    "steps",
    "cost",
    "wall time",
    "reward correlation",
    "fallback",
)


def cells(result: VariantResult) -> tuple[str, ...]:
    """A result as text, under :data:`COLUMNS`."""
    return (
        result.name,
        str(result.mean_return),
        "" if result.against_replanning is None else str(result.against_replanning),
        str(result.vlm_calls),
        str(result.steps),
        "unknown" if result.cost_usd is None else f"${result.cost_usd:.4f}",
        f"{result.seconds:.1f} s",
        "undefined" if result.correlation is None else f"{result.correlation:.3f}",
        f"{result.fallback_rate:.1%}",
    )


def to_markdown(
    settings: PlanSettings, results: Sequence[VariantResult], answered: Mapping[str, str]
) -> str:
    """The ablation as a table with its conditions."""
    cut = "whole games" if settings.max_steps is None else f"cut after {settings.max_steps} steps"
    lines = [
        f"# Plans: {settings.game}",
        "",
        f"World model {settings.world_model}; {settings.num_plans} plans of {settings.plan_horizon} actions; follow "
        f"{settings.options.follow}; {settings.num_episodes} episodes on the same seeds, {cut}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
        *(f"| {' | '.join(cells(result))} |" for result in results),
        "",
        *(f"- {name}: {value}" for name, value in answered.items()),
    ]
    return "\n".join([*lines, ""])


def mean_of(values: Any) -> Estimate:
    """Mean and interval over episodes."""
    return aggregate(np.array(values, np.float64)[:, None], "mean")
