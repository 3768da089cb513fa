"""Scores from a server that says how probable every token of a prompt is: vLLM's ``prompt_logprobs``.

One request says where the answer begins (the messages, and the chat template's opening of an answer), and one for each choice
holds it as the assistant's message, closed as the template closes it: a choice is the complete answer, as
:mod:`atari_vlm.vlm.local.choices` has it. ``prompt_logprobs: 0`` asks for the log-probabilities of the prompt's own tokens and
no others; the one token that such a server insists on writing is thrown away. The end counted is the one token with which the
template closes a turn; a model in this process counts every token that ends an answer, the same where there is one.

Source: vLLM's documentation of its OpenAI-compatible server (``prompt_logprobs``, ``add_generation_prompt``).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from atari_vlm.errors import NotSupportedError
from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.answers import word
from atari_vlm.vlm.remote.scoring import Asking

_ONE_TOKEN = Sampling(max_tokens=1, temperature=1.0)  # 1.0: log-probabilities as they are
_AT_ONCE = 8  # requests of one question in flight
_TOKEN_ID = re.compile(r"[0-9]{1,9}")
_RISE = 1e-3  # how far above 0 rounding may lift a log-probability


class Token(NamedTuple):
    """A prompt's token with its log-probability given all before it."""

    id: int
    log_prob: float
    text: str


def score(asking: Asking, turns: list[Message], choices: Sequence[str]) -> np.ndarray:
    """Log-probability of each choice as the complete answer, float64 ``(n,)``, by ``n + 1`` requests.

    ``NotSupportedError`` where the server sends none, or its chat template puts more than the choice between an answer's
    beginning and its end.
    """
    opening = _prompt(asking, turns, {"add_generation_prompt": True})

    def scored(choice: str) -> tuple[float, int]:
        whole = [*turns, Message.of("assistant", choice)]
        closed = _prompt(asking, whole, {"add_generation_prompt": False})
        return _answer(asking.name, opening, closed, choice)

    with ThreadPoolExecutor(min(len(choices), _AT_ONCE)) as pool:
        asked = [pool.submit(scored, choice) for choice in choices]
        try:
            found = [each.result() for each in asked]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if len({end for _, end in found}) > 1:
        raise NotSupportedError(
            f"{asking.name}: the server's chat template ends answers with different tokens, so they cannot be compared"
        )
    return np.array([log_prob for log_prob, _ in found])


def _prompt(asking: Asking, turns: list[Message], how: Mapping[str, Any]) -> list[Token]:
    """The prompt's tokens but the first, which nothing comes before."""
    options = dataclasses.replace(asking.target.options, reasoning_tokens=0)
    target = dataclasses.replace(asking.target, options=options)
    request = asking.build_request(target, turns, _ONE_TOKEN)
    extra = {**request.get("extra_body", {}), "prompt_logprobs": 0, **how}
    return asking.fetch(
        asking.send,
        {**request, "extra_body": extra},
        lambda body: read_prompt(asking.name, body),
    )


def read_prompt(name: str, body: Mapping[str, Any]) -> list[Token]:
    """The tokens of ``prompt_logprobs``: a list of ``{"ID": {"logprob": ..., "decoded_token": ...}}``, the first one null."""
    entries = body.get("prompt_logprobs")
    if not isinstance(entries, list) or len(entries) < 2:
        raise NotSupportedError(
            f"{name}: the server does not say how probable a prompt's tokens are, as vLLM does (prompt_logprobs)"
        )
    tokens = [_token(entry) for entry in entries[1:]]
    known = [token for token in tokens if token is not None]
    if len(known) != len(tokens):
        raise NotSupportedError(
            f"{name}: the server's prompt_logprobs are not one log-probability for each token of the prompt"
        )
    return known


def _token(entry: object) -> Token | None:
    if not isinstance(entry, dict) or len(entry) != 1:
        return None
    ((key, value),) = entry.items()
    log_prob = value.get("logprob") if isinstance(value, dict) else None
    if not _TOKEN_ID.fullmatch(key) or isinstance(log_prob, bool):
        return None
    if not isinstance(log_prob, int | float) or not math.isfinite(log_prob) or log_prob > _RISE:
        return None
    return Token(int(key), float(log_prob), word(value.get("decoded_token")))


def _answer(
    name: str, opening: Sequence[Token], closed: Sequence[Token], choice: str
) -> tuple[float, int]:
    """The log-probability of the answer in ``closed``, its end included, and the end's token."""
    start = len(opening)
    if [t.id for t in closed[:start]] != [t.id for t in opening]:
        raise NotSupportedError(
            f"{name}: the server's chat template does not put an answer where it begins one, so answers cannot be scored; for a "
            "model that thinks, extra_body={chat_template_kwargs: {enable_thinking: false}} may help"
        )
    spelled, total = "", 0.0
    for token in closed[start:]:
        total += token.log_prob
        if spelled.strip() == choice.strip() and token.text.strip():
            return total, token.id
        spelled += token.text
    raise NotSupportedError(
        f"{name}: the server's chat template does not hold {choice!r} and an end as tokens of their own, so answers cannot be "
        "scored"
    )
