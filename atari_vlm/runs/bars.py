"""Progress on a console: a bar a task with the time left, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass

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

from atari_vlm.runs.journal_rows import EpisodeRow
from atari_vlm.runs.progress import Task, clock
from atari_vlm.types import Transition

LINE_EVERY_S = 30.0


@dataclass
class _Running:
    bar: TaskID | None
    began: float
    printed: float
    done: int = 0


class Bars:
    """A :class:`~atari_vlm.runs.progress.Progress` for a console; use it as a context manager.

    On a terminal: a bar for each task and one for the run's epochs, each with the time left. Elsewhere: a line when a task has
    been going on for ``line_every_s`` seconds since the last one, so that short tasks print nothing.
    """

    def __init__(self, console: Console, line_every_s: float = LINE_EVERY_S):
        self.console, self._line_every_s = console, line_every_s
        self._bars = _bars(console) if console.is_terminal else None
        self._epochs: TaskID | None = None
        self._running: dict[Task, _Running] = {}

    def __enter__(self) -> Bars:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def began(self, task: Task, recorded: int = 0) -> None:
        """Show a task."""
        bar = None
        if self._bars is not None:
            self._show_epoch(self._bars, *task.epoch)
            bar = self._bars.add_task(task.name, total=task.total, unit=task.unit)
        now = time.monotonic()
        self._running[task] = _Running(bar, began=now, printed=now)

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """Move on."""
        running = self._running[task]
        running.done += 1
        if self._bars is not None and running.bar is not None:
            self._bars.advance(running.bar)
        elif time.monotonic() - running.printed >= self._line_every_s:
            running.printed = time.monotonic()
            self.console.print(_line(task, running), highlight=False)

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Take the task's bar away."""
        running = self._running.pop(task, None)
        if self._bars is not None and running is not None and running.bar is not None:
            self._bars.remove_task(running.bar)

    def say(self, message: str) -> None:
        """Print it above the bars."""
        self.console.print(message)

    def _show_epoch(self, bars: Progress, epoch: int, epochs: int) -> None:
        if self._epochs is None:
            self._epochs = bars.add_task("run", total=epochs, unit="epochs", visible=epochs > 1)
        bars.update(self._epochs, completed=epoch - 1)


def _line(task: Task, running: _Running) -> str:
    """``epoch 2/9 collection: 40/1000 steps, 3:20 left``."""
    epoch, epochs = task.epoch
    name = f"epoch {epoch}/{epochs} {task.name}" if epochs > 1 else task.name
    if task.total is None:
        return f"{name}: {running.done} {task.unit}"
    left = (task.total - running.done) * (running.printed - running.began) / running.done
    return f"{name}: {running.done}/{task.total} {task.unit}, {clock(left)} left"


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
