"""The VLM protocol: messages in, a reply out.

Implementers write :meth:`VLM.complete`; the rest of the package composes VLMs around VLMs (cache, budget, journal). A VLM is
thread-safe: episodes run in parallel threads, and a backend batches or throttles them as it likes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from atari_vlm.errors import ConfigError, NotSupportedError, check_positive
from atari_vlm.types import Image, Message, Reply

Capability = Literal["schema", "choices", "scores", "only scores", "only thoughts"]
_SEEDS = 2**31  # what every vendor's field holds


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn.

    ``temperature``, ``top_p`` (draw among the likeliest tokens that add up to this) and ``top_k`` (among so many) leave the
    backend's default at ``None``; a backend that lacks one ignores it. ``schema`` (a JSON schema) and ``choices`` (the only legal
    answers) constrain the reply where the backend lists the capability, and are ignored elsewhere. ``sample`` tells apart
    repeated draws of one request: it is part of the cache key and of what is drawn from ``seed``.
    """

    temperature: float | None = None
    max_tokens: int = 512
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] | None = None
    sample: int = 0
    top_p: float | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        check_drawing(self.top_p, self.top_k)

    @property
    def draw_seed(self) -> int | None:
        """The seed of this draw, 0 to 2^31 - 1, for backends that take one number: ``seed`` itself for the first draw."""
        if self.seed is None or self.sample == 0:
            return None if self.seed is None else self.seed % _SEEDS
        words = hashlib.sha256(f"{self.seed} {self.sample}".encode()).digest()
        return int.from_bytes(words[:8], "big") % _SEEDS


def check_drawing(top_p: float | None, top_k: int | None) -> None:
    """Raise ``ConfigError`` unless both are open, or a probability above 0 and a whole number above 0."""
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p must be in (0, 1], got {top_p!r}")
    if top_k is not None:
        check_positive(top_k=top_k)


@runtime_checkable
class VLM(Protocol):
    """What turns messages into a reply.

    ``name`` identifies model and endpoint (it is part of cache keys, never a secret). ``capabilities`` says which
    constraints the backend honours: ``"schema"``, ``"choices"`` in :class:`Sampling`, ``"scores"`` for
    :meth:`score_choices`. ``"only scores"`` stands beside it where an adapter was trained for that: it writes nothing;
    ``"only thoughts"`` where one was trained to write a thought and be scored behind it.
    """

    name: str
    capabilities: frozenset[Capability]

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer ``messages``. Raises a ``VLMError`` when no reply can be had; never invents one."""
        ...

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Log-probability of each choice as the answer, float64 ``(n,)``; ``NotSupportedError`` where impossible."""
        ...


def close_vlm(vlm: VLM) -> None:
    """Let go of what a VLM holds open (connections, threads, memory), if it is of those that hold anything."""
    close = getattr(vlm, "close", None)
    if close is not None:
        close()


@contextmanager
def closing(vlm: VLM) -> Iterator[VLM]:
    """``vlm``, closed (:func:`close_vlm`) when the block ends."""
    try:
        yield vlm
    finally:
        close_vlm(vlm)


class NoScores:
    """Mixin for backends that cannot score choices."""

    name: str

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Refuse."""
        raise NotSupportedError(f"{self.name} cannot score choices")


def request_key(
    name: str, messages: Sequence[Message], sampling: Sampling | None, choices: Sequence[str] = ()
) -> str:
    """SHA-256 (hex) of everything that determines a reply: the VLM's name, the messages with image pixels, the sampling."""
    sha = hashlib.sha256()
    body = {
        "name": name,
        "messages": [
            [
                m.role,
                [
                    ["image", p.digest] if isinstance(p, Image) else ["text", p.text]
                    for p in m.parts
                ],
            ]
            for m in messages
        ],
        "sampling": None if sampling is None else _recorded(sampling),
        "choices": list(choices),
    }
    sha.update(
        json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    )
    return sha.hexdigest()


def _recorded(sampling: Sampling) -> dict[str, Any]:
    """The fields; those that caches of earlier versions do not know are left out where they are open."""
    fields = dataclasses.asdict(sampling)
    return {
        name: value
        for name, value in fields.items()
        if value is not None or name not in ("top_p", "top_k")
    }
