"""How a run says what it is doing: one protocol for every kind of run.

A :class:`Task` is one piece of a run, an episode or a stage of an epoch. Two views show tasks on a console: bars with the time
left (:mod:`atari_vlm.runs.bars`) and a live table of episodes (:mod:`atari_vlm.runs.display`).
"""

from __future__ import annotations

import functools
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from atari_vlm.runs.journal_rows import EpisodeRow
from atari_vlm.types import Message, Reply, Transition


@dataclass(frozen=True)
class Label:
    """What an episode is called in the tables of its run: who plays what, in which run of seeds, the how manyeth there."""

    game: str
    agent: str
    seed: int | None
    episode: int | None
    phase: str = "eval"


@dataclass(frozen=True)
class Task:
    """One piece of a run. ``total`` units are to be done (``None``: nobody knows), in epoch ``epoch[0]`` of ``epoch[1]``.

    ``label`` is that of an episode, or of whatever else somebody plays or is asked in. ``worker`` is who does it, where that is
    not this process.
    """

    name: str
    total: int | None = None
    unit: str = "steps"
    epoch: tuple[int, int] = (1, 1)
    label: Label | None = field(default=None, compare=False)
    worker: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """The name; of what a worker does with whose and where, because workers do all sorts of things at once."""
        if not self.worker:
            return self.name
        whose = "" if self.label is None else f"{self.label.game}, {self.label.agent}: "
        return f"{whose}{self.name}, {self.worker}"


class Progress(Protocol):
    """What goes on in a run. Episodes that are played side by side call it from their threads."""

    def began(self, task: Task, recorded: int = 0) -> None:
        """A task begins; its first ``recorded`` units are read from the journal, not done again."""
        ...

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """One unit of it is done. Of an episode: its step, and the calls to the VLM that it really made until now."""
        ...

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """It is over, whole or not; ``result`` is that of a whole episode, which may have been read and never begun."""
        ...

    def say(self, message: str) -> None:
        """Something that the user should know, and that does not end the run."""
        ...


@runtime_checkable
class Listening(Protocol):
    """A progress that is also told what is asked. A reply that a journal holds already is not told again."""

    def asked(self, task: Task, messages: Sequence[Message]) -> None:
        """A VLM is about to be asked."""
        ...

    def answered(self, task: Task, reply: Reply | None) -> None:
        """It answered; ``None`` where it scored choices instead."""
        ...


class Quiet:
    """The progress of a library: nothing is shown; what the user should know is a warning."""

    def began(self, task: Task, recorded: int = 0) -> None:
        """Nothing."""

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """Nothing."""

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """A ``RuntimeWarning``."""
        warn(message)


@contextmanager
def running(progress: Progress, task: Task) -> Iterator[Callable[[], None]]:
    """A task, ended whatever happens in it; yields what is called for each unit that is done."""
    progress.began(task)
    try:
        yield functools.partial(progress.advanced, task)
    finally:
        progress.ended(task)


class Pace:
    """How long the rest of a run takes, if it goes on as in its last ``recent`` rounds."""

    def __init__(self, recent: int, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._ends = deque([now()], maxlen=recent + 1)

    def forget(self) -> None:
        """The round that is going on is of another kind than those before it."""
        while len(self._ends) > 1:
            self._ends.popleft()

    def left(self, rounds: int) -> float:
        """A round is over; seconds for ``rounds`` more."""
        self._ends.append(self._now())
        return rounds * (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)


def warn(message: str) -> None:
    """How a library says what the user should know."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def clock(seconds: float) -> str:
    """``1:05`` or ``2:01:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
