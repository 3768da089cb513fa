"""Requests of parallel episodes, collected into batches by one worker thread that alone touches the model."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.errors import VLMError

_RECENT_S = 2.0  # a thread that asked or was answered within this time counts as a running episode

Work = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True)
class _Job:
    kind: str
    item: Any
    future: Future[Any] = field(default_factory=Future)
    caller: int = field(default_factory=threading.get_ident)


class Batcher:
    """``submit(kind, item)`` blocks until ``works[kind]`` has handled the item, alone or among others.

    The first job of a batch waits up to ``wait_s`` for the other running episodes, never for more than ``max_batch`` or
    when there is one episode only. A failing batch is taken apart, so that a bad request fails alone; the worker lives on.
    """

    def __init__(self, works: dict[str, Work], *, max_batch: int, wait_s: float):
        self._works, self._max_batch, self._wait_s = works, max_batch, wait_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._callers: dict[int, float] = {}
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        self.batch_sizes: list[int] = []

    def check_process(self) -> None:
        """Raise ``VLMError`` in a fork: its copy has no worker, and locks that nobody may ever open."""
        if os.getpid() != self._process:
            raise VLMError(
                "the local model was loaded in another process, and a fork of that cannot use it: load it in this process, or "
                "serve it once for all of them (--base-url URL)"
            )

    def submit(self, kind: str, item: Any) -> Any:
        """The result for ``item``; what handling it raised is raised here."""
        self.check_process()
        job = _Job(kind, item)
        with self._lock:
            if self._closed:
                raise VLMError("the model has been closed")
            self._callers[job.caller] = time.monotonic()
            if self._worker is None:
                self._worker = threading.Thread(
                    target=self._run, name="atari_vlm local model", daemon=True
                )
                self._worker.start()
            self._jobs.put(job)
        return job.future.result()

    def close(self) -> None:
        """Handle what is waiting, then end the worker. In a fork there is none to end."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed, worker = True, self._worker
            self._jobs.put(None)
        if worker is not None and worker is not threading.current_thread():
            worker.join()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, ended = self._collect(first)
            for kind in self._works:
                self._handle(kind, [job for job in batch if job.kind == kind])
            if ended:
                return

    def _collect(self, first: _Job) -> tuple[list[_Job], bool]:
        batch, deadline = [first], time.monotonic() + self._wait_s
        while len(batch) < self._max_batch:
            expected = len(batch) < self._running(batch)
            try:
                job = (
                    self._jobs.get(timeout=max(0.0, deadline - time.monotonic()))
                    if expected
                    else self._jobs.get_nowait()
                )
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _running(self, batch: Sequence[_Job]) -> int:
        """Threads that asked or were answered lately, or wait in ``batch``, however long they have."""
        with self._lock:
            since = time.monotonic() - _RECENT_S
            self._callers = {
                caller: asked for caller, asked in self._callers.items() if asked > since
            }
            return len(self._callers.keys() | {job.caller for job in batch})

    def _handle(self, kind: str, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            results = self._works[kind]([job.item for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:
                    self._handle(kind, [job])
            return
        self.batch_sizes = [*self.batch_sizes[-999:], len(jobs)]
        with self._lock:  # who is answered now may soon ask again, however long the answer took
            self._callers.update(dict.fromkeys((job.caller for job in jobs), time.monotonic()))
        for job, result in zip(jobs, results, strict=True):
            job.future.set_result(result)
