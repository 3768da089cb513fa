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
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.runs.progress import clock
from atari_vlm.runs.terminal import shown
from atari_vlm.types import Source, Transition
from atari_vlm.vlm.layers.budget import Budget

_RECENT = 6  # finished episodes that stay in the live table
_REPLY = 160  # characters of the last reply
_WINDOW_S = 10.0  # decisions/s over so many last seconds


@dataclass
class _Playing:
    spec: EpisodeSpec
    recorded: int = 0
    steps: int = 0
    episode_return: float = 0.0
    fallbacks: int = 0
    cost_usd: float | None = 0.0


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
    """A :class:`~atari_vlm.runs.player.Progress` for a console; use it as a context manager."""

    def __init__(self, console: Console, refresh_per_second: float = 4.0):
        self.totals = Totals()
        self._console = console
        self._lock = threading.Lock()
        self._playing: dict[int, _Playing] = {}
        self._finished: list[EpisodeRow] = []
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

    def episode_began(self, spec: EpisodeSpec, recorded: int = 0) -> None:
        """Show an episode."""
        with self._lock:
            self._playing[spec.episode] = _Playing(spec, recorded)

    def step_done(self, spec: EpisodeSpec, transition: Transition, asked: int) -> None:
        """Count a step."""
        with self._lock:
            playing = self._playing[spec.episode]
            playing.steps += 1
            playing.episode_return += transition.reward
            playing.fallbacks += transition.decision.source is Source.FALLBACK
            playing.cost_usd = _sum(playing.cost_usd, transition.decision.cost_usd)
            if transition.decision.replies:
                self._last_reply = transition.decision.replies[-1].text
            warning = None
            if playing.steps > playing.recorded:
                self.totals.add(transition)
                self._times.append(time.monotonic())
                warning = self._fallbacks.see(transition)
        if warning is not None:
            self._console.print(warning, style="bold")

    def episode_ended(self, row: EpisodeRow) -> None:
        """Move an episode to the finished ones."""
        with self._lock:
            played = self._playing.pop(row.episode, None)
            self._finished.append(row)
            rate = self._rate()
        if not self._console.is_terminal:
            how = f"{rate:.1f} decisions/s" if played else "read from the journal"
            self._console.print(
                f"{_name(row)}: {_results(row)}, {how}", highlight=False, soft_wrap=True
            )

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
            for row in self._finished[-_RECENT:]:
                rate = f"{row.fallback_rate or 0.0:.1%}"
                table.add_row(
                    f"{_name(row)} done",
                    str(row.length),
                    f"{row.episode_return:g}",
                    rate,
                    _dollars(row.cost_usd),
                )
            for playing in self._playing.values():
                rate = f"{playing.fallbacks / max(playing.steps, 1):.1%}"
                returned, cost = f"{playing.episode_return:g}", _dollars(playing.cost_usd)
                table.add_row(_name(playing.spec), str(playing.steps), returned, rate, cost)
            fallback = self.totals.fallbacks / max(self.totals.decisions, 1)
            of = f" of {self._expected}" if self._expected else ""
            summary = [
                f"{len(self._finished)}{of} episodes done, {self.totals.decisions} decisions, {self._rate():.1f}/s",
                *self._time_left(),
                *(self._used() or [_dollars(self.totals.cost_usd)]),
                f"{fallback:.1%} fallbacks",
            ]
        reply = shown(" ".join(self._last_reply[:_REPLY].split()))
        return Group(
            table,
            Text(", ".join(summary), style="bold"),
            Text(f"last reply: {reply}" if reply else ""),
        )

    def _time_left(self) -> list[str]:
        """From the steps that episodes took so far."""
        lengths = [row.length or 0 for row in self._finished]
        left = self._expected - len(self._finished)
        if left <= 0 or not lengths or self.totals.rate == 0:
            return []
        begun = sum(playing.steps for playing in self._playing.values())
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


def _name(episode: EpisodeSpec | EpisodeRow) -> str:
    return f"{episode.phase} episode {episode.episode} (seed {episode.seed})"


def _results(row: EpisodeRow) -> str:
    return (
        f"return {row.episode_return:g}, {row.length} steps, {row.fallback_rate or 0.0:.1%} fallbacks, "
        f"cost {_dollars(row.cost_usd)}"
    )


def _dollars(cost_usd: float | None) -> str:
    return "unknown" if cost_usd is None else f"${cost_usd:.4f}"


def _sum(total: float | None, cost: float | None) -> float | None:
    return None if total is None or cost is None else total + cost
