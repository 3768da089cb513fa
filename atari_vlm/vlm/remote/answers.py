"""From the body of a 200-answer to a reply: total over all bodies.

A body is either an answer in the vendor's dialect, be it empty, refused, filtered or cut, all of which are legal replies;
or it is none (not JSON, no object, the wrong form), and is asked for again. There is no third case, and no body raises
anything else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from atari_vlm.types import FinishReason, Reply, Usage
from atari_vlm.vlm.prices import cost_usd
from atari_vlm.vlm.remote.retry import Failure
from atari_vlm.vlm.remote.wire import clean_text, failure_of_status, parse_body


class Said(NamedTuple):
    """What a 200-body says. ``model`` and ``cost_usd`` are ``None`` where the server does not name them."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str | None = None
    cost_usd: float | None = None


FILTERED = Said("", "filter", Usage(), cost_usd=0.0)  # a request that the vendor's content filter turned away, unbilled


class BrokenAnswerError(Exception):
    """A 200-body that is no answer in the vendor's dialect. Internal: it is retried."""


def read_answer(content: bytes, read: Callable[[dict[str, Any]], Said]) -> Said | Failure:
    """Read the body of a 200-answer: total over all bodies. An ``error`` object in it counts as the status that it names."""
    body = parse_body(content)
    if isinstance(body, Failure):
        return body
    error = body.get("error")
    if error:
        code = error.get("code") if isinstance(error, Mapping) else None
        return failure_of_status(code if isinstance(code, int) and 400 <= code < 600 else None, error, {}, 0.0)
    try:
        said = read(body)
    except BrokenAnswerError as broken:
        return Failure(f"the server's answer has another form than expected: {broken}")
    return said._replace(text=clean_text(said.text), model=clean_text(said.model) if said.model else None)


def to_reply(said: Said, asked_model: str, *, latency_s: float, attempts: int) -> Reply:
    """The public record; priced by the model that answered, else by the one that was asked for."""
    cost = said.cost_usd
    for model in (said.model, asked_model):
        if cost is None and model:
            cost = cost_usd(model, said.usage)
    return Reply(
        text=said.text,
        model=said.model or asked_model,
        finish_reason=said.finish_reason,
        usage=said.usage,
        latency_s=latency_s,
        cost_usd=cost,
        attempts=attempts,
    )


def is_blank(reply: Reply) -> bool:
    """Whether there is nothing to act on although nothing was cut off."""
    return reply.finish_reason in ("refusal", "filter") or (reply.finish_reason == "stop" and not reply.text.strip())


def add_spending(spent: Reply, reply: Reply) -> Reply:
    """``reply`` with the tokens, dollars and attempts of an earlier one that was paid for too; unknown plus known is unknown."""
    tokens = {name: _sum(getattr(spent.usage, name), getattr(reply.usage, name)) for name in Usage.__dataclass_fields__}
    return dataclasses.replace(
        reply,
        usage=Usage(**tokens),
        cost_usd=None if spent.cost_usd is None or reply.cost_usd is None else spent.cost_usd + reply.cost_usd,
        attempts=spent.attempts + reply.attempts,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def count(value: object) -> int | None:
    """A token count from JSON; ``None`` for everything that is not a whole number from 0 to 10**12."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e12 or value != int(value):
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


def joined_text(parts: object) -> str:
    """The text of a list of content parts, thoughts and other kinds left out; ``BrokenAnswerError`` if it is no list."""
    if not isinstance(parts, list):
        raise BrokenAnswerError(f"content is {type(parts).__name__}")
    return "".join(word(mapping(part).get("text")) for part in parts if mapping(part).get("thought") is not True)
