"""What the live page adds up: the earlier parts of a run from its journal, and rows from episodes as they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.progress import Label, Task
from atari_vlm.types import Reply, Source, Transition

_MOST_ROWS = 1_000


@dataclass
class Counts:
    """Sums over a run, its earlier parts included. ``usd`` is ``None`` once a price was unknown."""

    calls: int = 0
    retries: int = 0
    decisions: int = 0
    fallbacks: int = 0
    usd: float | None = 0.0

    @classmethod
    def of(cls, journal: Journal) -> Counts:
        """What a journal holds already."""
        counts = cls()
        for row in journal.episodes():
            counts._add_episode(row, journal)
        for reply in journal.replies():
            counts.calls += 1
            counts.retries += max(0, int(reply.get("attempts") or 1) - 1)
        for reply in journal.replies(paid=True):
            counts._pay(reply.get("cost_usd") if "text" in reply else 0.0)
        return counts

    def answer(self, reply: Reply | None) -> None:
        """A VLM answered; ``None``: with scores."""
        self.calls += 1
        if reply is not None:
            self.retries += max(0, reply.attempts - 1)
            self._pay(reply.paid_usd)

    def decide(self, step: Transition) -> None:
        """A step was played."""
        self.decisions += 1
        self.fallbacks += step.decision.source is Source.FALLBACK

    def _add_episode(self, row: EpisodeRow, journal: Journal) -> None:
        if row.status == "done" and row.length is not None:
            self.decisions += row.length
            self.fallbacks += round((row.fallback_rate or 0.0) * row.length)
            return
        steps = journal.steps(row.episode)
        self.decisions += len(steps)
        self.fallbacks += sum(step.source == Source.FALLBACK for step in steps)

    def _pay(self, usd: float | None) -> None:
        self.usd = None if self.usd is None or usd is None else self.usd + usd


class Tally:
    """One row per game, agent, phase and seed: what their finished episodes come to. The newest :data:`_MOST_ROWS` are kept."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._count = 0

    def add(self, task: Task, result: EpisodeRow) -> None:
        """An episode is over."""
        label = task.label or Label("", "", None, None, result.phase)
        named = {"game": label.game, "agent": label.agent, "phase": label.phase, "seed": label.seed}
        nothing = {"episodes": 0, "score": 0.0, "steps": 0, "fallback_rate": 0.0, "cost_usd": 0.0}
        row = self._row(tuple(named.values()), {**named, **nothing})
        steps = result.length or 0
        fallbacks = row["fallback_rate"] * row["steps"] + (result.fallback_rate or 0.0) * steps
        total = row["score"] * row["episodes"] + (result.episode_return or 0.0)
        row["episodes"] += 1
        row["steps"] += steps
        row["score"] = total / row["episodes"]
        row["fallback_rate"] = fallbacks / max(1, row["steps"])
        costs = (row["cost_usd"], result.cost_usd)
        row["cost_usd"] = None if None in costs else sum(costs)

    def put(self, row: Mapping[str, Any]) -> None:
        """A row of another table."""
        self._count += 1
        self._row(("put", self._count), dict(row))

    def rows(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they came up."""
        return [dict(row) for row in self._rows.values()]

    def _row(self, key: tuple[Any, ...], new: dict[str, Any]) -> dict[str, Any]:
        row = self._rows.setdefault(key, new)
        if len(self._rows) > _MOST_ROWS:
            del self._rows[next(iter(self._rows))]
        return row
