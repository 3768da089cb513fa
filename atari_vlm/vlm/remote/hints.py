"""How long a server asks to wait: in headers, in Google's ``RetryInfo``, in the words of its error."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST_WAIT_S = 120.0  # longer ones are not waited for

_UNITS = {
    **dict.fromkeys(("ms", "millisecond"), 0.001),
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hr", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86400),
}
_PART = r"\d{1,9}(?:\.\d{1,9})?\s{0,2}(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
_IN_WORDS = re.compile(
    rf"(?:try again|retry|wait|available|resets?)\b[^.\d]{{0,40}}?({_PART}(?:(?:,|\s|and)*{_PART}){{0,3}})",
    re.IGNORECASE,
)
_COMPACT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s{0,2}([a-z]{1,12})", re.IGNORECASE)


def asked_wait_s(
    headers: Mapping[str, str], body: object, text: str, now: float
) -> tuple[float | None, bool]:
    """``(seconds, vague)`` that a response asks to wait; ``(None, False)`` if it says nothing usable. ``now`` is since 1970.

    ``text`` is the error in words. ``vague``: not from ``retry-after``, whose long waits are cut short by the policy; one
    that comes from elsewhere and is longer than ``LONGEST_WAIT_S`` is better given up.
    """
    seconds = retry_after_s(headers, now)
    if seconds is not None:
        return seconds, False
    for seconds in (google_retry_delay(body), wait_in_words(text), _until_reset(headers, now)):
        if seconds is not None:
            return seconds, True
    return None, False


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that ``retry-after-ms`` or ``retry-after`` asks to wait; ``None`` if they say nothing usable.

    ``retry-after`` holds seconds or an HTTP date; a date is compared with the response's own ``date``, so that a wrong local
    clock does no harm. Negative waits are 0.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    return max(0.0, until - (_date(headers.get("date")) or now))


def wait_in_words(text: str) -> float | None:
    """Seconds in a sentence such as "try again in 1m5s"; ``None`` without one."""
    match = _IN_WORDS.search(text[:20_000])
    return None if match is None else duration_s(match[1])


def duration_s(text: str) -> float | None:
    """``1m5s``, ``900ms``, ``2 minutes`` in seconds; ``None`` for anything else."""
    seconds, matched = 0.0, False
    for number, unit in _COMPACT.findall(text):
        scale = _UNITS.get(unit.casefold(), _UNITS.get(unit.casefold().removesuffix("s")))
        if scale is None:
            return None
        seconds, matched = seconds + float(number) * scale, True
    return seconds if matched else None


def google_retry_delay(body: object) -> float | None:
    """Seconds in the ``RetryInfo`` that Google puts into the error body instead of a header."""
    for row in google_details(body):
        delay = row.get("retryDelay")
        if isinstance(delay, str) and re.fullmatch(r"\d{1,6}(\.\d{1,9})?s", delay):
            return float(delay[:-1])
    return None


def google_details(body: object) -> list[Mapping[str, Any]]:
    """The rows of ``error.details``, where there are such."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    rows = error.get("details") if isinstance(error, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _until_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the limit is lifted that is used up (``x-ratelimit-reset-*`` and the like).

    Where no limit is said to be used up the longest wait counts, unless it is too long to be meant.
    """
    waits: dict[bool, list[float]] = {True: [], False: []}
    for name, value in headers.items():
        seconds = (
            _reset_s(value, now)
            if "ratelimit" in name.lower() and "reset" in name.lower()
            else None
        )
        if seconds is not None:
            left = headers.get(re.sub("(?i)reset", "remaining", name))
            waits[_number(left) == 0.0].append(seconds)
    if waits[True]:
        return max(waits[True])
    short = [seconds for seconds in waits[False] if seconds <= LONGEST_WAIT_S]
    return max(short, default=None)


def _reset_s(value: str, now: float) -> float | None:
    """A duration, seconds, seconds or milliseconds since 1970, or an ISO date."""
    number = _number(value)
    if number is not None:
        moment = number / 1000.0 if number > 1e11 else number
        return max(0.0, moment - now) if moment > 1e8 else moment
    if re.fullmatch(rf"(?:{_PART}){{1,4}}", value.strip(), re.IGNORECASE):
        return duration_s(value)
    try:
        until = datetime.datetime.fromisoformat(value.strip())
        return max(0.0, until.timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _date(value: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
