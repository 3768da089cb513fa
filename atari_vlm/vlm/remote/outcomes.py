"""What one request comes to: an answer (:class:`RawReply`) or a :class:`Failure`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from atari_vlm.errors import VLMError
from atari_vlm.types import FinishReason, Usage


class RawReply(NamedTuple):
    """What a body says. ``model`` and ``cost_usd`` are ``None`` where the server does not name them.

    ``elsewhere`` holds what stands in other fields than the answer's, as ``(field, is_output, value)``: arguments of a tool
    call are output, a field for reasoning is not.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    model: str | None = None
    cost_usd: float | None = None
    elsewhere: tuple[tuple[str, bool, Any], ...] = ()
    note: str = ""


UNBILLED = Usage(0, 0)
FILTERED = RawReply(
    "", "filter", UNBILLED, cost_usd=0.0
)  # a request that the vendor's content filter turned away, unbilled


@dataclass(frozen=True)
class Failure:
    """Why one attempt gave no reply.

    ``error`` is what to raise at once, ``None`` for a passing failure that is retried; ``advice`` what to do about it.
    ``reply``: the error is an answer in truth (refused by the content filter, a slip of the model). ``status`` is the HTTP
    status, ``None`` where no response came. ``retry_after_s`` is the wait that the server asked for, in seconds.
    """

    message: str
    status: int | None = None
    retry_after_s: float | None = None
    error: type[VLMError] | None = None
    reply: RawReply | None = None
    advice: str = ""

    @property
    def throttled(self) -> bool:
        """Whether the server said that we ask too often."""
        return self.status == 429
