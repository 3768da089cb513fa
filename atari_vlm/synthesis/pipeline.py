"""Work that overlaps, with results that are used in the order in which the work was chosen.

``parallel`` pieces are under way at once. The next one is chosen when the oldest one's result has been used, so that what is
chosen is a function of the results alone, never of which came first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from atari_vlm.errors import StoppedError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Steps(Generic[Item, Result]):
    """What is done with a piece of work. ``choose`` and ``use`` are called by one thread, ``work`` by others.

    ``choose(number)`` gives piece 1, 2, ... or ``None`` while it depends on results that are still out; ``use`` says whether
    this was the last result that is needed.
    """

    choose: Callable[[int], Item | None]
    work: Callable[[Item], Result]
    use: Callable[[Item, Result], bool]


def run_in_order(
    steps: Steps[Item, Result], most: int, parallel: int, stop: threading.Event | None = None
) -> int:
    """Do at most so many pieces; returns how many were done. What is under way when the last result came is used too.

    The first error in the order of choice is raised once nothing is under way any more; ``StoppedError`` when ``stop`` is set.
    """
    with ThreadPoolExecutor(parallel, thread_name_prefix="simulation") as pool:
        out: deque[tuple[Item, Future[Result]]] = deque()
        chosen, done = 0, False
        while True:
            while not done and chosen < most and len(out) < parallel:
                if stop is not None and stop.is_set():
                    raise StoppedError("stopped between two simulations")
                item = steps.choose(chosen + 1)
                if item is None:
                    break
                chosen += 1
                out.append((item, pool.submit(steps.work, item)))
            if not out:
                return chosen
            item, future = out.popleft()
            done |= steps.use(item, future.result())
