"""What a journal and a cache below it tell one another of one call: who asks, and whether the answer was paid for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Asking:
    """One call of a run. ``asker`` is the same each time the run comes to this call, and no other call's.

    ``cached`` is set when the answer came from a cache and another call had paid for it. An answer that this very call had
    paid for, before the process died and the journal had it, is not ``cached``: it is counted where it was spent.
    """

    asker: str
    cached: bool = False


_NOW: ContextVar[Asking | None] = ContextVar("asking", default=None)


@contextmanager
def asking(asker: str) -> Iterator[Asking]:
    """Within the block, this thread's calls are made for ``asker``."""
    call = Asking(asker)
    token = _NOW.set(call)
    try:
        yield call
    finally:
        _NOW.reset(token)


def current() -> Asking | None:
    """The call that is being made in this thread, where somebody keeps a record of it."""
    return _NOW.get()
