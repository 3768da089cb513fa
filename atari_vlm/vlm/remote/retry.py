"""The one retry layer of every remote VLM. SDK retries are off, so what is written here is all that happens.

Retried: 408, 409, 429, every 5xx (529 among them), timeouts, broken connections, and bodies that are no answer at all. Not
retried: every other status, and what its body says will not pass. Waits grow from 0.5 s to 60 s with full jitter (a uniform
draw below the bound, so that parallel episodes do not come back together), after a 429 from the bound's upper half, so that a
limit of a minute is outlasted; the wait that a server asks for is kept instead, up to 120 s. A call has a
deadline, and an outage that outlasts the breaker's limits ends every call: both are ``UnavailableError``, after which the
run can be resumed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from atari_vlm.errors import ConfigError, UnavailableError, check_positive
from atari_vlm.vlm.remote.forking import renew_after_fork
from atari_vlm.vlm.remote.outcomes import Failure

logger = logging.getLogger(__name__)
T = TypeVar("T")


@runtime_checkable
class Clock(Protocol):
    """Time as the retry layer sees it; tests use a virtual one."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    def time(self) -> float:
        """Seconds since 1970, for ``Retry-After`` dates."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    def time(self) -> float:
        """See :class:`Clock`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See :class:`Clock`."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on. All times in seconds.

    ``deadline_s`` bounds one call, waits included. The breaker opens when ``breaker_failures`` attempts in a row failed,
    over all threads, for at least ``breaker_span_s``; 429 does not count. While it is open a call gets one attempt; a
    success closes it. ``first_contact_attempts`` is enough for a server that never sent anything: its address is wrong, or it
    is not there.
    """

    max_attempts: int = 10
    first_contact_attempts: int = 5
    first_wait_s: float = 0.5
    max_wait_s: float = 60.0
    max_retry_after_s: float = 120.0
    deadline_s: float = 600.0
    breaker_failures: int = 20
    breaker_span_s: float = 30.0

    def __post_init__(self) -> None:
        check_positive(
            max_attempts=self.max_attempts,
            first_wait_s=self.first_wait_s,
            max_wait_s=self.max_wait_s,
        )
        check_positive(max_retry_after_s=self.max_retry_after_s, deadline_s=self.deadline_s)
        check_positive(
            breaker_failures=self.breaker_failures,
            first_contact_attempts=self.first_contact_attempts,
        )
        if not self.breaker_span_s >= 0:
            raise ConfigError(f"breaker_span_s must be 0 or more, got {self.breaker_span_s!r}")

    def wait_s(self, attempt: int, failure: Failure, rng: random.Random) -> float:
        """Seconds to wait after the ``attempt``-th (1, 2, ...) failed attempt.

        A wait that the server asked for is kept and up to a tenth longer; else uniform in ``[0, first_wait_s * 2**(attempt
        - 1)]``, capped; in the upper half of it after a 429.
        """
        asked = failure.retry_after_s
        if asked is not None and asked > 0:
            return min(asked * rng.uniform(1.0, 1.1), self.max_retry_after_s)
        bound = self.first_wait_s * 2.0 ** min(attempt - 1, 60)
        bound = min(bound, self.max_wait_s)
        return rng.uniform(bound / 2 if failure.throttled else 0.0, bound)


class Breaker:
    """Counts failures in a row over all threads and says when an outage is an outage."""

    def __init__(self, policy: RetryPolicy):
        self._policy = policy
        self._failures, self._since = 0, 0.0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """See :class:`~atari_vlm.vlm.remote.forking.Renewable`."""
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """A reply came: the row is broken."""
        with self._lock:
            self._failures = 0

    def failed(self, now: float) -> bool:
        """Count a failure; whether the breaker is open now."""
        with self._lock:
            if self._failures == 0:
                self._since = now
            self._failures += 1
            enough = self._failures >= self._policy.breaker_failures
            return enough and now - self._since >= self._policy.breaker_span_s


class Retrier:
    """Runs attempts under a policy. Thread-safe; the breaker is shared by all its calls."""

    def __init__(
        self, policy: RetryPolicy, *, clock: Clock = SYSTEM_CLOCK, rng: random.Random | None = None
    ):
        self._policy, self._clock = policy, clock
        self._rng = rng or random.Random()
        self._breaker = Breaker(policy)
        self._heard_of = False  # whether the server ever sent anything, an error included

    def call(self, attempt: Callable[[float], T | Failure]) -> tuple[T, int]:
        """Return the first result that is no :class:`Failure`, and the number of attempts.

        ``attempt`` gets the seconds left for the call. Raises ``failure.error`` at once for a permanent failure, and
        ``UnavailableError`` when the policy is exhausted.
        """
        start = self._clock.monotonic()
        number = 0
        while True:
            number += 1
            outcome = attempt(start + self._policy.deadline_s - self._clock.monotonic())
            self._heard_of |= not isinstance(outcome, Failure) or outcome.status is not None
            if not isinstance(outcome, Failure):
                self._breaker.succeeded()
                return outcome, number
            if outcome.error is not None:
                raise outcome.error(outcome.message)
            self._wait(number, outcome, start)

    def _wait(self, number: int, failure: Failure, start: float) -> None:
        """Sleep before the next attempt, or raise when there is to be none."""
        now = self._clock.monotonic()
        wait = self._policy.wait_s(number, failure, self._rng)
        reason = None
        if not failure.throttled and self._breaker.failed(now):
            reason = f"{self._policy.breaker_failures} or more requests in a row failed"
        elif not self._heard_of and number >= self._policy.first_contact_attempts:
            reason = f"the server never answered in {number} attempts; is its address right, and is it running?"
        elif number >= self._policy.max_attempts:
            reason = f"{number} attempts failed"
        elif now + wait - start > self._policy.deadline_s:
            reason = f"the next attempt, {wait:.0f} s away, lies beyond the deadline of {self._policy.deadline_s:g} s"
        if reason is not None:
            raise UnavailableError(
                f"no reply: {reason} ({now - start:.0f} s). Last: {failure.message}. "
                "Nothing is lost; run the same command again to continue"
            )
        level = logging.INFO if number < 3 else logging.WARNING
        logger.log(
            level, "attempt %d failed: %s; the next in %.1f s", number, failure.message, wait
        )
        self._clock.sleep(wait)
