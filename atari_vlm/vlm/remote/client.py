"""What the vendors' VLMs share: options, keys, retries, the limit on requests in flight, and the way from a body to a reply.

A vendor's file supplies a :class:`Dialect`: how a client is opened and closed, what a request looks like, and how its JSON
answer reads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import traceback
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from atari_vlm.errors import ConfigError, RequestError, VLMError, check_positive
from atari_vlm.types import Message, Reply, Text
from atari_vlm.vlm.advice import SchemaRefusedError, explain, refused_schema
from atari_vlm.vlm.base import Capability, NoScores, Sampling
from atari_vlm.vlm.remote.answers import FILTERED, Said, add_spending, is_blank, read_answer, to_reply
from atari_vlm.vlm.remote.concurrency import AdaptiveLimit, ConcurrencyPolicy
from atari_vlm.vlm.remote.keys import Endpoint, Secret, Vendor, find_endpoint
from atari_vlm.vlm.remote.retry import SYSTEM_CLOCK, Clock, Failure, Retrier, RetryPolicy
from atari_vlm.vlm.remote.wire import Channel, clip, failure_of_error

logger = logging.getLogger(__name__)
Structured = Literal["auto", "json_schema", "choice", "none"]
_ALLOWED = {
    "structured": ("auto", "json_schema", "choice", "none"),
    "token_parameter": ("auto", "max_tokens", "max_completion_tokens"),
    "image_detail": ("auto", "low", "medium", "high"),
}


@dataclass(frozen=True)
class RemoteOptions:
    """How a vendor is asked. A value that a vendor has no use for is a ``ConfigError`` of that vendor's class.

    ``structured``: how answers are constrained. ``json_schema`` sends ``Sampling.schema``; ``choice`` (OpenAI dialect, for
    vLLM) sends ``Sampling.choices`` as well; ``none`` sends neither. ``auto`` is ``json_schema`` until a server refuses a
    schema; it is then asked without, with one warning, for the rest of this object's life, and the answer's form rests on
    the prompt alone.

    ``token_parameter``: the name of the output limit (OpenAI dialect). ``auto`` is ``max_completion_tokens`` at
    api.openai.com, where reasoning models insist on it, and ``max_tokens`` elsewhere. ``reasoning_effort``: for example
    ``"low"``; ``None`` is the model's default. ``reasoning_tokens``: room for thinking that is added to
    ``Sampling.max_tokens``, which counts thought as output.

    ``image_detail``: the vendor's image resolution setting. ``cache_prefix``: mark the constant start of a prompt for
    Anthropic's cache. ``blank_retries``: how often an answer without text, or refused or filtered, is asked for again
    before it is returned; its tokens are counted. ``extra_body``: JSON merged into every request, for settings of a server
    that have no option here.
    """

    structured: Structured = "auto"
    token_parameter: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    reasoning_effort: str | None = None
    reasoning_tokens: int = 0
    image_detail: Literal["auto", "low", "medium", "high"] = "auto"
    cache_prefix: bool = True
    blank_retries: int = 0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    concurrency: ConcurrencyPolicy = field(default_factory=ConcurrencyPolicy)
    clock: Clock = field(default=SYSTEM_CLOCK, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("reasoning_tokens", "blank_retries"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ConfigError(f"{name} must be a whole number, 0 or more, got {getattr(self, name)!r}")
        if not isinstance(self.extra_body, Mapping):
            raise ConfigError(f"extra_body must be a mapping, got {type(self.extra_body).__name__}")


DEFAULT_OPTIONS = RemoteOptions()


@dataclass(frozen=True)
class Target:
    """What a request depends on beside its messages."""

    model: str
    endpoint: Endpoint
    options: RemoteOptions


@dataclass(frozen=True)
class Dialect:
    """One vendor's wire format, in plain functions (none may hold the VLM, or it would never be collected).

    ``open_client(endpoint, timeout_s)``, ``close_client(client)``; ``send(client, request)`` returns the body of a
    200-answer; ``build_request(target, messages, sampling)`` makes the request; ``read(body)`` reads a JSON answer or
    raises ``BrokenAnswerError``.
    """

    vendor: Vendor
    open_client: Callable[[Endpoint, float], Any]
    close_client: Callable[[Any], Awaitable[None]]
    send: Callable[[Any, dict[str, Any]], Coroutine[Any, Any, bytes]]
    build_request: Callable[[Target, list[Message], Sampling], dict[str, Any]]
    read: Callable[[dict[str, Any]], Said]


class RemoteVLM(NoScores):
    """A VLM behind an HTTP interface: a context manager, thread-safe; connections open with the first call.

    ``name`` is ``vendor/model``, with ``@url`` for an address that is not the vendor's own and the options that change
    answers.
    """

    def __init__(self, dialect: Dialect, target: Target, *, timeout_s: float):
        check_positive(timeout_s=timeout_s)
        if not math.isfinite(timeout_s):
            raise ConfigError("timeout_s must be finite, or a server that hangs would stop everything")
        if not isinstance(target.model, str) or not target.model.strip():
            raise ConfigError(f"model must be an id such as 'gpt-4o', got {target.model!r}")
        self._dialect, self._target, self._timeout_s = dialect, target, timeout_s
        options = target.options
        self.name = _name(dialect.vendor, target)
        self.capabilities: frozenset[Capability] = _capabilities(options.structured)
        self._schemas = options.structured != "none"
        policy = dataclasses.replace(options.retry, deadline_s=max(options.retry.deadline_s, timeout_s))
        self._retrier = Retrier(policy, clock=options.clock)
        self._limit = AdaptiveLimit(options.concurrency, clock=options.clock)
        endpoint, open_client = target.endpoint, dialect.open_client
        self._channel = Channel(lambda: open_client(endpoint, timeout_s), dialect.close_client)
        weakref.finalize(self, self._channel.close)

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer ``messages``. A hang ends after ``timeout_s``; retries end at the policy's deadline, at least ``timeout_s``.

        Raises ``AuthenticationError`` for 401 and 403, ``RequestError`` for a request that can never succeed, both after
        one request, and ``UnavailableError`` when the retry policy is exhausted.
        """
        turns = merge_turns(messages)
        if not self._schemas:
            return self._answer(turns, dataclasses.replace(sampling, schema=None, choices=None))
        try:
            return self._answer(turns, sampling)
        except SchemaRefusedError as error:
            if self._target.options.structured != "auto":
                raise
            logger.warning("%s; answers are not constrained from now on", error)
        self._schemas = False
        return self._answer(turns, dataclasses.replace(sampling, schema=None, choices=None))

    def close(self) -> None:
        """Close all connections; a request in flight ends with ``UnavailableError``. A later call opens new ones."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _answer(self, turns: list[Message], sampling: Sampling) -> Reply:
        """Ask until the answer is not blank or ``blank_retries`` are used up; usage and cost are of all that was asked."""
        request = self._dialect.build_request(self._target, turns, sampling)
        reply = self._ask(request, sampling)
        for _ in range(self._target.options.blank_retries):
            if not is_blank(reply):
                break
            reply = add_spending(reply, self._ask(request, sampling))
        return reply

    def _ask(self, request: dict[str, Any], sampling: Sampling) -> Reply:
        (said, latency_s), attempts = self._retrier.call(lambda left_s: self._attempt(request, sampling, left_s))
        return to_reply(said, self._target.model, latency_s=latency_s, attempts=attempts)

    def _attempt(self, request: dict[str, Any], sampling: Sampling, left_s: float) -> tuple[Said, float] | Failure:
        """One request within the concurrency limit."""
        with self._limit.slot(left_s):
            start = self._target.options.clock.monotonic()
            outcome = self._exchange(request, min(self._timeout_s, left_s))
            latency_s = self._target.options.clock.monotonic() - start
        if isinstance(outcome, Failure) and outcome.filtered:
            outcome = FILTERED
        if not isinstance(outcome, Failure):
            self._limit.succeeded()
            return outcome, latency_s
        if outcome.throttled:
            self._limit.throttled()
        else:
            self._limit.failed()
        if sampling.schema or sampling.choices:
            outcome = refused_schema(outcome)
        return explain(outcome, self.name, self._dialect.vendor, self._target.model, self._target.endpoint)

    def _exchange(self, request: dict[str, Any], timeout_s: float) -> Said | Failure:
        """Send a request and read its answer; never raises for what a server or a network did."""
        clock, send = self._target.options.clock, self._dialect.send
        try:
            content = self._channel.run(lambda client: send(client, request), max(timeout_s, 0.001))
        except VLMError:
            raise
        except TimeoutError:
            return Failure(f"no complete answer within {timeout_s:g} s")
        except Exception as error:
            failure = failure_of_error(error, clock.time())
            if failure is None:
                key = self._target.endpoint.key
                logger.debug("%s", key.scrub("".join(traceback.format_exception(error))))
                failure = Failure(
                    f"the SDK could not send the request: {type(error).__name__}: {clip(str(error))}",
                    error=RequestError,
                )
            return failure
        return read_answer(content, self._dialect.read)


def merge_turns(messages: Sequence[Message]) -> list[Message]:
    """Messages without empty texts, consecutive ones of a role merged.

    Anthropic, Gemini and many open models' chat templates want turns to alternate.
    """
    turns: list[Message] = []
    for message in messages:
        parts = tuple(part for part in message.parts if not isinstance(part, Text) or part.text.strip())
        if turns and turns[-1].role == message.role:
            turns[-1] = Message(message.role, turns[-1].parts + parts)
        elif parts:
            turns.append(Message(message.role, parts))
    if not any(turn.role == "user" for turn in turns):
        raise ConfigError("a request needs at least one user message that is not empty")
    if any(turn.role == "system" and turn.images for turn in turns):
        raise ConfigError("a system message holds text only; put images into a user message")
    return turns


def system_text(turns: list[Message]) -> str:
    """The text of all system messages, for vendors that want it apart."""
    return "\n\n".join(turn.text for turn in turns if turn.role == "system")


def target_of(
    vendor: Vendor, model: str, api_key: str | Secret | None, base_url: str | None, options: RemoteOptions
) -> Target:
    """Resolve address and key for a vendor's constructor."""
    return Target(model, find_endpoint(vendor, api_key, base_url), options)


def _name(vendor: Vendor, target: Target) -> str:
    """Everything that changes answers, and no secret: ``extra_body`` appears as a digest."""
    options, defaults = target.options, DEFAULT_OPTIONS
    changed = []
    for key in ("structured", "reasoning_effort", "reasoning_tokens", "image_detail"):
        if getattr(options, key) != getattr(defaults, key):
            changed.append(f"{key}={getattr(options, key)}")
    if options.extra_body:
        body = json.dumps(dict(options.extra_body), sort_keys=True, default=repr)
        changed.append(f"extra_body={hashlib.sha256(body.encode()).hexdigest()[:12]}")
    address = f"@{target.endpoint.url}" if target.endpoint.custom else ""
    return f"{vendor.name}/{target.model}{address}" + (f"[{','.join(changed)}]" if changed else "")


def _capabilities(structured: Structured) -> frozenset[Capability]:
    if structured == "choice":
        return frozenset({"schema", "choices"})
    return frozenset() if structured == "none" else frozenset({"schema"})
