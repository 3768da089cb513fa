"""What the vendors' VLMs share: keys, retries, the limit on requests in flight, and the way from a body to a reply.

A vendor's file supplies a :class:`Dialect`: how a client is opened and closed, what a request looks like, and how its JSON
answer reads.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import traceback
import urllib.parse
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import (
    ConfigError,
    NotSupportedError,
    RequestError,
    VLMError,
    check_positive,
)
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.advice import explain
from atari_vlm.vlm.base import Capability, Sampling
from atari_vlm.vlm.prices import price_of
from atari_vlm.vlm.remote.answers import (
    add_spending,
    completed,
    is_blank,
    priced,
    read_answer,
    read_body,
    to_reply,
)
from atari_vlm.vlm.remote.concurrency import AdaptiveLimit, ConcurrencyPolicy, RateLimit
from atari_vlm.vlm.remote.identity import Target, capabilities_of, is_near, name_of
from atari_vlm.vlm.remote.keys import NO_KEY, Endpoint, Secret, Vendor, find_endpoint
from atari_vlm.vlm.remote.manners import Manner, Manners
from atari_vlm.vlm.remote.options import DEFAULT_OPTIONS, RemoteOptions
from atari_vlm.vlm.remote.outcomes import Failure, RawReply
from atari_vlm.vlm.remote.retry import Retrier
from atari_vlm.vlm.remote.scoring import Asking, BuildRequest, Scorer, Send
from atari_vlm.vlm.remote.text import clip
from atari_vlm.vlm.remote.turns import merge_turns
from atari_vlm.vlm.remote.wire import Channel, failure_of_error

logger = logging.getLogger(__name__)
T = TypeVar("T")
_NAME_THEIR_COST = ("openrouter.ai",)  # hosts whose answers say what they cost


@dataclass(frozen=True)
class Dialect:
    """One vendor's wire format, in plain functions (none may hold the VLM, or it would never be collected).

    ``open_client(endpoint, timeout_s)``, ``close_client(client)``; ``send(client, request)`` returns the body of a
    200-answer; ``build_request(target, messages, sampling)`` makes the request; ``read(body)`` reads a JSON answer or
    raises ``BrokenAnswerError``. ``package`` is the vendor's SDK. ``allowed`` narrows the values of options that the vendor
    does not know all of; ``token_names`` are the names that an output limit may have; ``scorers`` are the ways to score choices,
    by the value of the option ``scores``.
    """

    vendor: Vendor
    package: str
    open_client: Callable[[Endpoint, float], Any]
    close_client: Callable[[Any], Awaitable[None]]
    send: Send
    build_request: BuildRequest
    read: Callable[[dict[str, Any]], RawReply]
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token_names: tuple[str, ...] = ()
    scorers: Mapping[str, Scorer] = field(default_factory=dict)


class RemoteVLM:
    """A VLM behind an HTTP interface: a context manager, thread-safe; connections open with the first call.

    ``name`` is ``vendor/model``, with ``@url`` for an address that is not the vendor's own and the options that change
    answers. It survives a fork: parent and child go on, each with connections of its own.
    """

    dialect: ClassVar[Dialect]

    def __init__(
        self,
        model: str,
        *,
        api_key: str | Secret | None = None,
        base_url: str | None = None,
        timeout_s: float = 60.0,
        options: RemoteOptions = DEFAULT_OPTIONS,
    ):
        dialect = self.dialect
        for name, allowed in dialect.allowed.items():
            if getattr(options, name) not in allowed:
                given = getattr(options, name)
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)} for {dialect.vendor.name}, got {given!r}"
                )
        endpoint = find_endpoint(dialect.vendor, api_key, base_url)
        _check_scores(dialect, endpoint, options)
        require(dialect.package, "api")
        check_positive(timeout_s=timeout_s)
        if not math.isfinite(timeout_s):
            raise ConfigError(
                "timeout_s must be finite, or a server that hangs would stop everything"
            )
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"model must be an id such as 'gpt-4o', got {model!r}")
        self._target, self._timeout_s = Target(model, endpoint, options), timeout_s
        self.name = name_of(dialect.vendor, self._target)
        self.capabilities: frozenset[Capability] = capabilities_of(options)
        self._manners = Manners(options, dialect.token_names)
        policy = dataclasses.replace(
            options.retry, deadline_s=max(options.retry.deadline_s, timeout_s)
        )
        self._retrier = Retrier(policy, clock=options.clock)
        self._limit: RateLimit = AdaptiveLimit(options.concurrency, clock=options.clock)
        self._channel = Channel(
            lambda: dialect.open_client(endpoint, timeout_s), dialect.close_client
        )
        weakref.finalize(self, self._channel.close)

    @property
    def keys(self) -> tuple[Secret, ...]:
        """What is sent to be let in, and must not be written anywhere."""
        return (self._target.endpoint.key,)

    def share_limit(self, shared: Callable[[str, ConcurrencyPolicy], RateLimit]) -> None:
        """Keep to the limit that others share, too; ``shared`` is told the endpoint's address and its policy."""
        self._limit = shared(self._target.endpoint.url, self._target.options.concurrency)

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer ``messages``. A hang ends after ``timeout_s``; retries end at the policy's deadline, at least ``timeout_s``.

        An answer that is blank is asked for again ``blank_retries`` times; usage and cost are of all that was asked. Raises
        ``AuthenticationError`` for a wrong key, ``RequestError`` for a request that can never succeed, both at once, and
        ``UnavailableError`` when the retry policy or the account is exhausted.
        """
        turns = merge_turns(messages)
        reply = self._ask(turns, sampling)
        for _ in range(self._target.options.blank_retries):
            if not is_blank(reply):
                break
            reply = add_spending(reply, self._ask(turns, sampling))
        return reply

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Log-probability of each choice, float64 ``(n,)``, as the option ``scores`` says; retried as :meth:`complete` is.

        ``NotSupportedError`` without that option, and where the server turns out not to be able to.
        """
        dialect = self.dialect
        scorer = dialect.scorers.get(self._target.options.scores)
        if scorer is None:
            raise NotSupportedError(f"{self.name} cannot score choices")
        if not choices:
            raise ConfigError("score_choices needs at least one choice")
        asking = Asking(self.name, self._target, dialect.send, dialect.build_request, self._fetch)
        return scorer(asking, merge_turns(messages), choices)

    @property
    def is_free(self) -> bool:
        """Whether what has no price costs nothing: a server of one's own, asked without a key."""
        endpoint = self._target.endpoint
        return endpoint.custom and endpoint.key.reveal() == NO_KEY and is_near(endpoint.url)

    @property
    def price_known(self) -> bool:
        """Whether every reply will say what it cost, so that a budget in dollars can be kept; scores have no price."""
        host = urllib.parse.urlsplit(self._target.endpoint.url).hostname or ""
        names_cost = any(host == known or host.endswith("." + known) for known in _NAME_THEIR_COST)
        known = {
            "auto": names_cost or price_of(self._target.model) is not None,
            "list": price_of(self._target.model) is not None,
            "none": False,
        }
        options = self._target.options
        return self.is_free or (options.scores == "none" and known[options.prices])

    def close(self) -> None:
        """Close all connections; a request in flight ends with ``UnavailableError``. A later call opens new ones."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _ask(self, turns: list[Message], sampling: Sampling) -> Reply:
        requests = 0

        def attempt(left_s: float) -> tuple[RawReply, float] | Failure:
            nonlocal requests
            outcome, asked = self._attempt(turns, sampling, left_s)
            requests += asked
            return outcome

        (raw, latency_s), _ = self._retrier.call(attempt)
        model, options = self._target.model, self._target.options
        raw = completed(raw, sampling, sampling.max_tokens + options.reasoning_tokens)
        raw = priced(raw, model, options.prices, free=self.is_free)
        return to_reply(raw, model, latency_s=latency_s, attempts=requests)

    def _attempt(
        self, turns: list[Message], sampling: Sampling, left_s: float
    ) -> tuple[tuple[RawReply, float] | Failure, int]:
        """One request within the concurrency limit, or two and three where its form is refused; and how many it took."""
        clock = self._target.options.clock
        manner: Manner | None = self._manners.current
        first: Failure | None = None
        requests = 0
        until = clock.monotonic() + left_s
        with self._limit.slot(left_s):
            while manner is not None:
                start = clock.monotonic()
                request = self._request(turns, sampling, manner)
                outcome = self._answered(request, min(self._timeout_s, until - start))
                requests += 1
                if not isinstance(outcome, Failure):
                    self._manners.worked(manner, sampling)
                    if first is not None:
                        self._manners.adopt(
                            manner, self.name, self._target.endpoint.key.scrub(first.message)
                        )
                    self._limit.succeeded()
                    return (outcome, clock.monotonic() - start), requests
                first = first or outcome
                manner = self._manners.other(manner, outcome, sampling, request, trial=requests > 1)
        assert first is not None
        return self._failed(first, sampling), requests

    def _failed(self, failure: Failure, sampling: Sampling) -> Failure:
        if failure.throttled:
            self._limit.throttled()
        else:
            self._limit.failed()
        return explain(self._manners.judged(failure, sampling), self.name, self.dialect.vendor, self._target.model,
                       self._target.endpoint)  # fmt: skip

    def _request(self, turns: list[Message], sampling: Sampling, manner: Manner) -> dict[str, Any]:
        target = self._target
        if manner.token_parameter is not None:
            options = dataclasses.replace(target.options, token_parameter=manner.token_parameter)
            target = dataclasses.replace(target, options=options)
        if not manner.constrained:
            sampling = dataclasses.replace(sampling, schema=None, choices=None)
        return self.dialect.build_request(target, turns, sampling)

    def _fetch(
        self,
        send: Send,
        request: dict[str, Any],
        read: Callable[[Mapping[str, Any]], T],
        missing: str = "",
    ) -> T:
        """See :class:`~atari_vlm.vlm.remote.scoring.Fetch`."""

        def attempt(left_s: float) -> T | Failure:
            with self._limit.slot(left_s):
                content = self._exchange(send, request, min(self._timeout_s, left_s))
                outcome = content if isinstance(content, Failure) else read_body(content, read)
            if not isinstance(outcome, Failure):
                self._limit.succeeded()
                return outcome
            if missing and outcome.status in (404, 405):
                raise NotSupportedError(f"{self.name}: {missing}")
            if outcome.reply is not None:  # a filter's refusal is a legal reply, and no score
                outcome = dataclasses.replace(outcome, reply=None, error=RequestError)
            return self._failed(outcome, Sampling())

        return self._retrier.call(attempt)[0]

    def _answered(self, request: dict[str, Any], timeout_s: float) -> RawReply | Failure:
        """Send a request and read its answer; never raises for what a server or a network did."""
        content = self._exchange(self.dialect.send, request, timeout_s)
        outcome = (
            content if isinstance(content, Failure) else read_answer(content, self.dialect.read)
        )
        return (
            outcome.reply if isinstance(outcome, Failure) and outcome.reply is not None else outcome
        )

    def _exchange(self, send: Send, request: dict[str, Any], timeout_s: float) -> bytes | Failure:
        """Send a request; the body of a 200-answer."""
        try:
            return self._channel.run(lambda client: send(client, request), max(timeout_s, 0.001))
        except VLMError:
            raise
        except TimeoutError:
            return Failure(f"no complete answer within {timeout_s:g} s")
        except Exception as error:
            now = self._target.options.clock.time()
            return failure_of_error(error, now) or self._unsent(error)

    def _unsent(self, error: Exception) -> Failure:
        logger.debug(
            "%s", self._target.endpoint.key.scrub("".join(traceback.format_exception(error)))
        )
        message = f"the SDK could not send the request: {type(error).__name__}: {clip(str(error))}"
        return Failure(message, error=RequestError)


def _check_scores(dialect: Dialect, endpoint: Endpoint, options: RemoteOptions) -> None:
    """Refuse ``scores`` where nobody could give them."""
    if options.scores == "none":
        return
    if options.scores not in dialect.scorers:
        raise ConfigError(f"scores must be none for {dialect.vendor.name}, got {options.scores!r}")
    if not endpoint.custom:
        raise ConfigError(
            f"scores={options.scores} needs a server of your own that gives them (--base-url URL); {endpoint.url} gives none"
        )
