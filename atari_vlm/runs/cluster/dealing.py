"""The driver's side: units dealt out to workers, what these ship kept in the journal, and lost ones replaced.

One thread talks with all workers in turn. A unit goes to whoever is free; what its worker shipped is in the journal, so that
after a loss another one goes on from there, in this session or in the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.errors import RunError, StoppedError, one_line
from atari_vlm.runs.cluster.limits import NAME, LimitsLostError, budget_and_limit
from atari_vlm.runs.cluster.session import PATIENCE_S, About, Session, check_start
from atari_vlm.runs.cluster.shipping import Known, Shipment, keep, known_of
from atari_vlm.runs.cluster.units import Lots, Needs, Unit
from atari_vlm.runs.cluster.worker import Contract, Order, Work, unit_player
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.progress import Listening, Progress, Quiet, Task
from atari_vlm.types import Reply
from atari_vlm.vlm.layers.budget import Budget

_LOOK_S = 0.5  # how often a wish to stop is looked for while nobody says anything
_MOST_LOSSES = 8  # of one unit, one after the other, with nothing recorded in between
_NOTE_EVERY_S = 5.0
_END_S = 3.0  # that workers have to close what they hold


@dataclass(frozen=True)
class Desk:
    """Where it all comes together: the journal of the run, the budget as the journal knows it, who is told, what ends it."""

    journal: Journal
    budget: Budget
    parallel: int = 1
    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None


@dataclass(eq=False)
class _Worker:
    name: str
    needs: Needs
    actor: Any
    asked: Any  # what the driver waits for
    generation: int
    title: str
    is_ready: bool = False
    group: str = ""
    unit: Unit | None = None
    tasks: dict[Task, None] = field(default_factory=dict)  # that it has begun


class Dealer:
    """Plays units on the workers of a session."""

    def __init__(self, session: Session, work: Work, desk: Desk):
        self._session, self._work, self._desk = session, work, desk
        self._waiting = Lots()
        self._workers: deque[_Worker] = deque()
        self._leaving: list[Any] = []
        self._number = self._generation = 0
        self._limits: Any = None
        self._losses: dict[int, int] = {}
        self._errors: list[tuple[int, BaseException]] = []
        self._order: dict[int, int] = {}
        self._rows: dict[int, Any] = {}
        self._stopping = self._has_ended = False

    def play(self, units: Sequence[Unit], note: Callable[[], object] = lambda: None) -> None:
        """Play them all; ``note`` is called now and then while units end, and at the end.

        Raises the first error, in the order of the units, after all others have ended their step.
        """
        for unit in units:
            self._waiting.put(unit)
        self._order = {id(unit): number for number, unit in enumerate(units)}
        self._rows = {row.episode: row for row in self._desk.journal.episodes()}
        noted = time.monotonic()
        with self._limits_held(any(unit.is_paid for unit in units)), self._patience() as seen:
            try:
                while len(self._waiting) or any(worker.unit for worker in self._workers):
                    self._staff()
                    self._look()
                    for worker in self._spoken():
                        seen()
                        self._hear(worker)
                    if self._has_ended and time.monotonic() - noted >= _NOTE_EVERY_S:
                        note()
                        noted, self._has_ended = time.monotonic(), False
            finally:
                self._dismiss()
                note()
        if self._errors:
            _, first = min(self._errors, key=lambda e: (isinstance(e[1], StoppedError), e[0]))
            raise first

    def _staff(self) -> None:
        """Open workers for what waits, as many as there may be."""
        if len(self._workers) >= self._desk.parallel:
            return
        for needs, count in self._waiting.wanted().items():
            begin = sum(worker.needs == needs and not worker.is_ready for worker in self._workers)
            room = self._desk.parallel - len(self._workers)
            for _ in range(min(room, count - begin)):
                self._hire(needs)

    def _hire(self, needs: Needs) -> None:
        self._number += 1
        name = f"worker {self._number}"
        desk = self._desk
        listens = isinstance(desk.progress, Listening)
        is_far = not self._session.is_ours
        contract = Contract(name, self._work, desk.budget, self._limits, listens, is_far)
        kind = self._session.ray.remote(unit_player)
        actor = kind.options(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0).remote(
            contract
        )
        worker = _Worker(name, needs, actor, actor.about.remote(), self._generation, name)
        self._workers.append(worker)

    def _spoken(self) -> Iterator[_Worker]:
        """Whoever has something to say, in turn."""
        refs = {worker.asked: worker for worker in self._workers}
        if not refs:
            return
        ready, _ = self._session.ray.wait(list(refs), num_returns=1, timeout=_LOOK_S)
        for ref in ready:
            worker = refs[ref]
            self._workers.remove(worker)
            self._workers.append(worker)
            yield worker

    def _hear(self, worker: _Worker) -> None:
        ray = self._session.ray
        try:
            said = ray.get(worker.asked)
        except ray.exceptions.RayError as error:
            self._lost(worker, error)
            return
        if isinstance(said, About):
            said.check()
            worker.is_ready = True
            worker.title = said.named(worker.name, is_far=not self._session.is_ours)
        else:
            for shipment in said:
                self._keep(worker, shipment)
        if worker in self._workers:
            self._ask(worker)

    def _keep(self, worker: _Worker, shipment: Shipment) -> None:
        """Write down, or pass on, what a worker says."""
        sort, name, arguments = shipment
        unit = worker.unit
        assert unit is not None
        if sort == "journal":
            keep(self._desk.journal, name, arguments)
            self._losses.pop(id(unit), None)
            if name == "record_reply" and unit.is_paid and not arguments[3]:
                reply = arguments[2]
                self._desk.budget.recover(Reply.from_dict(reply) if "text" in reply else None)
        elif sort == "progress":
            if name == "began":
                worker.tasks[arguments[0]] = None
            elif name == "ended":
                worker.tasks.pop(arguments[0], None)
            getattr(self._desk.progress, name)(*arguments)
        else:
            self._ended(worker, unit, arguments[0])

    def _ended(self, worker: _Worker, unit: Unit, error: BaseException | None) -> None:
        worker.unit = None
        if error is None:
            self._has_ended = True
        elif isinstance(error, LimitsLostError) and not self._stopping:
            self._waiting.put_back(unit)
            self._dismiss_one(worker)
            if worker.generation == self._generation:
                self._desk.progress.say(
                    "the budget's process was lost; it is made again from the journal"
                )
                self._hold_limits()
        else:
            self._errors.append((self._order[id(unit)], error))
            self._end_early()

    def _ask(self, worker: _Worker) -> None:
        """Give a worker what it is to do, and ask what it has to say; one for whom there is nothing goes."""
        order = Order(stop=self._stopping)
        if worker.unit is None:
            unit = self._waiting.next(worker.needs, worker.group)
            if unit is None:
                self._dismiss_one(worker)
                return
            worker.unit, worker.group = unit, unit.group
            order = Order((unit.what, self._known(unit)), self._stopping)
        worker.asked = worker.actor.exchange.remote(order)

    def _known(self, unit: Unit) -> Known:
        journal = self._desk.journal
        if any(number in self._rows for number in unit.episodes):
            rows = {row.episode: row for row in journal.episodes()}
            return known_of(journal, rows, unit.episodes, unit.is_paid)
        self._rows.update(dict.fromkeys(unit.episodes))
        return Known(journal.id, journal.path, is_paid=unit.is_paid)

    def _lost(self, worker: _Worker, error: BaseException) -> None:
        """A worker is gone; what it played goes on elsewhere."""
        self._workers.remove(worker)
        if not worker.is_ready:
            check_start(error)
        if self._limits is not None:
            self._limits.forget.remote(worker.name)
        for task in worker.tasks:
            self._desk.progress.ended(task)
        if worker.unit is None:
            self._desk.progress.say(f"{worker.title} was lost; another takes its place")
            return
        losses = self._losses[id(worker.unit)] = self._losses.get(id(worker.unit), 0) + 1
        if losses >= _MOST_LOSSES:
            raise RunError(
                f"{worker.unit.title}: {losses} workers were lost over it, one after the other ({one_line(error)})"
            )
        self._desk.progress.say(f"{worker.title} was lost; {worker.unit.title} goes on elsewhere")
        if not self._stopping:
            self._waiting.put_back(worker.unit)

    def _look(self) -> None:
        stop = self._desk.stop
        if stop is not None and stop.is_set() and not self._stopping:
            self._errors.append((0, StoppedError("stopped between two steps")))
            self._end_early()

    def _end_early(self) -> None:
        self._stopping = True
        self._waiting.clear()

    def _dismiss_one(self, worker: _Worker) -> None:
        """Let a worker close what it holds; it goes when nobody has its handle any more."""
        self._workers.remove(worker)
        self._leaving.append(worker.actor.end.remote(_END_S))

    def _dismiss(self) -> None:
        """End all workers: who has a unit still was not to be waited for."""
        ray, leaving = self._session.ray, self._leaving
        if leaving:
            ray.wait(leaving, num_returns=len(leaving), timeout=_END_S)
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()
        self._leaving.clear()

    @contextmanager
    def _limits_held(self, are_needed: bool) -> Iterator[None]:
        if not are_needed:
            yield
            return
        self._hold_limits()
        try:
            yield
        finally:
            self._session.ray.kill(self._limits)

    def _hold_limits(self) -> None:
        self._generation += 1
        name = NAME.format(f"{self._session.word}-{self._generation}")
        kind = self._session.ray.remote(budget_and_limit)
        options = {"name": name, "num_cpus": 0, "scheduling_strategy": self._session.here}
        self._limits = kind.options(**options).remote(self._desk.budget)

    @contextmanager
    def _patience(self) -> Iterator[Callable[[], None]]:
        """Say once that there are no workers, if that lasts; what is yielded is called when one speaks."""
        waits = threading.Timer(PATIENCE_S, self._say_that_nobody_is_there)
        waits.daemon = True
        waits.start()
        try:
            yield waits.cancel
        finally:
            waits.cancel()

    def _say_that_nobody_is_there(self) -> None:
        wanted = self._workers[0].needs if self._workers else Needs()
        self._desk.progress.say(self._session.nobody_begins(wanted))
