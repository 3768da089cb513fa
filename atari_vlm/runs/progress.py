"""What a REM run tells while it works, and how a console shows it: one bar a stage, or plain lines where there is no terminal."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 30.0


class Hook(Protocol):
    """Told what a run does. Stages do not overlap; ``unit`` is what is counted (steps, updates, games)."""

    def began(self, stage: str, total: int, unit: str, epoch: tuple[int, int]) -> None:
        """A stage of ``total`` units begins, in an epoch of so many."""
        ...

    def advanced(self) -> None:
        """One unit of the stage is done."""
        ...

    def ended(self) -> None:
        """The stage is over, whole or not."""
        ...

    def say(self, message: str) -> None:
        """Something that the user should know, and that does not end the run."""
        ...


class Quiet:
    """The hook of a library: shows no progress; what the user should know is a warning."""

    def began(self, stage: str, total: int, unit: str, epoch: tuple[int, int]) -> None:
        """Nothing."""

    def advanced(self) -> None:
        """Nothing."""

    def ended(self) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """A ``RuntimeWarning``."""
        warn(message)


def warn(message: str) -> None:
    """How a library says what the user should know."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


class Bars:
    """A hook for a console; use it as a context manager.

    On a terminal: a bar for the stage and one for the run's epochs, each with the time left. Elsewhere: a line when a stage has
    been going on for ``line_every_s`` seconds since the last one, so that short stages say nothing.
    """

    def __init__(self, console: Console, line_every_s: float = LINE_EVERY_S):
        self.console, self._line_every_s = console, line_every_s
        self._bars = _bars(console) if console.is_terminal else None
        self._epochs: TaskID | None = None
        self._stage: TaskID | None = None
        self._name, self._unit, self._total, self._done = "", "", 0, 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Bars:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def began(self, stage: str, total: int, unit: str, epoch: tuple[int, int]) -> None:
        """Show a stage."""
        now, of = epoch
        name = f"epoch {now}/{of} {stage}" if of > 1 else stage
        self._name, self._unit, self._total, self._done = name, unit, total, 0
        self._began = self._said = time.monotonic()
        if self._bars is not None:
            if self._epochs is None:
                self._epochs = self._bars.add_task(
                    "run", total=of, unit="epochs", completed=now - 1, visible=of > 1
                )
            self._bars.update(self._epochs, completed=now - 1)
            self._stage = self._bars.add_task(stage, total=total, unit=unit)

    def advanced(self) -> None:
        """Move on."""
        self._done += 1
        if self._bars is not None:
            assert self._stage is not None
            self._bars.advance(self._stage)
        elif time.monotonic() - self._said >= self._line_every_s:
            self._said = time.monotonic()
            left = (self._total - self._done) * (self._said - self._began) / self._done
            self.console.print(
                f"{self._name}: {self._done}/{self._total} {self._unit}, {clock(left)} left"
            )

    def ended(self) -> None:
        """Take the stage's bar away."""
        if self._bars is not None and self._stage is not None:
            self._bars.remove_task(self._stage)
            self._stage = None

    def say(self, message: str) -> None:
        """Print it above the bars."""
        self.console.print(message)


@contextmanager
def stage(hook: Hook, name: str, total: int, unit: str, epoch: tuple[int, int]) -> Iterator[None]:
    """A stage, ended whatever happens in it."""
    hook.began(name, total, unit, epoch)
    try:
        yield
    finally:
        hook.ended()


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        speed_estimate_period=3600.0,  # epochs can take minutes
    )


def clock(seconds: float) -> str:
    """``1:05`` or ``2:01:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
