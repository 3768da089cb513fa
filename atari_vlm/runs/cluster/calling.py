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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.errors import RunError, StoppedError, one_line
from atari_vlm.runs.cluster.session import About, Session, check_start
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
    """What comes back of a call: who says it, and what was returned or raised; neither by a worker of another version."""

    about: About
    result: Any = None
    error: BaseException | None = None


def unit_call(driver: About, function: Callable[[Any], Any], what: Any) -> Answer:
    """The remote function; its processes are called ray::unit_call."""
    here = About.here()
    if (here.version, here.ray) != (driver.version, driver.ray):
        return Answer(here)
    try:
        return Answer(here, function(what))
    except Exception as error:
        return Answer(here, error=portable(error))


@dataclass(frozen=True)
class Caller:
    """Calls functions on the workers of a session, ``parallel`` at once, each with what it ``needs`` to itself.

    ``say`` is told of losses in a line; ``stop`` ends it between two results.
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
        ray, waiting, driver = self.session.ray, iter(calls), About.here()
        sent, remote = ray.put(function), self._remote()
        running: dict[Any, tuple[Call, int]] = {}  # with how many workers were lost over it
        try:
            while True:
                while len(running) < self.parallel and (call := next(waiting, None)) is not None:
                    running[remote.remote(driver, sent, call.what)] = call, 0
                if not running:
                    return
                if self.stop is not None and self.stop.is_set():
                    raise StoppedError("stopped between two units")
                for ref in ray.wait([*running], num_returns=1, timeout=_LOOK_S)[0]:
                    call, losses = running.pop(ref)
                    try:
                        answer = ray.get(ref)
                    except ray.exceptions.RayError as error:
                        self._lost(call, losses + 1, error)
                        running[remote.remote(driver, sent, call.what)] = call, losses + 1
                        continue
                    yield call, _result(answer)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)

    def _remote(self) -> Any:
        cpus, gpus = self.needs.cpus, self.needs.gpus
        return self.session.ray.remote(unit_call).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=0
        )

    def _lost(self, call: Call, losses: int, error: BaseException) -> None:
        """A worker is gone, and its call is to be made again; raises what another worker would meet as well."""
        check_start(error)
        if isinstance(error, self.session.ray.exceptions.RayTaskError):
            raise error
        if losses >= _MOST_LOSSES:
            raise RunError(
                f"{call.title}: {losses} workers were lost over it ({one_line(error)})"
            ) from error
        self.say(f"a worker was lost; {call.title} is begun again on another")


def _result(answer: Answer) -> Any:
    answer.about.check()
    if answer.error is not None:
        raise answer.error
    return answer.result
