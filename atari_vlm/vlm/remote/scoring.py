"""What a scorer of choices asks with; :mod:`prompt_logprobs` and :mod:`systemone` beside this are the two there are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.identity import Target

T = TypeVar("T")
Send = Callable[[Any, dict[str, Any]], Coroutine[Any, Any, bytes]]
BuildRequest = Callable[[Target, list[Message], Sampling], dict[str, Any]]


class Fetch(Protocol):
    """One request within the limits and retries of a VLM."""

    def __call__(
        self,
        send: Send,
        request: dict[str, Any],
        read: Callable[[Mapping[str, Any]], T],
        missing: str = "",
    ) -> T:
        """What ``read`` makes of the answer's JSON object; ``missing`` is said where the server has no such address."""
        ...


@dataclass(frozen=True)
class Asking:
    """A VLM as a scorer sees it: ``send`` and ``build_request`` are its dialect's."""

    name: str
    target: Target
    send: Send
    build_request: BuildRequest
    fetch: Fetch


Scorer = Callable[[Asking, list[Message], Sequence[str]], np.ndarray]
