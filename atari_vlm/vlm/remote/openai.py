"""The OpenAI dialect: Chat Completions, at OpenAI or any server that speaks it.

Among them vLLM, Ollama, llama.cpp, LM Studio, OpenRouter.

Chat Completions and not Responses, because every such server has it. Its own log-probabilities could not score action names
honestly (only the 20 likeliest first tokens are reported); choices are scored where a server has more (``RemoteOptions.scores``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.types import FinishReason, Image, Message, Usage
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote import prompt_logprobs, systemone
from atari_vlm.vlm.remote.answers import (
    BrokenAnswerError,
    count,
    dollars,
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
from atari_vlm.vlm.remote.wire import http_client

VENDOR = Vendor("openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",), "OPENAI_BASE_URL")
_FINISH: dict[str, FinishReason] = {"length": "length", "content_filter": "filter"}


def open_client(endpoint: Endpoint, timeout_s: float) -> Any:
    """The SDK's asynchronous client: no retries of its own, no redirects."""
    openai = require("openai", "api")
    return openai.AsyncOpenAI(
        api_key=endpoint.key.reveal(),
        base_url=endpoint.url,
        max_retries=0,
        timeout=timeout_s,
        http_client=http_client(openai.DefaultAsyncHttpxClient, timeout_s),
    )


async def close_client(client: Any) -> None:
    """Close the SDK's client."""
    await client.close()


async def send(client: Any, request: dict[str, Any]) -> bytes:
    """Send one request; the raw body of the answer."""
    raw = await client.chat.completions.with_raw_response.create(**request)
    content: bytes = raw.http_response.content
    return content


def build_request(target: Target, turns: list[Message], sampling: Sampling) -> dict[str, Any]:
    """Keyword arguments of ``chat.completions.create``."""
    options = target.options
    request: dict[str, Any] = {
        "model": target.model,
        "messages": [
            {"role": turn.role, "content": _content(turn, options.image_detail)} for turn in turns
        ],
        _token_parameter(target): sampling.max_tokens + options.reasoning_tokens,
    }
    optional = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.draw_seed,
        "reasoning_effort": options.reasoning_effort,
    }
    request |= {name: value for name, value in optional.items() if value is not None}
    extra = dict(options.extra_body)
    if sampling.top_k is not None and target.endpoint.custom:  # OpenAI itself has no such field
        extra.setdefault("top_k", sampling.top_k)
    if sampling.choices and options.structured == "choice":
        extra["structured_outputs"] = {"choice": list(sampling.choices)}
    elif sampling.schema:
        request["response_format"] = {
            "type": "json_schema",
            "json_schema": _named_schema(sampling.schema),
        }
    if extra:
        request["extra_body"] = extra
    return request


def _token_parameter(target: Target) -> str:
    if target.options.token_parameter != "auto":
        return target.options.token_parameter
    return "max_tokens" if target.endpoint.custom else "max_completion_tokens"


def _content(turn: Message, detail: str) -> str | list[dict[str, Any]]:
    """A plain string where there is no image: some servers' templates take nothing else for system messages."""
    if not turn.images:
        return clean_text(turn.text)
    parts: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, Image):
            url: dict[str, Any] = {
                "url": "data:image/png;base64," + base64.b64encode(part.png).decode("ascii")
            }
            parts.append(
                {
                    "type": "image_url",
                    "image_url": url if detail == "auto" else {**url, "detail": detail},
                }
            )
        else:
            parts.append({"type": "text", "text": clean_text(part.text)})
    return parts


def _named_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``strict`` holds the model to the schema; OpenAI offers it where every object is closed and requires all that it lists."""
    closed = close_objects(schema)
    return {"name": "answer", "schema": closed, "strict": _requires_all(closed)}


def close_objects(schema: Any) -> Any:
    """A copy of a JSON schema whose objects allow no properties but the listed ones, unless they say otherwise."""
    if isinstance(schema, list):
        return [close_objects(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    copy = {key: close_objects(value) for key, value in schema.items()}
    if copy.get("type") == "object" and "properties" in copy:
        copy.setdefault("additionalProperties", False)
    return copy


def _requires_all(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_requires_all(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    listed = set(mapping(schema.get("properties")))
    complete = schema.get("type") != "object" or (
        listed == set(schema.get("required", ())) and schema.get("additionalProperties") is False
    )
    return complete and all(_requires_all(value) for value in schema.values())


def read(body: dict[str, Any]) -> RawReply:
    """Read a chat completion. An empty list of choices is an empty answer, and so is whatever was paid for and lacks one.

    A body without the list, and without tokens that were paid, is none at all.
    """
    usage = _usage(mapping(body.get("usage")))
    choices = body.get("choices")
    if not isinstance(choices, list) and not is_paid(usage):
        raise BrokenAnswerError("no list of choices")
    choice = mapping(next(iter(items(choices)), {"message": {}}))
    message = choice.get("message")
    if not isinstance(message, dict) and not is_paid(usage):
        raise BrokenAnswerError("no message")
    message, finish = mapping(message), word(choice.get("finish_reason"))
    if finish == "error":  # how OpenRouter passes on that the server behind it failed
        raise BrokenAnswerError("the server behind the router failed")
    refusal = word(message.get("refusal"))
    return RawReply(
        text=_text(message.get("content")) or refusal,
        finish_reason="refusal" if refusal else _FINISH.get(finish, "stop"),
        usage=usage,
        model=word(body.get("model")) or None,
        cost_usd=dollars(mapping(body.get("usage")).get("cost")),
        elsewhere=tuple(_elsewhere(message)),
    )


def _text(content: object) -> str:
    """The content: a text, a list of parts, one part, or an object that is the answer itself."""
    if isinstance(content, dict):
        return word(content.get("text")) or json.dumps(content)
    return content if isinstance(content, str) else "" if content is None else joined_text(content)


def _elsewhere(message: dict[str, Any]) -> Iterator[tuple[str, bool, Any]]:
    """What servers put into other fields than ``content``, output before reasoning."""
    calls = [mapping(mapping(call).get("function")) for call in items(message.get("tool_calls"))]
    for call in [*calls, mapping(message.get("function_call"))]:
        if call.get("arguments"):
            yield "the arguments of a tool call", True, call["arguments"]
    if message.get("parsed"):
        yield "parsed", True, message["parsed"]
    for name in ("reasoning_content", "reasoning", "thinking"):
        if message.get(name):
            yield name, False, message[name]


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_tokens=count(mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(
            mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")
        ),
    )


class OpenAIVLM(RemoteVLM):
    """A model behind a Chat Completions interface; ``base_url`` ends in ``/v1`` for most servers.

    The key is ``api_key`` or, for OpenAI's own address only, ``OPENAI_API_KEY``.
    """

    dialect = Dialect(
        VENDOR, "openai", open_client, close_client, send, build_request, read,
        allowed={"image_detail": ("auto", "low", "high")}, token_names=("max_tokens", "max_completion_tokens"),
        scorers={"prompt_logprobs": prompt_logprobs.score, "systemone": systemone.score},
    )  # fmt: skip
