"""What a person sees while a run goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from atari_vlm.runs.fallbacks import FallbackWatch
from atari_vlm.runs.journal_rows import EpisodeRow
from atari_vlm.runs.progress import Task, clock
from atari_vlm.runs.terminal import shown
from atari_vlm.types import Source, Transition
from atari_vlm.vlm.layers.budget import Budget

_RECENT = 6  # finished episodes that stay in the live table
_REPLY = 160  # characters of the last reply
_WINDOW_S = 10.0  # decisions/s over so many last seconds


@dataclass
class _Running:
    """A task that goes on. An episode has a return; a stage has none."""

    recorded: int = 0
    steps: int = 0
    episode_return: float | None = None
    fallbacks: int = 0
    cost_usd: float | None = 0.0

    def add(self, step: Transition) -> None:
        """Count a step of an episode."""
        self.episode_return = (self.episode_return or 0.0) + step.reward
        self.fallbacks += step.decision.source is Source.FALLBACK
        self.cost_usd = _sum(self.cost_usd, step.decision.cost_usd)

    def columns(self, task: Task) -> tuple[str, str, str, str, str]:
        """Its row of the table."""
        steps = f"{self.steps}/{task.total}" if task.total is not None else str(self.steps)
        if self.episode_return is None:
            return task.title, steps, "", "", ""
        rate = f"{self.fallbacks / max(self.steps, 1):.1%}"
        return task.title, steps, f"{self.episode_return:g}", rate, _dollars(self.cost_usd)


@dataclass
class Totals:
    """Counts over the steps that this process played. ``cost_usd`` is ``None`` once a price was unknown."""

    decisions: int = 0
    fallbacks: int = 0
    cost_usd: float | None = 0.0
    seconds: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def add(self, transition: Transition) -> None:
        """Count one step."""
        self.decisions += 1
        self.fallbacks += transition.decision.source is Source.FALLBACK
        self.cost_usd = _sum(self.cost_usd, transition.decision.cost_usd)
        self.seconds = time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Decisions per second from the beginning to the last decision."""
        return self.decisions / self.seconds if self.seconds > 0 else 0.0


class ProgressDisplay:
    """A :class:`~atari_vlm.runs.progress.Progress` for a console; use it as a context manager."""

    def __init__(self, console: Console, refresh_per_second: float = 4.0):
        self.totals = Totals()
        self._console = console
        self._lock = threading.Lock()
        self._running: dict[Task, _Running] = {}
        self._finished: list[tuple[str, EpisodeRow]] = []
        self._times: deque[float] = deque()
        self._fallbacks = FallbackWatch()
        self._expected = 0
        self._budget: Budget | None = None
        self._last_reply = ""
        self._live = Live(
            get_renderable=self._table,
            console=console,
            refresh_per_second=refresh_per_second,
            transient=True,
        )

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def expect(self, episodes: int, budget: Budget | None = None) -> None:
        """How many episodes there are to be, and what they may cost: for the time left, and what of it is used."""
        self._expected, self._budget = episodes, budget

    def say(self, message: str) -> None:
        """Print it above the table."""
        self._console.print(message)

    def began(self, task: Task, recorded: int = 0) -> None:
        """Show a task."""
        with self._lock:
            self._running[task] = _Running(recorded)

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """Count a unit of it."""
        with self._lock:
            running = self._running[task]
            running.steps += 1
            warning = None if step is None else self._add(running, step)
        if warning is not None:
            self._console.print(warning, style="bold")

    def _add(self, running: _Running, step: Transition) -> str | None:
        """Count a step of an episode; what the user should be warned of."""
        running.add(step)
        if step.decision.replies:
            self._last_reply = step.decision.replies[-1].text
        if running.steps <= running.recorded:
            return None
        self.totals.add(step)
        self._times.append(time.monotonic())
        return self._fallbacks.see(step)

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Take it away; a whole episode moves to the finished ones."""
        with self._lock:
            running = self._running.pop(task, None)
            rate = self._rate()
            if result is not None:
                self._finished.append((task.title, result))
        if result is not None and not self._console.is_terminal:
            speed = f"{rate:.1f} decisions/s" if running else "read from the journal"
            row = f"{task.title}: {_results(result)}, {speed}"
            self._console.print(row, highlight=False, soft_wrap=True)

    def _rate(self) -> float:
        """Decisions per second over the last seconds."""
        now = time.monotonic()
        while self._times and now - self._times[0] > _WINDOW_S:
            self._times.popleft()
        return len(self._times) / max(now - self._times[0], 1e-3) if len(self._times) > 1 else 0.0

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in ("episode", "step", "return", "fallback", "cost"):
            table.add_column(column, justify="left" if column == "episode" else "right")
        with self._lock:
            for name, row in self._finished[-_RECENT:]:
                table.add_row(*_columns(name, row))
            for task, running in self._running.items():
                table.add_row(*running.columns(task))
            summary = self._summary()
        reply = shown(" ".join(self._last_reply[:_REPLY].split()))
        return Group(
            table,
            Text(summary, style="bold"),
            Text(f"last reply: {reply}" if reply else ""),
        )

    def _summary(self) -> str:
        """The line below the table."""
        expected = f" of {self._expected}" if self._expected else ""
        fallback = self.totals.fallbacks / max(self.totals.decisions, 1)
        facts = [
            f"{len(self._finished)}{expected} episodes done",
            f"{self.totals.decisions} decisions",
            f"{self._rate():.1f}/s",
            *self._time_left(),
            *(self._used() or [_dollars(self.totals.cost_usd)]),
            f"{fallback:.1%} fallbacks",
        ]
        return ", ".join(facts)

    def _time_left(self) -> list[str]:
        """From the steps that episodes took so far."""
        lengths = [row.length or 0 for _, row in self._finished]
        left = self._expected - len(self._finished)
        if left <= 0 or not lengths or self.totals.rate == 0:
            return []
        begun = sum(running.steps for running in self._running.values())
        steps = max(0.0, left * sum(lengths) / len(lengths) - begun)
        return [f"about {clock(steps / self.totals.rate)} left"]

    def _used(self) -> list[str]:
        """What is used of each limit."""
        if self._budget is None:
            return []
        limits, spent = self._budget.limits, self._budget.spent
        return [
            f"{spent[kind]:.4g} of {limit:g} {kind}"
            for kind, limit in limits.items()
            if limit is not None
        ]


def _columns(name: str, row: EpisodeRow) -> tuple[str, str, str, str, str]:
    """A finished episode's row of the table."""
    rate, cost = f"{row.fallback_rate or 0.0:.1%}", _dollars(row.cost_usd)
    return f"{name} done", str(row.length), f"{row.episode_return:g}", rate, cost


def _results(row: EpisodeRow) -> str:
    return (
        f"return {row.episode_return:g}, {row.length} steps, {row.fallback_rate or 0.0:.1%} fallbacks, "
        f"cost {_dollars(row.cost_usd)}"
    )


def _dollars(cost_usd: float | None) -> str:
    return "unknown" if cost_usd is None else f"${cost_usd:.4f}"


def _sum(total: float | None, cost: float | None) -> float | None:
    return None if total is None or cost is None else total + cost
