"""How many requests may be in flight: found out, not configured.

Additive increase, multiplicative decrease, as TCP does it and inspect_ai's adaptive connections do it for vendors: start in
the middle, double per clean round until the first 429, then x0.8 once per burst of 429 and 5 % up per clean round. Server
errors pause the growth without shrinking. Only what really went to the vendor is counted, so a cache hit is neutral.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from atari_vlm.errors import ConfigError, UnavailableError, check_positive
from atari_vlm.vlm.remote.forking import renew_after_fork
from atari_vlm.vlm.remote.retry import SYSTEM_CLOCK, Clock


@dataclass(frozen=True)
class ConcurrencyPolicy:
    """Numbers of the controller.

    ``start``, ``minimum`` and ``maximum`` are requests in flight. ``decrease`` is the factor after a burst of 429,
    ``growth`` the share added per clean round, ``cooldown_s`` the seconds after a cut in which further 429 belong to the
    same burst.
    """

    start: int = 20
    minimum: int = 1
    maximum: int = 100
    decrease: float = 0.8
    growth: float = 0.05
    cooldown_s: float = 15.0

    def __post_init__(self) -> None:
        check_positive(
            start=self.start, minimum=self.minimum, growth=self.growth, cooldown_s=self.cooldown_s
        )
        if not self.minimum <= self.start <= self.maximum:
            raise ConfigError(
                f"minimum <= start <= maximum must hold, got {self.minimum}, {self.start}, {self.maximum} requests in flight"
            )
        if not 0 < self.decrease < 1:
            raise ConfigError(f"decrease must lie between 0 and 1, got {self.decrease!r}")


class RateLimit(Protocol):
    """How many requests one endpoint is sent at once, and what is learned from its answers."""

    def slot(self, timeout_s: float) -> AbstractContextManager[None]:
        """Hold one place while a request is in flight; ``UnavailableError`` if none was free within ``timeout_s`` seconds."""
        ...

    def succeeded(self) -> None:
        """A request was answered."""
        ...

    def throttled(self) -> None:
        """A request was answered with 429."""
        ...

    def failed(self) -> None:
        """A request failed in another way."""
        ...


class AdaptiveLimit:
    """A semaphore whose size follows what the vendor tolerates. Thread-safe.

    A round is as many successes in a row as the limit allows in flight; it only counts while the limit was reached, since
    an unused limit proves nothing.
    """

    def __init__(self, policy: ConcurrencyPolicy | None = None, *, clock: Clock = SYSTEM_CLOCK):
        self._policy = policy or ConcurrencyPolicy()
        self._clock = clock
        self._limit = float(self._policy.start)
        self._clean = 0
        self.after_fork()
        renew_after_fork(self)
        self._reached = False
        self._slow_start = True
        self._last_cut = float("-inf")

    def after_fork(self) -> None:
        """See :class:`~atari_vlm.vlm.remote.forking.Renewable`: nothing is in flight in a child."""
        self._changed = threading.Condition()
        self._in_flight = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Requests in flight now."""
        return self._in_flight

    @contextmanager
    def slot(self, timeout_s: float) -> Iterator[None]:
        """Hold one place while a request is in flight; ``UnavailableError`` if none was free within ``timeout_s`` seconds."""
        self._enter(timeout_s)
        try:
            yield
        finally:
            self.leave()

    def try_enter(self) -> bool:
        """Take a place if one is free; whoever took one gives it back with :meth:`leave`."""
        with self._changed:
            is_free = self._in_flight < self.limit
            self._in_flight += is_free
            self._reached |= self._in_flight >= self.limit
            return is_free

    def leave(self, places: int = 1) -> None:
        """Give places back."""
        with self._changed:
            self._in_flight -= places
            self._changed.notify(places)

    def _enter(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        with self._changed:
            while not self.try_enter():
                if (
                    not self._changed.wait(max(0.0, until - time.monotonic()))
                    and time.monotonic() >= until
                ):
                    raise no_place(self.limit, timeout_s)

    def succeeded(self) -> None:
        """A request was answered."""
        with self._changed:
            self._clean += 1
            if self._clean < self.limit:
                return
            if self._reached:
                grown = (
                    self._limit * 2
                    if self._slow_start
                    else max(self._limit * (1 + self._policy.growth), self.limit + 1)
                )
                self._limit = min(grown, float(self._policy.maximum))
                self._changed.notify_all()
            self._clean, self._reached = 0, False

    def throttled(self) -> None:
        """A request was answered with 429."""
        with self._changed:
            self._clean, self._slow_start = 0, False
            now = self._clock.monotonic()
            if now - self._last_cut >= self._policy.cooldown_s:
                self._last_cut = now
                self._limit = max(float(self._policy.minimum), self._limit * self._policy.decrease)

    def failed(self) -> None:
        """A request failed in another way: the round starts anew, the limit stays."""
        with self._changed:
            self._clean = 0


def no_place(limit: int, timeout_s: float) -> UnavailableError:
    """What is said when all places stayed taken."""
    return UnavailableError(
        f"no place among {limit} requests in flight became free within {timeout_s:.0f} s. "
        "Nothing is lost; run the same command again to continue"
    )
