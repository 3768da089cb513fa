"""What a program says of itself while it goes on, gathered for the live page.

It listens where every program already speaks, at its :class:`~atari_vlm.runs.progress.Progress`. What it keeps does not grow
with the steps: the last step and question of each task that goes on, sums, a row per run of seeds, the newest few messages.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.errors import AtariVLMError
from atari_vlm.reporting.live.tables import Counts, Tally
from atari_vlm.reporting.live.tasks import Running, finite, frame_of, shortened
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.progress import Task
from atari_vlm.types import Message, Reply, Transition
from atari_vlm.vlm.layers.budget import Budget

Rows = list[dict[str, Any]]
_MESSAGES, _MESSAGE = 20, 500  # the newest so many, of so many characters each
_EPOCHS = 200  # whose metrics are kept


@dataclass(frozen=True)
class Expected:
    """What a program is about to do: ``total`` units of which kind, within which budget, written into which journal.

    ``rows`` makes the rows of its table so far; without it they are added up from the episodes that end.
    """

    total: int | None = None
    unit: str = "episodes"
    title: str = ""
    budget: Budget | None = None
    journal: Journal | None = None
    rows: Callable[[], Rows] | None = None


class LiveState:
    """A :class:`~atari_vlm.runs.progress.Progress` that listens, and remembers what is to be shown now."""

    def __init__(self, program: str):
        self.program = program
        self._lock = threading.Lock()
        self._expected, self._counts, self._tally = Expected(), Counts(), Tally()
        self._running: dict[Task, Running] = {}
        self._made: tuple[int, Rows] = (-1, [])  # rows, and how many tasks had ended then
        self._messages: deque[str] = deque(maxlen=_MESSAGES)
        self._metrics: deque[dict[str, Any]] = deque(maxlen=_EPOCHS)
        self._done = self._done_now = self._ended = 0
        self._began, self.finished = time.monotonic(), False

    def expect(self, expected: Expected) -> None:
        """What is about to be done; what its journal holds already is counted."""
        counts = Counts() if expected.journal is None else Counts.of(expected.journal)
        with self._lock:
            self._expected, self._counts = dataclasses.replace(expected, journal=None), counts
            self._done = self._done_now = 0
            self._began = time.monotonic()

    def finish(self) -> None:
        """Everything is done; the table stays as it is now."""
        rows = self._rows()
        with self._lock:
            self._expected = dataclasses.replace(self._expected, rows=lambda: rows)
            self.finished = True

    def began(self, task: Task, recorded: int = 0) -> None:
        """Show a task."""
        with self._lock:
            self._running[task] = Running(task, recorded)

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """Count a unit of it."""
        with self._lock:
            is_new = self._running[task].advance(step)
            if is_new and step is not None:
                self._counts.decide(step)
            if task.unit == self._expected.unit:
                self._count(is_new)

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Take it away; a whole episode goes into the table."""
        with self._lock:
            was_played = self._running.pop(task, None) is not None
            self._ended += 1
            if result is not None:
                self._tally.add(task, result)
                if self._expected.unit == "episodes":
                    self._count(was_played)

    def say(self, message: str) -> None:
        """Keep it as long as it is among the newest."""
        with self._lock:
            self._messages.append(shortened(message, _MESSAGE))

    def asked(self, task: Task, messages: Sequence[Message]) -> None:
        """Keep the question."""
        with self._lock:
            if messages and task in self._running:
                self._running[task].ask(messages[-1])

    def answered(self, task: Task, reply: Reply | None) -> None:
        """Keep the reply."""
        with self._lock:
            self._counts.answer(reply)
            if task in self._running:
                self._running[task].hear(reply)

    def measured(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch is over."""
        with self._lock:
            numbers = {str(name): finite(value) for name, value in metrics.items()}
            self._metrics.append({"epoch": epoch, **numbers})
            self._count(True)
            self._done = epoch

    def add_row(self, row: Mapping[str, Any]) -> None:
        """A row of a table that is not added up from episodes."""
        with self._lock:
            self._tally.put(row)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        rows = self._rows()
        with self._lock:
            facts = self._facts()
            tasks = [(one, one.as_dict(), one.pictures()) for one in self._running.values()]
        episodes = [
            {**shown, "frame": frame_of(pictures)}
            for one, shown, pictures in tasks
            if one.task.label is not None
        ]
        stages = [one.as_stage() for one, *_ in tasks if one.task.label is None]
        return {
            "program": self.program,
            "running": episodes,
            "stages": stages,
            **facts,
            "results": rows,
        }

    def _count(self, is_new: bool) -> None:
        self._done += 1
        self._done_now += is_new

    def _facts(self) -> dict[str, Any]:
        """Progress, money, counts, what was said."""
        expected, counts, budget = self._expected, self._counts, self._expected.budget
        limits = {} if budget is None else budget.limits
        spent = counts.usd if budget is None or counts.usd is None else budget.spent["usd"]
        return {
            "title": expected.title,
            "progress": {"done": self._done, "total": expected.total, "unit": expected.unit},
            "cost_usd": spent,
            "budget_usd": limits.get("usd"),
            "calls": counts.calls,
            "max_calls": limits.get("calls"),
            "decisions": counts.decisions,
            "fallbacks": counts.fallbacks,
            "retries": counts.retries,
            "seconds": round(time.monotonic() - self._began, 1),
            "seconds_left": self._seconds_left(),
            "metrics": list(self._metrics),
            "messages": list(self._messages),
            "finished": self.finished,
        }

    def _seconds_left(self) -> float | None:
        """If each unit takes as long as those that were done now."""
        total = self._expected.total
        if total is None or not self._done_now or self.finished:
            return None
        passed = time.monotonic() - self._began
        return round(max(0, total - self._done) * passed / self._done_now, 1)

    def _rows(self) -> Rows:
        """The rows of the table; made anew when something has ended since."""
        with self._lock:
            make, ended, (made_at, rows) = self._expected.rows, self._ended, self._made
            if make is None:
                return self._tally.rows()
        if ended != made_at:
            try:
                rows = make()
            except (AtariVLMError, sqlite3.Error):  # the run was closed a moment ago
                return rows
            with self._lock:
                self._made = (ended, rows)
        return rows
