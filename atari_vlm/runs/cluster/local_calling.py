"""The calls of :mod:`atari_vlm.runs.cluster.calling` without Ray: in this process, or in several of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from atari_vlm.errors import RunError, StoppedError
from atari_vlm.runs.cluster.calling import Call

_LOOK_S = 0.5


@dataclass(frozen=True)
class LocalCaller:
    """As :class:`~atari_vlm.runs.cluster.calling.Caller`; with ``parallel`` above 1 so many processes make the calls.

    Functions and what they are called with are then sent to these as Python sends them (pickled, by name).
    """

    parallel: int = 1
    stop: threading.Event | None = None

    def results(
        self, function: Callable[[Any], Any], calls: Iterable[Call]
    ) -> Iterator[tuple[Call, Any]]:
        """Every call with what the function returned for it, in the order in which they end.

        What a call raises is raised here as itself, and ends the others. Raises ``RunError`` where a process was lost, and
        ``StoppedError``.
        """
        if self.parallel == 1:
            for call in calls:
                self._look()
                yield call, function(call.what)
            return
        fresh = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.parallel, fresh, initializer=_live_with_the_parent)
        try:
            yield from self._spread(pool, function, iter(calls))
        except BrokenProcessPool as error:
            raise RunError(
                "a process was lost in the midst of a unit; the same command goes on"
            ) from error
        finally:
            _end(pool)

    def _spread(
        self, pool: ProcessPoolExecutor, function: Callable[[Any], Any], calls: Iterator[Call]
    ) -> Iterator[tuple[Call, Any]]:
        running: dict[Future[Any], Call] = {}
        while True:
            while len(running) < self.parallel and (call := next(calls, None)) is not None:
                running[pool.submit(function, call.what)] = call
            if not running:
                return
            self._look()
            for ended in wait(running, _LOOK_S, FIRST_COMPLETED).done:
                yield running.pop(ended), ended.result()

    def _look(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise StoppedError("stopped between two units")


def _live_with_the_parent() -> None:
    """In a process: signals are the parent's to answer, and its end is the end of this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end(pool: ProcessPoolExecutor) -> None:
    """At once: what is under way is not waited for."""
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(cancel_futures=True)
