"""The Anthropic dialect: Messages, a JSON schema in ``output_config.format``, the constant prefix marked for the cache."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.types import FinishReason, Image, Message, Part, Text, Usage
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.answers import (
    BrokenAnswerError,
    count,
    is_paid,
    items,
    joined_text,
    mapping,
    word,
)
from atari_vlm.vlm.remote.client import Dialect, RemoteVLM
from atari_vlm.vlm.remote.identity import Target
from atari_vlm.vlm.remote.keys import Endpoint, Vendor
from atari_vlm.vlm.remote.outcomes import RawReply
from atari_vlm.vlm.remote.text import clean_text
from atari_vlm.vlm.remote.turns import system_text
from atari_vlm.vlm.remote.wire import http_client

VENDOR = Vendor(
    "anthropic", "https://api.anthropic.com", ("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL"
)
EXAMPLE_MARK = "Example:"  # how the text of an in-context example's user message starts
_CACHE = {"cache_control": {"type": "ephemeral"}}
_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


def open_client(endpoint: Endpoint, timeout_s: float) -> Any:
    """The SDK's asynchronous client: no retries of its own, no redirects, no credentials but the key it is given."""
    anthropic = require("anthropic", "api")
    return anthropic.AsyncAnthropic(
        api_key=endpoint.key.reveal(),
        base_url=endpoint.url,
        max_retries=0,
        timeout=timeout_s,
        http_client=http_client(anthropic.DefaultAsyncHttpxClient, timeout_s),
    )


async def close_client(client: Any) -> None:
    """Close the SDK's client."""
    await client.close()


async def send(client: Any, request: dict[str, Any]) -> bytes:
    """Send one request; the raw body of the answer."""
    raw = await client.messages.with_raw_response.create(**request)
    content: bytes = raw.http_response.content
    return content


def build_request(target: Target, turns: list[Message], sampling: Sampling) -> dict[str, Any]:
    """Keyword arguments of ``messages.create``."""
    options = target.options
    request: dict[str, Any] = {
        "model": target.model,
        "max_tokens": sampling.max_tokens + options.reasoning_tokens,
        "messages": _messages(
            [turn for turn in turns if turn.role != "system"], cache=options.cache_prefix
        ),
    }
    system = clean_text(system_text(turns))
    if system:
        request["system"] = [
            {"type": "text", "text": system} | (_CACHE if options.cache_prefix else {})
        ]
    output: dict[str, Any] = {}
    if sampling.schema:
        output["format"] = {"type": "json_schema", "schema": _plain_schema(sampling.schema)}
    if options.reasoning_effort is not None:
        output["effort"] = options.reasoning_effort
    if output:
        request["output_config"] = output
    extra = dict(options.extra_body)
    drawn = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k")}
    # newer SDKs have no such keywords, since newer models take none
    extra |= {name: value for name, value in drawn.items() if value is not None}
    if extra:
        request["extra_body"] = extra
    return request


def _messages(turns: list[Message], *, cache: bool) -> list[dict[str, Any]]:
    """Conversation turns; the end of the last in-context example is marked, since the prompt is constant up to there."""
    blocks = [[_block(part) for part in turn.parts] for turn in turns]
    examples = [
        index for index, turn in enumerate(turns) if turn.role == "user" and _is_example(turn)
    ]
    if cache and examples and examples[-1] + 1 < len(turns) - 1:
        blocks[examples[-1] + 1][-1] |= _CACHE
    return [
        {"role": turn.role, "content": content} for turn, content in zip(turns, blocks, strict=True)
    ]


def _is_example(turn: Message) -> bool:
    return any(isinstance(part, Text) and part.text.startswith(EXAMPLE_MARK) for part in turn.parts)


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, Image):
        data = base64.b64encode(part.png).decode("ascii")
        return {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": data},
        }
    return {"type": "text", "text": clean_text(part.text)}


def _plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the subset that the vendor takes; the SDK moves other keywords into descriptions."""
    plain: dict[str, Any] = require("anthropic", "api").transform_schema(dict(schema))
    return plain


def read(body: dict[str, Any]) -> RawReply:
    """Read a message. An empty list of content blocks is an empty answer, and so is whatever was paid for and lacks one.

    A body without the list, and without tokens that were paid, is none at all.
    """
    blocks, usage = body.get("content"), _usage(mapping(body.get("usage")))
    if body.get("type") == "error" or (not isinstance(blocks, list) and not is_paid(usage)):
        raise BrokenAnswerError("no list of content blocks")
    return RawReply(
        text=joined_text(
            [block for block in items(blocks) if mapping(block).get("type") == "text"]
        ),
        finish_reason=_FINISH.get(word(body.get("stop_reason")), "stop"),
        usage=usage,
        model=word(body.get("model")) or None,
        elsewhere=tuple(_elsewhere([mapping(block) for block in items(blocks)])),
    )


def _elsewhere(blocks: list[dict[str, Any]]) -> Iterator[tuple[str, bool, Any]]:
    """What stands in other blocks than texts, output before reasoning."""
    for block in blocks:
        if block.get("type") == "tool_use" and block.get("input"):
            yield "the input of a tool", True, block["input"]
    for block in blocks:
        if block.get("type") == "thinking" and block.get("thinking"):
            yield "thinking", False, block["thinking"]


def _usage(usage: dict[str, Any]) -> Usage:
    """The vendor counts cached input apart; here ``input_tokens`` includes it."""
    fresh = count(usage.get("input_tokens"))
    cached = count(usage.get("cache_read_input_tokens")) or 0
    written = count(usage.get("cache_creation_input_tokens")) or 0
    return Usage(
        input_tokens=None if fresh is None else fresh + cached + written,
        output_tokens=count(usage.get("output_tokens")),
        cached_tokens=count(usage.get("cache_read_input_tokens")),
        reasoning_tokens=count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
    )


class AnthropicVLM(RemoteVLM):
    """A Claude model. The key is ``api_key`` or, for Anthropic's own address only, ``ANTHROPIC_API_KEY``.

    ``Sampling.seed`` is not known to this vendor and is ignored.
    """

    dialect = Dialect(
        VENDOR, "anthropic", open_client, close_client, send, build_request, read,
        allowed={"structured": ("auto", "json_schema", "none"), "image_detail": ("auto",)},
    )  # fmt: skip
