"""A function as a unit: called on the workers of a Ray session for one argument after another, results as they come.

For units that hold nothing of a run: what they need is in the function and its argument, what they found is what they return.
(Units that ask somebody, or write a journal, are dealt by :mod:`atari_vlm.runs.cluster.dealing`.) How it is used::

    with session(options) as opened:                            # atari_vlm.runs.cluster.session
        caller = Caller(opened, options.parallel, say=say, stop=stop)
        for call, result in caller.results(judge, (Call(p.text, p.title) for p in programs)):
            keep(call.what, result)

``judge`` is a function of a module, or a ``functools.partial`` or frozen dataclass with ``__call__`` that holds what all calls
share: it is sent once to each machine. A call may be made again after a loss, and any number of them in any order, so a function
changes nothing but what it returns. Calls are taken from their iterator when there is room for one: no more than ``parallel``
are under way, and whatever was found is in the hands of the caller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from atari_vlm.errors import RunError, StoppedError, one_line
from atari_vlm.runs.cluster.session import PATIENCE_S, About, Session, check_start
from atari_vlm.runs.cluster.units import Needs
from atari_vlm.runs.cluster.worker import portable

_LOOK_S = 0.5  # how often a wish to stop is looked for while no result comes
_MOST_LOSSES = 8  # of one call


@dataclass(frozen=True)
class Call:
    """One unit: ``what`` the function is called with, and the ``title`` that it has for people."""

    what: Any
    title: str


@dataclass(frozen=True)
class Answer:
    """What comes back of a call: that it has begun, then what was returned or raised."""

    result: Any = None
    error: BaseException | None = None


def unit_call(driver: About, function: Callable[[Any], Any], what: Any) -> Iterator[About | Answer]:
    """The remote function, whose processes are called ray::unit_call: who begins, and what came of it.

    A worker of another version says who it is and does nothing.
    """
    here = About.here()
    yield here
    if (here.version, here.ray) != (driver.version, driver.ray):
        return
    try:
        answer = Answer(function(what))
    except Exception as error:
        answer = Answer(error=portable(error))
    yield answer


@dataclass(frozen=True)
class _Running:
    """A call under way, with how many workers were lost over it, and whether one has begun it."""

    call: Call
    losses: int = 0
    has_begun: bool = False


@dataclass(frozen=True)
class Caller:
    """Calls functions on the workers of a session, ``parallel`` at once, each with what it ``needs`` to itself.

    ``say`` is told of losses in a line, and where none of the calls finds a worker for a minute; ``stop`` ends it between two
    results.
    """

    session: Session
    parallel: int = 1
    needs: Needs = field(default_factory=Needs)
    say: Callable[[str], object] = lambda line: None
    stop: threading.Event | None = None

    def results(
        self, function: Callable[[Any], Any], calls: Iterable[Call]
    ) -> Iterator[tuple[Call, Any]]:
        """Every call with what the function returned for it, in the order in which they end.

        What a call raises is raised here as itself, and ends the others. Raises ``MismatchError`` for a worker of another
        version, ``ConfigError`` for one without the package, ``RunError`` where a call has lost 8 workers, ``StoppedError``.
        """
        waiting, running = iter(calls), dict[Any, _Running]()  # by what each has to say
        begin = partial(self._remote().remote, About.here(), self.session.ray.put(function))
        silence = _Silence()
        try:
            while True:
                while len(running) < self.parallel and (call := next(waiting, None)) is not None:
                    running[begin(call.what)] = _Running(call)
                if not running:
                    return
                if self.stop is not None and self.stop.is_set():
                    raise StoppedError("stopped between two units")
                if silence.lasts(any(unit.has_begun for unit in running.values())):
                    self.say(self.session.nobody_begins(self.needs))
                for words, unit, said in self._said(running):
                    if isinstance(said, BaseException):
                        self._lost(unit, said)
                        running[begin(unit.call.what)] = _Running(unit.call, unit.losses + 1)
                    elif isinstance(said, About):
                        said.check()
                        running[words] = _Running(unit.call, unit.losses, has_begun=True)
                    else:
                        yield unit.call, _result(said)
        finally:
            for words in running:
                self.session.ray.cancel(words, force=True)

    def _said(self, running: dict[Any, _Running]) -> Iterator[tuple[Any, _Running, Any]]:
        """Take out who says something within a moment, with what that is: that it begins, its answer, or how it was lost."""
        ray = self.session.ray
        for words in ray.wait([*running], num_returns=1, timeout=_LOOK_S)[0]:
            unit = running.pop(words)
            try:
                said = ray.get(next(words))
            except ray.exceptions.RayError as error:
                said = error
            yield words, unit, said

    def _remote(self) -> Any:
        cpus, gpus = self.needs.cpus, self.needs.gpus
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
        return self.session.ray.remote(unit_call).options(num_returns="streaming", **options)

    def _lost(self, unit: _Running, error: BaseException) -> None:
        """A worker is gone, and its call is to be made again; raises what another worker would meet as well."""
        check_start(error)
        if isinstance(error, self.session.ray.exceptions.RayTaskError):
            raise error
        title, losses = unit.call.title, unit.losses + 1
        if losses >= _MOST_LOSSES:
            raise RunError(
                f"{title}: {losses} workers were lost over it ({one_line(error)})"
            ) from error
        self.say(f"a worker was lost; {title} is begun again on another")


class _Silence:
    """Whether it has lasted for long that nobody begins; True once."""

    def __init__(self) -> None:
        self._since: float | None = time.monotonic()

    def lasts(self, is_broken: bool) -> bool:
        """Look."""
        if is_broken:
            self._since = time.monotonic()
        elif self._since is not None and time.monotonic() - self._since >= PATIENCE_S:
            self._since = None
            return True
        return False


def _result(answer: Answer) -> Any:
    if answer.error is not None:
        raise answer.error
    return answer.result
