"""The records that cross a seam between parts of the package. Frozen, numpy only.

What a VLM reads: :class:`Message` of :class:`Text` and :class:`Image` parts. What it says: :class:`Reply`. What that means:
:class:`Proposal`. What is done and why: :class:`Decision`. What happened: :class:`Transition`, :class:`Trajectory`.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

import numpy as np

from atari_vlm._lazy import computed_once

Action = int | np.ndarray  # a number, or int64 or float32 (A,)
Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "refusal", "filter"]


@dataclass(frozen=True)
class Text:
    """A text part of a message."""

    text: str


@dataclass(frozen=True, eq=False)
class Image:
    """An image part of a message; encoded only at a vendor's edge, and then once.

    ``pixels`` is uint8 ``(H, W, 3)``, RGB. ``indices`` uint8 ``(H, W)`` with ``palette`` uint8 ``(N <= 256, 3)`` may carry
    the same picture as palette indices (``palette[indices] == pixels``): that makes the PNG small and cheap.
    """

    pixels: np.ndarray
    indices: np.ndarray | None = None
    palette: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(
                f"pixels must be uint8 (H, W, 3), got {self.pixels.dtype} {self.pixels.shape}"
            )
        if (self.indices is None) != (self.palette is None):
            raise ValueError("indices and palette are given together or not at all")

    @computed_once
    def digest(self) -> str:
        """SHA-256 of shape and RGB pixels, hex; equal pictures have equal digests however they are carried."""
        sha = hashlib.sha256(repr(self.pixels.shape).encode())
        sha.update(np.ascontiguousarray(self.pixels).data)
        return sha.hexdigest()

    @computed_once
    def png(self) -> bytes:
        """The picture as PNG bytes: indexed when a palette is carried, else RGB. Lossless; computed once."""
        from atari_vlm.picture import encode_png

        return encode_png(self.pixels, indices=self.indices, palette=self.palette)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash(self.digest)


Part = Text | Image


@dataclass(frozen=True)
class Message:
    """One turn of a conversation with a VLM."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, *parts: str | Part) -> Message:
        """Build a message from strings and parts in reading order."""
        return cls(role, tuple(Text(part) if isinstance(part, str) else part for part in parts))

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def images(self) -> tuple[Image, ...]:
        """All image parts in order."""
        return tuple(part for part in self.parts if isinstance(part, Image))


@dataclass(frozen=True)
class Usage:
    """Token counts as the vendor reported them. ``None`` where it did not say.

    ``input_tokens`` includes ``cached_tokens``; ``output_tokens`` includes ``reasoning_tokens``.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total(self) -> int:
        """Input plus output tokens, unknown counted as 0."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True)
