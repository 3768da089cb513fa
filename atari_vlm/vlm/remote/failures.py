"""What an error means, in every vendor's dialect: by its whole body, never by its status alone.

The rules stand in the order in which they are asked; the first one that fits decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from atari_vlm.errors import AuthenticationError, RequestError, UnavailableError, VLMError
from atari_vlm.vlm.remote.hints import LONGEST_WAIT_S, asked_wait_s
from atari_vlm.vlm.remote.outcomes import FILTERED, UNBILLED, Failure, RawReply
from atari_vlm.vlm.remote.text import clean_text, clip

_RETRIED = {408, 409, 425, 429}
_ASK_TO_WAIT = (429, 503, 529)  # statuses whose words may name a wait
_MOST_TEXT = 50_000  # characters of an error body that are read
_NO_MONEY = re.compile(
    r"insufficient[_ ](?:quota|funds|balance|credits?)|credit balance is too low|billing_(?:hard_limit|not_active)|no credits"
    r"|out of credits?|payment required|(?:usage|spend\w*|billing|budget)[_ ](?:hard[_ ])?limits?\b"
)
_DAY = re.compile(r"per[_ -]?day|\b(?:rpd|tpd)\b|daily (?:\w+ )?(?:limit|quota)|quota of the day")
_NOTHING_ALLOWED = re.compile(r'\blimit(?: of|:)? 0\b(?![.,]?\d)|"quotavalue": "0"')
_REQUESTED = re.compile(
    r"limit:? (\d{1,12}),.{0,60}?requested:? (\d{1,12})|requested:? (\d{1,12})\b.{0,40}?limit:? (\d{1,12})"
)
_TOO_LARGE = re.compile(
    r"(?:request|payload|body|prompt|input) (?:entity )?(?:is )?too (?:large|long)|exceeds the request size"
)
_NO_IMAGES = re.compile(
    r"(?:image|vision|multi-?modal)\w*[^.]{0,60}(?:not supported|unsupported|not enabled)|text-only model|mmproj"
    r"|(?:does not|doesn't|cannot|can't|not) (?:support|accept|take)\w*[^.]{0,40}(?:image|vision|multi-?modal)"
    r"|(?:support|at most|limit)\w* (?:of )?0 image|is not a (?:multi-?modal|vision)|no endpoints found that support image"
)
_NO_ROOM = re.compile(
    r"(?:exceed\w*|longer than|larger than)[^.]{0,40}context|context (?:length|size|window)[^.]{0,40}exceed"
)
_FILTER = re.compile(
    r"content_filter|content_policy|policy_violation|policyviolation|usage_policy|moderation|prohibited_content|inspection_failed"
    r"|safety_(?:system|violation)|flagged_input"
)
_SLIP = re.compile(r"json_validate_failed|tool_use_failed|failed_generation|output_parse_failed")
_BAD_KEY = re.compile(
    r"api_key_invalid|(?:incorrect|invalid) api[ _-]key|api key (?:is )?(?:not valid|invalid|incorrect)"
)
_UNFINISHED = re.compile(
    r"(?:could not|couldn't|cannot) (?:be )?finish\w*[^.]{0,80}limit|(?:max_tokens|output limit)[^.]{0,40} (?:was |is )?reached"
)

IMAGES_ADVICE = "Choose a model or server that takes images (--model, --base-url); a local server may need its vision part loaded"
_DAY_ADVICE = "The quota of a day is used up: run the same command again tomorrow, or use another key or --model"
_NONE_ADVICE = (
    "This account may not use this model at all (its limit is 0): another --model, key or plan"
)
_LARGE_ADVICE = "The request is too large: fewer examples or frames, or smaller images (--frames 1)"
_WAIT_ADVICE = "The server asks to wait {} min: run the same command again then"

Judgement = tuple[
    type[VLMError] | None, str
]  # the error to raise at once, if any, and what to do about it


def failure_of_status(
    status: int | None, body: object, headers: Mapping[str, str], now: float
) -> Failure:
    """What an HTTP status and the error body beside it mean. ``now`` is seconds since 1970."""
    reason, text = error_text(body), _whole_text(body)
    message = f"HTTP {status}: {reason}" if reason else f"HTTP {status}"
    reply = _reply(status, body, text)
    if reply is not None:
        return Failure(message, status, reply=reply)
    wait, vague = asked_wait_s(headers, body, text if status in _ASK_TO_WAIT else "", now)
    error, advice = _judged(status, text, wait)
    if error is None and vague and wait is not None and wait > LONGEST_WAIT_S:
        error, advice = UnavailableError, _WAIT_ADVICE.format(max(1, round(wait / 60)))
    return Failure(message, status, wait, error, advice=advice)


def _reply(status: int | None, body: object, text: str) -> RawReply | None:
    """The answer that an error is in truth: refused by a filter, or a text that the vendor itself could not use."""
    if status in (400, 403, 422, 451) and (_FILTER.search(text) or _flagged(body)):
        return FILTERED
    if status not in (400, 422):
        return None
    if _SLIP.search(text):
        generated = next(
            (value for value in _values(body, "failed_generation") if isinstance(value, str)), ""
        )
        return RawReply(clean_text(generated), "stop", UNBILLED, cost_usd=0.0)
    note = "the reply was cut off before it began; a larger --reply-tokens helps"
    return (
        RawReply("", "length", UNBILLED, cost_usd=0.0, note=note)
        if _UNFINISHED.search(text)
        else None
    )


def _judged(status: int | None, text: str, wait: float | None) -> Judgement:
    if status == 402 or (
        status in (400, 403, 429) and _NO_MONEY.search(text)
    ):  # waiting brings no money
        return (
            UnavailableError,
            "The account's credit or quota is used up; add to it and run the same command again",
        )
    if status == 429:
        return _throttled(text, wait)
    if status is not None and status >= 400 and _NO_IMAGES.search(text):
        return RequestError, IMAGES_ADVICE
    if status in (401, 403) or (
        status == 400 and _BAD_KEY.search(text)
    ):  # as Gemini answers a wrong key
        return AuthenticationError, ""
    if status == 413 or (status == 400 and _TOO_LARGE.search(text)):
        return RequestError, _LARGE_ADVICE
    if status is not None and status >= 500 and _NO_ROOM.search(text):
        return RequestError, ""
    if status is None or status in _RETRIED or status >= 500:
        return None, ""
    return RequestError, ""


def _throttled(text: str, wait: float | None) -> Judgement:
    """Too many requests: told apart from what no waiting mends."""
    if _NOTHING_ALLOWED.search(text):
        return RequestError, _NONE_ADVICE
    if any(
        int(asked or more) > int(limit or least)
        for limit, asked, more, least in _REQUESTED.findall(text)
    ):
        return RequestError, _LARGE_ADVICE
    if _TOO_LARGE.search(text):
        return RequestError, _LARGE_ADVICE
    rolling = wait is not None and wait <= LONGEST_WAIT_S and "quotaid" not in text
    return (UnavailableError, _DAY_ADVICE) if _DAY.search(text) and not rolling else (None, "")


def _flagged(body: object) -> bool:
    """Whether the error says for which reasons the input was flagged."""
    return any(isinstance(reasons, list) and reasons for reasons in _values(body, "reasons"))


def _values(body: object, key: str) -> Iterator[Any]:
    """Whatever stands under ``key`` anywhere in an error body."""
    waiting, seen = [body], 0
    while waiting and (seen := seen + 1) < 10_000:
        item = waiting.pop()
        if isinstance(item, Mapping):
            if key in item:
                yield item[key]
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _whole_text(body: object) -> str:
    """All of an error body in lower case, JSON texts inside it unwrapped one level."""
    try:
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return ""
    return text[:_MOST_TEXT].replace('\\"', '"').lower()


def error_text(body: object, depth: int = 0) -> str:
    """The human-readable part of an error body, one clean line of at most 300 characters.

    It names the parameter that the server complains about, and the reason that it passes on from a server behind it.
    """
    if isinstance(body, str):
        inner = _unwrapped(body) if depth < 8 else None
        return clip(body) if inner is None else error_text(inner, depth + 8)
    if isinstance(body, list):
        return error_text(body[0], depth + 1) if body and depth < 8 else ""
    if not isinstance(body, Mapping) or depth >= 16:
        return clip(str(body)) if isinstance(body, int | float) and body else ""
    names = ("error", "message", "detail", "msg", "errors", "description")
    reason = next(
        (text for name in names if body.get(name) and (text := error_text(body[name], depth + 1))),
        "",
    )
    place = _place(body)
    if place and place not in reason:
        reason = f"{reason} ({place})" if reason else place
    inner = _inner_reason(body, depth)
    if inner and inner not in reason:
        reason = f"{reason}: {inner}" if reason else inner
    return clip(reason)


def _place(body: Mapping[str, Any]) -> str:
    """The parameter that an error is about."""
    if isinstance(body.get("param"), str):
        return clip(body["param"], 80)
    path = body.get("loc")
    return clip(".".join(str(step) for step in path), 80) if isinstance(path, list) else ""


def _inner_reason(body: Mapping[str, Any], depth: int) -> str:
    metadata = body.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return error_text(raw, depth + 1) if raw else ""


def _unwrapped(text: str) -> object | None:
    """The JSON object or list that a text is."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text[:_MOST_TEXT])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping | list) else None
