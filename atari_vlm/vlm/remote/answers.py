"""From the body of a 200-answer to a reply: total over all bodies.

A body is either an answer in the vendor's dialect, be it empty, refused, filtered or cut, all of which are legal replies;
or it is none (not JSON, no object, the wrong form), and is asked for again. There is no third case, and no body raises
anything else.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from atari_vlm.types import Reply, Usage
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.prices import cost_usd
from atari_vlm.vlm.remote.failures import failure_of_status
from atari_vlm.vlm.remote.options import Prices
from atari_vlm.vlm.remote.outcomes import Failure, RawReply
from atari_vlm.vlm.remote.text import clean_text, clip
from atari_vlm.vlm.remote.wire import parse_body

T = TypeVar("T")
_SPOKEN = (None, "text", "output_text")  # types of content parts that are meant to be read
_AMOUNTS = re.compile(
    r"(?:prompt|completion|total|input|output|cache_read_input|cache_creation_input)_tokens|[a-zA-Z]+TokenCount|cost"
)
MISCOUNTED = "the server counts what no one can count"  # how the note of such a reply begins


class BrokenAnswerError(Exception):
    """A 200-body that is no answer in the vendor's dialect. Internal: it is retried."""


def read_body(content: bytes, read: Callable[[dict[str, Any]], T]) -> T | Failure:
    """What ``read`` makes of the JSON object of a 200-answer. An ``error`` object in it counts as the status that it names."""
    body = parse_body(content)
    if isinstance(body, Failure):
        return body
    error = body.get("error")
    if error:
        code = error.get("code") if isinstance(error, Mapping) else None
        return failure_of_status(
            code if isinstance(code, int) and 400 <= code < 600 else None, error, {}, 0.0
        )
    try:
        return read(body)
    except BrokenAnswerError as broken:
        return Failure(f"the server's answer has another form than expected: {broken}")


def read_answer(content: bytes, read: Callable[[dict[str, Any]], RawReply]) -> RawReply | Failure:
    """Read the body of a 200-answer: total over all bodies."""
    return read_body(content, lambda body: _said(body, read(body)))


def _said(body: Mapping[str, Any], raw: RawReply) -> RawReply:
    """A reply as it is kept: printable, with a note where its counts cannot be."""
    says_all = raw.finish_reason == "stop" and raw.text.strip()
    return raw._replace(
        text=clean_text(raw.text),
        model=clean_text(raw.model) if raw.model else None,
        note=raw.note or (miscounted(body) if says_all else ""),
    )


def miscounted(body: Mapping[str, Any]) -> str:
    """A sentence on tokens or dollars in an answer that are no amounts (negative, a fraction of a token); else nothing."""
    usage = {**mapping(body.get("usage")), **mapping(body.get("usageMetadata"))}
    for name, value in usage.items():
        amount = _AMOUNTS.fullmatch(name) and isinstance(value, int | float)
        if amount and (dollars if name == "cost" else count)(value) is None:
            return f"{MISCOUNTED}: {clip(str(name), 40)} is {clip(repr(value), 40)}"
    return ""


def completed(raw: RawReply, sampling: Sampling, limit: int) -> RawReply:
    """An answer without text, with what can be known about it: the constrained answer in another field, or that it was cut.

    Taken from another field are a JSON object with the keys that were asked for and a bare choice; from arguments of a tool
    call any object. Prose there is no answer. ``limit`` is how many tokens were allowed.
    """
    if raw.text.strip() or raw.finish_reason in ("refusal", "filter"):
        return raw
    if raw.finish_reason == "stop":
        for _, is_output, value in raw.elsewhere:
            text = _constrained(value, is_output, sampling)
            if text is not None:
                return raw._replace(text=clean_text(text))
        if (raw.usage.output_tokens or 0) >= limit:
            raw = raw._replace(finish_reason="length")
    filled = [field for field, _, value in raw.elsewhere if value]
    note = f"the reply was empty: the server put the text into {filled[0]}" if filled else raw.note
    return raw._replace(note=note)


def _constrained(value: object, is_output: bool, sampling: Sampling) -> str | None:
    """``value`` as the text of an answer, if it has the form that was asked for."""
    text = json.dumps(value) if isinstance(value, dict) else word(value).strip()
    if text in (sampling.choices or ()):
        return text
    fenced = re.fullmatch(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL)
    text = fenced[1] if fenced else text
    try:
        parsed = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    asked = sampling.schema.get("required", ()) if sampling.schema else ()
    return text if (asked and set(asked) <= parsed.keys()) or (is_output and not asked) else None


def priced(raw: RawReply, asked_model: str, prices: Prices, *, free: bool) -> RawReply:
    """An answer with what it cost: priced by the model that answered, else by the one that was asked for.

    ``prices`` says whom to believe. ``free``: the server is one's own, so that what has no price costs nothing.
    """
    cost = raw.cost_usd if prices == "auto" else None
    for model in (raw.model, asked_model):
        if cost is None and model and prices != "none":
            cost = cost_usd(model, raw.usage)
    return raw._replace(cost_usd=0.0 if cost is None and free else cost)


def to_reply(raw: RawReply, asked_model: str, *, latency_s: float, attempts: int) -> Reply:
    """The public record."""
    return Reply(
        text=raw.text,
        model=raw.model or asked_model,
        finish_reason=raw.finish_reason,
        usage=raw.usage,
        latency_s=latency_s,
        cost_usd=raw.cost_usd,
        attempts=attempts,
        note=raw.note,
    )


def is_blank(reply: Reply) -> bool:
    """Whether there is nothing to act on although nothing was cut off."""
    return reply.finish_reason in ("refusal", "filter") or (
        reply.finish_reason == "stop" and not reply.text.strip()
    )


def add_spending(spent: Reply, reply: Reply) -> Reply:
    """``reply`` with the tokens, dollars and attempts of an earlier one that was paid for too; unknown plus known is unknown."""
    tokens = {
        name: _sum(getattr(spent.usage, name), getattr(reply.usage, name))
        for name in Usage.__dataclass_fields__
    }
    return dataclasses.replace(
        reply,
        usage=Usage(**tokens),
        cost_usd=None
        if spent.cost_usd is None or reply.cost_usd is None
        else spent.cost_usd + reply.cost_usd,
        attempts=spent.attempts + reply.attempts,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def count(value: object) -> int | None:
    """A token count from JSON; ``None`` for everything that is not a whole number from 0 to 10**12."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= 1e12
        or value != int(value)
    ):
        return None
    return int(value)


def dollars(value: object) -> float | None:
    """An amount from JSON; ``None`` for everything that is not a finite number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        return None
    return float(value)


def mapping(value: object) -> dict[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def word(value: object) -> str:
    """``value`` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def items(value: object) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def is_paid(usage: Usage) -> bool:
    """Whether a body was counted by the vendor, and so was an answer whatever else it lacks."""
    return bool(usage.input_tokens or usage.output_tokens)


def joined_text(parts: object) -> str:
    """The text of a list of content parts, thoughts and other kinds left out; ``BrokenAnswerError`` if it is no list."""
    if not isinstance(parts, list):
        raise BrokenAnswerError(f"content is {type(parts).__name__}")
    return "".join(part if isinstance(part, str) else _spoken(mapping(part)) for part in parts)


def _spoken(part: Mapping[str, Any]) -> str:
    return (
        word(part.get("text"))
        if part.get("type") in _SPOKEN and part.get("thought") is not True
        else ""
    )
