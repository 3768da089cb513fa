"""One budget and one adaptive limit per endpoint for all workers of a run, held by one named actor beside the driver.

What a worker reserved and never gave back, because it was lost, stays counted: the call may have been paid for. The place that
it held among the requests in flight is given back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atari_vlm.errors import AtariVLMError, UnavailableError
from atari_vlm.types import Reply
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.remote.concurrency import AdaptiveLimit, ConcurrencyPolicy, no_place

NAME = "atari_vlm-budget-and-rate-limit-{}"  # and a word of the session
_LOOK_S = (0.01, 0.2)  # how often a worker looks for a free place: first, and at most


class budget_and_limit:  # in small letters: its process is called ray::budget_and_limit
    """The actor. It answers at once; whoever has to wait asks again."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self._limits: dict[str, AdaptiveLimit] = {}
        self._held: Counter[tuple[str, str]] = Counter()

    def reserve(self) -> AtariVLMError | None:
        """Count one call; what speaks against it."""
        try:
            self._budget.reserve_call()
        except AtariVLMError as error:
            return error
        return None

    def release(self) -> None:
        """Give back a call that brought no reply."""
        self._budget.release_call()

    def spend(self, reply: Reply) -> None:
        """Count a reply."""
        self._budget.spend(reply)

    def recover(self, reply: Reply | None) -> None:
        """Count a call that was made earlier."""
        self._budget.recover(reply)

    def enter(self, worker: str, endpoint: str, policy: ConcurrencyPolicy) -> int:
        """Take a place among an endpoint's requests: 0, or how many there may be where all are taken."""
        limit = self._limits.setdefault(endpoint, AdaptiveLimit(policy))
        if not limit.try_enter():
            return limit.limit
        self._held[worker, endpoint] += 1
        return 0

    def leave(self, worker: str, endpoint: str) -> None:
        """Give it back."""
        if self._held[worker, endpoint]:
            self._held[worker, endpoint] -= 1
            self._limits[endpoint].leave()

    def heard(self, endpoint: str, outcome: str) -> None:
        """What became of a request: succeeded, throttled or failed."""
        getattr(self._limits[endpoint], outcome)()

    def forget(self, worker: str) -> None:
        """A worker is lost, and its requests with it."""
        for (name, endpoint), places in list(self._held.items()):
            if name == worker:
                self._limits[endpoint].leave(places)
                del self._held[name, endpoint]


class LimitsLostError(UnavailableError):
    """The actor that holds budget and limits is gone; the driver makes another one."""


class Shared:
    """A worker's way to the actor."""

    def __init__(self, actor: Any, worker: str):
        self._actor, self.worker = actor, worker

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call and wait; ``LimitsLostError`` where there is no actor any more."""
        import ray

        try:
            return ray.get(getattr(self._actor, method).remote(*arguments))
        except ray.exceptions.RayActorError as error:
            raise LimitsLostError("the actor that holds the budget is gone") from error

    def tell(self, method: str, *arguments: Any) -> None:
        """Call, and go on."""
        getattr(self._actor, method).remote(*arguments)

    def limit(self, endpoint: str, policy: ConcurrencyPolicy) -> SharedLimit:
        """The limit of an endpoint."""
        return SharedLimit(self, endpoint, policy)


class SharedBudget(Budget):
    """A worker's view of the one budget: the limits are known here, what is spent is known to the actor."""

    def __init__(self, budget: Budget, shared: Shared):
        super().__init__()
        self.limits = budget.limits
        self._shared = shared

    def reserve_call(self) -> None:
        """Count one call, or raise."""
        if (refusal := self._shared.ask("reserve")) is not None:
            raise refusal

    def release_call(self) -> None:
        """Give it back."""
        self._shared.tell("release")

    def spend(self, reply: Reply) -> None:
        """Count a reply; the next call is checked after it."""
        self._shared.tell("spend", reply)

    def recover(self, reply: Reply | None) -> None:
        """Count a call that was made earlier."""
        self._shared.tell("recover", reply)


class SharedLimit:
    """A :class:`~atari_vlm.vlm.remote.concurrency.RateLimit` whose places all workers share."""

    def __init__(self, shared: Shared, endpoint: str, policy: ConcurrencyPolicy):
        self._shared, self._endpoint, self._policy = shared, endpoint, policy

    @contextmanager
    def slot(self, timeout_s: float) -> Iterator[None]:
        """Hold one place while a request is in flight; ``UnavailableError`` if none was free within ``timeout_s`` seconds."""
        until, pause = time.monotonic() + timeout_s, _LOOK_S[0]
        while most := self._shared.ask("enter", self._shared.worker, self._endpoint, self._policy):
            if time.monotonic() + pause > until:
                raise no_place(most, timeout_s)
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_S[1])
        try:
            yield
        finally:
            self._shared.tell("leave", self._shared.worker, self._endpoint)

    def succeeded(self) -> None:
        """A request was answered."""
        self._shared.tell("heard", self._endpoint, "succeeded")

    def throttled(self) -> None:
        """A request was answered with 429."""
        self._shared.tell("heard", self._endpoint, "throttled")

    def failed(self) -> None:
        """A request failed in another way."""
        self._shared.tell("heard", self._endpoint, "failed")
