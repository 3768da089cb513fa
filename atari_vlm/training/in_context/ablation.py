"""Which examples help: every in-context strategy against none, on the same evaluation seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atari_vlm.agents.in_context.examples import STRATEGIES, Strategy
from atari_vlm.scores.statistics import Estimate, aggregate

if TYPE_CHECKING:
    from atari_vlm.training.in_context.trainer import VLMTrainer


@dataclass(frozen=True)
class AblationRow:
    """One strategy: mean return, its difference to none episode by episode (same seeds), both with 95 % intervals."""

    strategy: Strategy
    mean_return: Estimate
    against_none: Estimate
    fallback_rate: float
    cost_usd: float | None


def run_ablation(trainer: VLMTrainer, num_episodes: int) -> list[AblationRow]:
    """Evaluate every strategy, ``none`` first, with the memory as it is. Intervals are bootstraps over episodes."""
    order: list[Strategy] = ["none", *(strategy for strategy in STRATEGIES if strategy != "none")]
    rows: list[AblationRow] = []
    baseline = np.zeros(num_episodes)
    for strategy in order:
        summary = trainer.evaluate(num_episodes, strategy=strategy)
        returns = np.array(summary["episode_rewards"], dtype=np.float64)
        if strategy == "none":
            baseline = returns
        rows.append(
            AblationRow(
                strategy=strategy,
                mean_return=aggregate(returns[:, None], "mean"),
                against_none=aggregate((returns - baseline)[:, None], "mean"),
                fallback_rate=summary["fallback_rate"],
                cost_usd=summary["cost_usd"],
            )
        )
    return rows


def ablation_table(rows: Sequence[AblationRow]) -> list[tuple[str, str, str, str, str]]:
    """The rows as text: strategy, mean return, difference to none, fallback rate, cost."""
    return [
        (
            row.strategy,
            str(row.mean_return),
            "" if row.strategy == "none" else str(row.against_none),
            f"{row.fallback_rate:.1%}",
            "unknown" if row.cost_usd is None else f"${row.cost_usd:.4f}",
        )
        for row in rows
    ]
