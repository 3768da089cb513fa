"""What may make an endpoint work: options of an agent, the mildest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}  # vLLM, SGLang, llama.cpp
_ROOMS = (4096, 16384)  # tokens for thoughts
_EFFORTS = {
    "openai": ("low", "none"),
    "anthropic": ("low",),
    "google": ("low", "minimal"),
}


def against_thinking(dialect: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For a model that thinks and says nothing: less thinking, then none, then room for it."""
    if not dialect:
        yield {"reply_tokens": 2048}
        return
    for effort in _EFFORTS[dialect]:
        yield {"reasoning_effort": effort}
    if dialect == "openai":
        yield {"extra_body": {**given.get("extra_body", {}), **_NO_THINKING}}
    for tokens in _ROOMS:
        yield {"reasoning_tokens": tokens}


def without_schema(dialect: str, choices: bool, scores: str) -> dict[str, Any]:
    """For an endpoint that keeps to no schema: scores of the choices, else its choices if it keeps to those, else the prompt."""
    if not dialect:
        return {"answer": "choice" if choices else "text"}
    if scores:
        return {"structured": "none", "scores": scores, "answer": "scores"}
    return {"structured": "choice", "answer": "choice"} if choices else {"structured": "none"}


def other_forms(dialect: str) -> Iterator[dict[str, Any]]:
    """For answers that name no action: other forms of the answer, more room, a shorter prompt."""
    plain = {"structured": "none"} if dialect else {}
    yield {**plain, "answer": "text"}
    yield {**plain, "answer": "json"}
    yield {**plain, "answer": "choice"}
    yield {**plain, "answer": "text", "reply_tokens": 2048}
    yield {**plain, "answer": "text", "prompt_type": "basic"}
