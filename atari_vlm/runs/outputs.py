"""The files of a run that are made from its journal: written whole, so that a run that was killed and continued has the same."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.files import atomic_write
from atari_vlm.runs.journal import EpisodeRow, Journal

EPISODE_STEPS = 10_000  # the environment's own limit
_COLUMNS = tuple(field.name for field in dataclasses.fields(EpisodeRow) if field.name != "status")


def summarise(rows: Sequence[EpisodeRow]) -> dict[str, Any]:
    """Means, spreads and conditions of some finished episodes, under the names that the trainer returns them by.

    ``std_*`` are population standard deviations; ``cost_usd`` is ``None`` when any cost is unknown. Empty for no episodes.
    """
    if not rows:
        return {}
    rewards = np.array([row.episode_return for row in rows], dtype=np.float64)
    lengths = np.array([row.length for row in rows], dtype=np.float64)
    fallbacks = np.array([row.fallback_rate for row in rows], dtype=np.float64)
    costs = [row.cost_usd for row in rows]
    return {
        "episodes": len(rows),
        "mean_reward": float(rewards.mean()),
        "std_reward": float(rewards.std()),
        "min_reward": float(rewards.min()),
        "max_reward": float(rewards.max()),
        "mean_length": float(lengths.mean()),
        "std_length": float(lengths.std()),
        "fallback_rate": float((fallbacks * lengths).sum() / max(lengths.sum(), 1.0)),
        "cost_usd": None
        if None in costs
        else float(sum(cost for cost in costs if cost is not None)),
        "episode_rewards": rewards.tolist(),
        "seeds": [row.seed for row in rows],
    }


def done_episodes(journal: Journal) -> list[EpisodeRow]:
    """The finished episodes, in order."""
    return [row for row in journal.episodes() if row.status == "done"]


def evaluations(journal: Journal) -> list[dict[str, Any]]:
    """The finished evaluations in order: strategy, number of training episodes before, and the summary of their episodes."""
    rows = {row.episode: row for row in done_episodes(journal)}
    groups = [group for group in journal.meta().get("groups", []) if group["phase"] == "eval"]
    return [
        {
            "strategy": group["strategy"],
            "after": group["after"],
            **summarise([rows[n] for n in group["episodes"]]),
        }
        for group in groups
        if rows.keys() >= set(group["episodes"])
    ]


def cut_episodes(
    journal: Journal, rows: Sequence[EpisodeRow], settings: Mapping[str, Any]
) -> list[int]:
    """Which finished episodes reached their limit of steps before the game was over; ``settings`` are the run's."""
    limits = (
        settings.get("max_steps"),
        (settings.get("env") or {}).get("max_episode_steps", EPISODE_STEPS),
    )
    limit = min((limit for limit in limits if limit is not None), default=None)
    if limit is None:
        return []
    long = [row.episode for row in rows if row.status == "done" and (row.length or 0) >= limit]
    return [episode for episode in long if not journal.steps(episode)[-1].terminated]


def write_tables(folder: Path, journal: Journal) -> None:
    """Write ``metrics.jsonl`` (one line per episode, one per evaluation) and ``episodes.csv``."""
    rows = done_episodes(journal)
    lines = [{"kind": "episode", **public_columns(row)} for row in rows]
    lines += [{"kind": "evaluation", **evaluation} for evaluation in evaluations(journal)]
    atomic_write(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(public_columns(row) for row in rows)
    atomic_write(folder / "episodes.csv", table.getvalue())


def write_results(folder: Path, header: Mapping[str, Any], journal: Journal) -> Path:
    """Write ``results.json``: the header, returns and lengths of the training episodes, the best five, the evaluations."""
    rows = done_episodes(journal)
    train = [row for row in rows if row.phase == "train"]
    best = sorted(train, key=lambda row: (-(row.episode_return or 0.0), row.episode))[:5]
    content = {
        **header,
        "episode_rewards": [row.episode_return for row in train],
        "episode_lengths": [row.length for row in train],
        "best_trajectories": [
            {"total_reward": row.episode_return, "length": row.length} for row in best
        ],
        "seeds": [row.seed for row in train],
        "training": summarise(train),
        "evaluations": evaluations(journal),
    }
    atomic_write(folder / "results.json", json.dumps(content, indent=1) + "\n")
    return folder / "results.json"


def public_columns(row: EpisodeRow) -> dict[str, Any]:
    """What tables show of an episode."""
    return {name: getattr(row, name) for name in _COLUMNS}
