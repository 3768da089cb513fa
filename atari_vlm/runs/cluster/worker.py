"""A worker: one process of Ray that plays one unit after the other and ships what it records."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from atari_vlm.errors import AtariVLMError
from atari_vlm.runs.cluster.limits import Shared, SharedBudget
from atari_vlm.runs.cluster.progress import ListeningShippedProgress, ShippedProgress
from atari_vlm.runs.cluster.session import About
from atari_vlm.runs.cluster.shipping import Known, Outbox, Shipment, UnitRecord
from atari_vlm.runs.record import Record
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.keyless import known_keys, without_keys

_PATIENCE_S = (
    0.25  # that the driver waits for rows that are not urgent, and a wish to stop for a worker
)


@dataclass(frozen=True)
class Tools:
    """What whoever opens the work of a run gets on a worker: the one budget, and :meth:`share` for each VLM that is loaded."""

    budget: Budget
    shared: Shared

    def share(self, vlm: VLM) -> None:
        """Let a VLM keep to the limits that all workers share, if it sends requests."""
        if (share := getattr(vlm, "share_limit", None)) is not None:
            share(self.shared.limit)


@dataclass(frozen=True)
class Seat:
    """Where a unit is played: what is recorded, who is told, and what ends it early."""

    journal: Record
    progress: ShippedProgress
    stop: threading.Event


PlayUnit = Callable[[Any, Seat], None]


class Work(Protocol):
    """A run as its workers know it. It is sent to them, so it holds no key."""

    def open(self, tools: Tools, opened: ExitStack) -> PlayUnit:
        """Get ready on a worker; what is opened is closed with ``opened``. Returns what plays a unit."""
        ...


@dataclass(frozen=True)
class Contract:
    """What a worker is told once: its name, the work, the limits, whether somebody ``listens`` to questions and replies.

    ``is_far``: it may be on another machine than the driver.
    """

    name: str
    work: Work
    budget: Budget
    limits: Any
    listens: bool
    is_far: bool


@dataclass(frozen=True)
class Order:
    """What the driver says when it asks: a unit to begin with what is known of it, or that all is to end."""

    unit: tuple[Any, Known] | None = None
    stop: bool = False


class unit_player:  # in small letters: its process is called ray::unit_player
    """The actor. A thread of its own plays; the driver fetches what that thread has to say."""

    def __init__(self, contract: Contract):
        self._contract, self._outbox = contract, Outbox()
        self._units: queue.SimpleQueue[tuple[Any, Known] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play_all, name="units", daemon=True)
        self._thread.start()

    def about(self) -> About:
        """Which versions this is."""
        return About.here()

    def exchange(self, order: Order) -> list[Shipment]:
        """Take an order; what was given out before is in the journal. Returns what there is to ship, soon."""
        if order.stop:
            self._stop.set()
        if order.unit is not None:
            self._units.put(order.unit)
        return self._outbox.take(_PATIENCE_S)

    def end(self, patience_s: float) -> None:
        """Close what is open."""
        self._units.put(None)
        self._thread.join(patience_s)

    def _play_all(self) -> None:
        shared = Shared(self._contract.limits, self._contract.name)
        tools = Tools(SharedBudget(self._contract.budget, shared), shared)
        with ExitStack() as opened:
            play: PlayUnit | None = None
            while (order := self._units.get()) is not None:
                try:
                    play = play or self._contract.work.open(tools, opened)
                    self._play(play, *order)
                    result: BaseException | None = None
                except BaseException as error:
                    result = portable(error)
                self._outbox.put_now(("ended", "", (result,)), wait=False)

    def _play(self, play: PlayUnit, unit: Any, known: Known) -> None:
        kind = ListeningShippedProgress if self._contract.listens else ShippedProgress
        title = About.here().named(self._contract.name, is_far=self._contract.is_far)
        progress = kind(self._outbox, title, self._contract.listens)
        play(unit, Seat(UnitRecord(known, self._outbox), progress, self._stop))


def portable(error: BaseException) -> BaseException:
    """An error as it can be sent, without any key; one that cannot is told in words."""
    keys = known_keys()
    told = [without_keys(part, keys) if isinstance(part, str) else part for part in error.args]
    if isinstance(error, AtariVLMError):
        error.args = tuple(told)
    error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(
            f"{type(error).__name__}: {without_keys(str(error), keys)} (in {os.getpid()})"
        )