class Reply:
    """What a VLM said, verbatim. An empty, refused or cut reply is a legal value.

    ``model`` is the id the vendor resolved. ``latency_s`` is seconds of wall clock for the successful attempt.
    ``cost_usd`` is ``None`` when the price is unknown. ``attempts`` counts requests including retried ones. ``cached`` tells
    that it was not asked for now, and so cost nothing; it is no part of what was said, and of no record of it. ``note`` is
    what the backend knows about a reply that says nothing, or whose tokens cannot be counted so, as a sentence.
    """

    text: str
    model: str
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    latency_s: float = 0.0
    cost_usd: float | None = None
    attempts: int = 1
    cached: bool = dataclasses.field(default=False, compare=False)
    note: str = ""

    @property
    def paid_usd(self) -> float | None:
        """Dollars that it cost here: 0 when it was cached, ``None`` when the price is unknown."""
        return 0.0 if self.cached else self.cost_usd

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data, without an empty note; :meth:`from_dict` is the inverse."""
        data = dataclasses.asdict(self)
        del data["cached"]
        if not self.note:
            del data["note"]
        return data

    @classmethod
    def from_dict(cls, data: Any) -> Reply:
        """Rebuild a reply from :meth:`as_dict`'s data. The one reader for caches, journals and cassettes.

        Raises ``ValueError`` for anything else: other names, other types, numbers that are negative or not finite, text that
        UTF-8 cannot hold.
        """
        names = {field.name for field in dataclasses.fields(cls)} - {"cached"}
        if not isinstance(data, Mapping) or not {"text", "model", "usage"} <= data.keys() <= names:
            raise ValueError("a reply has text, model and usage, and only names that replies have")
        usage = data["usage"]
        counts = {field.name for field in dataclasses.fields(Usage)}
        if (
            not isinstance(usage, Mapping)
            or not usage.keys() <= counts
            or not all(map(_is_count, usage.values()))
        ):
            raise ValueError("a reply's usage holds counts of tokens")
        reply = cls(**{**data, "usage": Usage(**usage)})
        if wrong := [name for name, fits in _FITS.items() if not fits(getattr(reply, name))]:
            raise ValueError(f"a reply cannot have {wrong[0]} {getattr(reply, wrong[0])!r:.60}")
        return reply

    def legal(self) -> Reply:
        """This reply as :meth:`from_dict` takes it: lone surrogates replaced, numbers that mean nothing unknown.

        A price above 1,000 dollars is not believed: it is unknown too.
        """
        counts = {
            name: count if _is_count(count) else None for name, count in vars(self.usage).items()
        }
        return dataclasses.replace(
            self,
            text=_utf8(self.text),
            model=_utf8(self.model),
            finish_reason=self.finish_reason
            if _FITS["finish_reason"](self.finish_reason)
            else "stop",
            usage=Usage(**counts),
            latency_s=self.latency_s if _is_number(self.latency_s) else 0.0,
            cost_usd=self.cost_usd
            if _is_number(self.cost_usd) and self.cost_usd <= _MOST_USD
            else None,
            attempts=self.attempts if _FITS["attempts"](self.attempts) else 1,
            note=_utf8(self.note),
        )


_MOST_USD = 1000.0


def _utf8(text: Any) -> str:
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _is_number(value: Any) -> TypeGuard[float]:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )


def _is_count(value: Any) -> bool:
    return value is None or (_is_number(value) and isinstance(value, int) and value < 1 << 53)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _utf8(value) == value


_FITS: dict[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "model": _is_text,
    "note": _is_text,
    "finish_reason": lambda value: isinstance(value, str) and value in get_args(FinishReason),
    "latency_s": _is_number,
    "cost_usd": lambda value: value is None or _is_number(value),
    "attempts": lambda value: value is not None and _is_count(value),
}


class Source(enum.StrEnum):
    """Where a decision came from."""

    MODEL = "model"  # a VLM's reply
    BUFFER = "buffer"  # the action buffer: a plan proposed earlier
    POLICY = "policy"  # a policy or a planner without a VLM
    FALLBACK = "fallback"  # no valid proposal existed; always counted


@dataclass(frozen=True)
class Proposal:
    """What a reply means: one action or a plan, as indices into the environment's action space."""

    actions: tuple[int, ...]
    reasoning: str = ""
    reply: Reply | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """One chosen action, why it was chosen, and every reply that was asked for on the way (re-asks included).

    ``action`` is a number, or int64 or float32 ``(A,)`` where actions have parts. ``problems`` says, per rejected reply,
    why it was not understood. ``details`` is plain JSON data for the report (for example a planner's plans and scores).
    """

    action: Action
    source: Source
    proposal: Proposal | None = None
    replies: tuple[Reply, ...] = ()
    problems: tuple[str, ...] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Decision):
            return NotImplemented
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self)]
        return np.array_equal(*pairs[0]) and all(mine == theirs for mine, theirs in pairs[1:])

    __hash__ = None  # type: ignore[assignment]

    @property
    def latency_s(self) -> float:
        """Seconds spent waiting for replies."""
        return sum(reply.latency_s for reply in self.replies)

    @property
    def cost_usd(self) -> float | None:
        """Dollars spent on replies, cached ones not counted; ``None`` if any price is unknown."""
        costs = [reply.paid_usd for reply in self.replies]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))


@dataclass(frozen=True)
class Transition:
    """One environment step. ``observation`` is what the decision was made from."""

    observation: Any
    decision: Decision
    reward: float
    next_observation: Any
    terminated: bool
    truncated: bool
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """One episode. It owns the numbers derived from it."""

    game: str
    seed: int | None
    transitions: tuple[Transition, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        """The executed actions in order."""
        return tuple(t.decision.action for t in self.transitions)

    @property
    def rewards(self) -> np.ndarray:
        """float64 ``(T,)``."""
        return np.array([t.reward for t in self.transitions], dtype=np.float64)

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return float(self.rewards.sum())

    @property
    def length(self) -> int:
        """Number of agent steps."""
        return len(self.transitions)

    @property
    def fallback_rate(self) -> float:
        """Share of decisions with source FALLBACK; 0 for an empty episode."""
        return self.source_rate(Source.FALLBACK)

    def source_rate(self, source: Source) -> float:
        """Share of decisions that came from ``source``; 0 for an empty episode."""
        if not self.transitions:
            return 0.0
        return sum(t.decision.source is source for t in self.transitions) / self.length

    @property
    def cost_usd(self) -> float | None:
        """Dollars spent; ``None`` if any price is unknown."""
        costs: Sequence[float | None] = [t.decision.cost_usd for t in self.transitions]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))
