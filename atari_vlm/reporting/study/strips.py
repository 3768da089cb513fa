"""What a study's page takes from its journal: a film strip per game and agent, and how its answers were read."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.reporting.page.run_data import Replay
from atari_vlm.runs.journal import EpisodeRow, Journal

FRAMES = 8
_FIRST_STEPS = 400  # of an episode, that a strip shows
MOST_STRIPS = 80


@dataclass(frozen=True)
class Strip:
    """Pictures of an episode (PNG, base64) with their steps, or in ``note`` why there are none."""

    label: str
    episode: int
    episode_return: float | None
    steps: tuple[int, ...] = ()
    pictures: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Answers:
    """How some episodes' decisions were had: by source, by the rung that a reply was read at, and how fast."""

    sources: Mapping[str, int]
    rungs: Mapping[str, int]
    decisions_per_s: float | None


def strips(journal: Journal, replay: Replay) -> list[Strip]:
    """One for each label of the journal (a game and an agent): its first finished evaluation episode."""
    labels = journal.meta().get("labels", {})
    first: dict[str, EpisodeRow] = {}
    for row in journal.episodes():
        if row.status == "done" and row.phase == "eval":
            first.setdefault(labels.get(str(row.episode), f"episode {row.episode}"), row)
    return [strip(journal, label, row, replay) for label, row in list(first.items())[:MOST_STRIPS]]


def strip(journal: Journal, label: str, row: EpisodeRow, replay: Replay) -> Strip:
    """A strip of the first steps of an episode, evenly spaced."""
    steps = journal.steps(row.episode)[:_FIRST_STEPS]
    wanted = {round(i * (len(steps) - 1) / (FRAMES - 1)) for i in range(FRAMES)} if steps else set()
    kept: dict[int, str] = {}

    def show(step: int, picture: Callable[[], bytes]) -> None:
        if step in wanted:
            kept[step] = base64.b64encode(picture()).decode()

    notes = replay(row, steps, show)
    return Strip(
        label, row.episode, row.episode_return, tuple(kept), tuple(kept.values()), notes.note
    )


def answers(journal: Journal) -> dict[str, Answers]:
    """How decisions were had, by label, over finished evaluation episodes."""
    labels = journal.meta().get("labels", {})
    by_label: dict[str, list[EpisodeRow]] = {}
    for row in journal.episodes():
        if row.status == "done" and row.phase == "eval":
            by_label.setdefault(labels.get(str(row.episode), ""), []).append(row)
    return {label: _answers(journal, rows) for label, rows in by_label.items()}


def _answers(journal: Journal, rows: Sequence[EpisodeRow]) -> Answers:
    sources: Counter[str] = Counter()
    rungs: Counter[str] = Counter()
    decisions, waited_s = 0, 0.0
    for row in rows:
        for step in journal.steps(row.episode):
            sources[step.source] += 1
            details: Mapping[str, Any] = step.decision.get("details") or {}
            if details.get("rung"):
                rungs[str(details["rung"])] += 1
            latency = float(step.decision.get("latency_s") or 0.0)
            decisions, waited_s = decisions + (latency > 0), waited_s + latency
    return Answers(dict(sources), dict(rungs), decisions / waited_s if waited_s > 0 else None)
