"""The Gemini dialect: ``generate_content`` of google-genai (not google-generativeai, whose support has ended)."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from atari_vlm._lazy import require
from atari_vlm.types import FinishReason, Image, Message, Part, Usage
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.answers import BrokenAnswerError, count, items, joined_text, mapping, word
from atari_vlm.vlm.remote.client import Dialect, RemoteVLM
from atari_vlm.vlm.remote.identity import Target
from atari_vlm.vlm.remote.keys import Endpoint, Vendor
from atari_vlm.vlm.remote.outcomes import RawReply
from atari_vlm.vlm.remote.text import clean_text
from atari_vlm.vlm.remote.turns import system_text
from atari_vlm.vlm.remote.wire import http_client

VENDOR = Vendor(
    "google",
    "https://generativelanguage.googleapis.com",
    ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "GOOGLE_GEMINI_BASE_URL",
)
_FILTERED = (
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
)  # fmt: skip
_FINISH: dict[str, FinishReason] = {"MAX_TOKENS": "length", **dict.fromkeys(_FILTERED, "filter")}
_LEAST_DEADLINE_S = 10.0  # the service refuses a shorter one; ours is kept on this side


class _Client(NamedTuple):
    """The SDK's client and the HTTP client that it was given, which it does not close."""

    sdk: Any
    http: Any


def open_client(endpoint: Endpoint, timeout_s: float) -> _Client:
    """The SDK's client: it does not retry unless told to, follows no redirects, and never speaks to Vertex AI."""
    genai = require("google.genai", "api")
    httpx = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
    http = http_client(httpx.AsyncClient, timeout_s)
    options = genai.types.HttpOptions(
        base_url=endpoint.url,
        timeout=math.ceil(max(timeout_s, _LEAST_DEADLINE_S) * 1000),
        httpx_async_client=http,
    )
    return _Client(
        genai.Client(vertexai=False, api_key=endpoint.key.reveal(), http_options=options), http
    )


async def close_client(client: _Client) -> None:
    """Close both halves of the SDK's client, of which only the asynchronous one was used, and the HTTP client."""
    await client.sdk.aio.aclose()
    client.sdk.close()
    await client.http.aclose()


async def send(client: _Client, request: dict[str, Any]) -> bytes:
    """Send one request; the raw body of the answer."""
    answer = await client.sdk.aio.models.generate_content(**request)
    return (answer.sdk_http_response.body or "").encode("utf-8", "surrogatepass")


def build_request(target: Target, turns: list[Message], sampling: Sampling) -> dict[str, Any]:
    """Keyword arguments of ``generate_content``."""
    types = require("google.genai.types", "api")
    options = target.options
    config: dict[str, Any] = {
        "system_instruction": clean_text(system_text(turns)) or None,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_output_tokens": sampling.max_tokens + options.reasoning_tokens,
        "seed": sampling.draw_seed,
        "should_return_http_response": True,
        "automatic_function_calling": {"disable": True},
    }
    if sampling.schema:
        config |= {
            "response_mime_type": "application/json",
            "response_json_schema": dict(sampling.schema),
        }
    if options.reasoning_effort is not None:
        config["thinking_config"] = {"thinking_level": options.reasoning_effort}
    if options.image_detail != "auto":
        config["media_resolution"] = f"MEDIA_RESOLUTION_{options.image_detail.upper()}"
    if options.extra_body:
        config["http_options"] = {"extra_body": dict(options.extra_body)}
    return {
        "model": target.model,
        "contents": [_content(turn) for turn in turns if turn.role != "system"],
        "config": types.GenerateContentConfig(**config),
    }


def _content(turn: Message) -> dict[str, Any]:
    return {
        "role": "model" if turn.role == "assistant" else "user",
        "parts": [_part(part) for part in turn.parts],
    }


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"inline_data": {"mime_type": "image/png", "data": part.png}}
    return {"text": clean_text(part.text)}


def read(body: dict[str, Any]) -> RawReply:
    """Read an answer. Fields with nothing in them are absent in this dialect, so that no candidates is an empty answer.

    A body that has none of an answer's fields is none.
    """
    if not body.keys() & {"candidates", "promptFeedback", "usageMetadata"}:
        raise BrokenAnswerError("neither candidates nor promptFeedback nor usageMetadata")
    candidates = body.get("candidates", [])
    if not isinstance(candidates, list):
        raise BrokenAnswerError("candidates is no list")
    candidate = candidates[0] if candidates else {}
    if not isinstance(candidate, dict):
        raise BrokenAnswerError("a candidate is no object")
    blocked = bool(mapping(body.get("promptFeedback")).get("blockReason"))
    parts = mapping(candidate.get("content")).get("parts", [])
    return RawReply(
        text=joined_text(parts),
        finish_reason="filter"
        if blocked
        else _FINISH.get(word(candidate.get("finishReason")), "stop"),
        usage=_usage(mapping(body.get("usageMetadata"))),
        model=word(body.get("modelVersion")) or None,
        elsewhere=tuple(_elsewhere([mapping(part) for part in items(parts)])),
    )


def _elsewhere(parts: list[dict[str, Any]]) -> Iterator[tuple[str, bool, Any]]:
    """What stands in other parts than texts, output before thoughts."""
    for part in parts:
        if call := mapping(part.get("functionCall")).get("args"):
            yield "the arguments of a function call", True, call
    for part in parts:
        if part.get("thought") is True and part.get("text"):
            yield "a part of thoughts", False, part["text"]


def _usage(usage: dict[str, Any]) -> Usage:
    """The vendor counts thoughts apart; here ``output_tokens`` includes them. A count of none is absent."""
    visible, thought = (
        count(usage.get("candidatesTokenCount")),
        count(usage.get("thoughtsTokenCount")),
    )
    asked = count(usage.get("promptTokenCount"))
    if asked is not None and "candidatesTokenCount" not in usage:
        visible = 0
    return Usage(
        input_tokens=asked,
        output_tokens=None
        if visible is None and thought is None
        else (visible or 0) + (thought or 0),
        cached_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thought,
    )


class GoogleVLM(RemoteVLM):
    """A Gemini model. The key is ``api_key`` or, for Google's own address only, ``GOOGLE_API_KEY`` or ``GEMINI_API_KEY``."""

    dialect = Dialect(
        VENDOR, "google.genai", open_client, close_client, send, build_request, read,
        allowed={"structured": ("auto", "json_schema", "none")},
    )  # fmt: skip
