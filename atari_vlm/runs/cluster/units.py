"""The pieces of a run, what a worker of each needs, and how they wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Needs:
    """What a worker of some units takes: ``cpus`` and ``gpus`` of a machine. Others are ``kind`` by ``kind`` other workers."""

    cpus: float = 1.0
    gpus: float = 0.0
    kind: str = ""


@dataclass(frozen=True)
class Unit:
    """One piece of a run: ``what`` is sent to the worker, ``episodes`` are its numbers in the journal.

    ``group``: a worker goes on with units of the group that it has loaded, as long as there are any. ``is_paid``: its calls
    are counted.
    """

    what: Any
    title: str
    episodes: Sequence[int]
    needs: Needs = Needs()
    group: str = ""
    is_paid: bool = False


class Lots:
    """Units that wait, in lots of the same needs and group."""

    def __init__(self) -> None:
        self._lots: dict[tuple[Needs, str], deque[Unit]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lots.values()))

    def put(self, unit: Unit) -> None:
        """Let it wait as the last of its lot."""
        self._lots.setdefault((unit.needs, unit.group), deque()).append(unit)

    def put_back(self, unit: Unit) -> None:
        """Let it wait as the first."""
        self._lots.setdefault((unit.needs, unit.group), deque()).appendleft(unit)

    def next(self, needs: Needs, group: str) -> Unit | None:
        """What a worker does next: more of the group that it has loaded, else anything that it can do."""
        keys = [(needs, group), *(key for key in self._lots if key[0] == needs)]
        for key in keys:
            if lot := self._lots.get(key):
                return lot.popleft()
        return None

    def wanted(self) -> dict[Needs, int]:
        """How many units wait for workers of which kind."""
        counts: dict[Needs, int] = {}
        for (needs, _), lot in self._lots.items():
            if lot:
                counts[needs] = counts.get(needs, 0) + len(lot)
        return counts

    def clear(self) -> None:
        """Forget them."""
        self._lots.clear()
