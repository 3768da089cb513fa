"""What a study's page takes from its journal: a film strip per game and agent, and how its answers were read."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.reporting.page.run_data import Replay, ReplayNotes, Show
from atari_vlm.runs.journal import EpisodeRow, Journal, StepRow

FRAMES = 8
_FIRST_STEPS = 400  # of an episode, that a strip shows
MOST_STRIPS = 80


@dataclass(frozen=True)
class Strip:
    """Pictures of an episode (PNG, base64) with their steps, or in ``note`` why there are none.

    ``alike`` are the numbers and returns of all finished episodes of its label, this one too.
    """

    label: str
    episode: int
    episode_return: float | None
    steps: tuple[int, ...] = ()
    pictures: tuple[str, ...] = ()
    note: str = ""
    alike: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True)
class Answers:
    """How some episodes' decisions were had: by source, by the rung that a reply was read at, and how fast."""

    sources: Mapping[str, int]
    rungs: Mapping[str, int]
    decisions_per_s: float | None


class Film:
    """Takes the strips of a journal: one for each label (a game and an agent), its first finished evaluation episode.

    What a replay shows of these episodes anyway is taken as it passes by (:meth:`around`); the others are played again.
    """

    def __init__(self, journal: Journal):
        labels = journal.meta().get("labels", {})
        self._journal = journal
        self._alike: dict[str, list[EpisodeRow]] = {}
        for row in journal.episodes():
            if row.status == "done" and row.phase == "eval":
                label = labels.get(str(row.episode), f"episode {row.episode}")
                self._alike.setdefault(label, []).append(row)
        chosen = list(self._alike.items())[:MOST_STRIPS]
        self._rows = {label: rows[0] for label, rows in chosen}
        self._kept: dict[int, dict[int, str]] = {}
        self._notes: dict[int, str] = {}

    def around(self, replay: Replay) -> Replay:
        """The same replay, watched."""

        def watched(row: EpisodeRow, steps: Sequence[StepRow], show: Show) -> ReplayNotes:
            if row.episode not in {chosen.episode for chosen in self._rows.values()}:
                return replay(row, steps, show)
            kept = self._kept.setdefault(row.episode, {})
            wanted = _spaced(min(len(steps), _FIRST_STEPS))

            def taking(step: int, picture: Callable[[], bytes]) -> None:
                if step in wanted:
                    png = picture()
                    kept[step] = base64.b64encode(png).decode()
                    show(step, lambda: png)
                else:
                    show(step, picture)

            notes = replay(row, steps, taking)
            self._notes[row.episode] = notes.note
            return notes

        return watched

    def strips(self, replay: Replay) -> list[Strip]:
        """All strips; ``replay`` plays what has not passed by."""
        watched = self.around(replay)
        for row in self._rows.values():
            if row.episode not in self._kept:
                watched(row, self._journal.steps(row.episode)[:_FIRST_STEPS], lambda step, _: None)
        return [self._strip(label, row) for label, row in self._rows.items()]

    def _strip(self, label: str, row: EpisodeRow) -> Strip:
        kept, note = self._kept[row.episode], self._notes[row.episode]
        steps, pictures = tuple(kept), tuple(kept.values())
        alike = tuple((one.episode, one.episode_return) for one in self._alike[label])
        return Strip(label, row.episode, row.episode_return, steps, pictures, note, alike)


def _spaced(count: int) -> set[int]:
    """So many steps, evenly spaced."""
    return {round(i * (count - 1) / (FRAMES - 1)) for i in range(FRAMES)} if count else set()


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
