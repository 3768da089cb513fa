"""What has locks or threads begins anew in the child of a fork: there they belong to threads that do not exist.

An object with ``after_fork()`` registers itself once; the hook runs in the child before anything else does.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class Renewable(Protocol):
    """What can begin anew in a child process."""

    def after_fork(self) -> None:
        """Replace locks, threads and connections; touch nothing that the parent still uses."""
        ...


_ALIVE: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Call ``thing.after_fork()`` in the child of every later fork, as long as somebody holds it."""
    _ALIVE.add(thing)


def _renew() -> None:
    for thing in list(_ALIVE):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
