"""A judge that looks at each program once, however many replies hold it: equal programs have equal outcomes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from atari_vlm.synthesis.records import Outcome

Judge = Callable[[str], Outcome]  # of a program; called from several threads


class JudgedOnce:
    """``judge`` with a memory. Who comes with a program that is being judged waits; an error is not remembered."""

    def __init__(self, judge: Judge):
        self._judge = judge
        self._known: dict[str, Future[Outcome]] = {}
        self._lock = threading.Lock()

    def __call__(self, program: str) -> Outcome:
        """The outcome, judged now or before."""
        with self._lock:
            known = self._known.get(program)
            if known is None:
                mine = self._known[program] = Future[Outcome]()
        if known is not None:
            return known.result()
        try:
            mine.set_result(self._judge(program))
        except BaseException as error:
            with self._lock:
                del self._known[program]
            mine.set_exception(error)
        return mine.result()
