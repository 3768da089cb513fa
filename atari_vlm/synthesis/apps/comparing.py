"""Whether an answer is the one that was wanted.

Texts are compared line by line, without empty lines and the space around words: words are equal, or both are numbers of which one
is no whole number, and close (1e-5 relative, 1e-8 absolute). Whole numbers are equal or not. The public harness tries a dozen
readings one after the other (sets of words, whole numbers that are merely close); those that take a wrong answer for a right one
are left out.
"""

from __future__ import annotations

import json
import math
from typing import Any

_RELATIVE, _ABSOLUTE = 1e-5, 1e-8


def same_text(said: str, wanted: str) -> bool:
    """Whether a printed text is the wanted one."""
    one, other = _words(said), _words(wanted)
    return len(one) == len(other) and all(
        len(mine) == len(theirs) and all(map(_same_word, mine, theirs))
        for mine, theirs in zip(one, other, strict=True)
    )


def same_value(said: str, wanted: Any) -> bool:
    """Whether a returned value (JSON) is the wanted one: bare, or as the only entry of a list."""
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        return False
    return _same(value, wanted) or (
        isinstance(wanted, list) and len(wanted) == 1 and _same(value, wanted[0])
    )


def _words(text: str) -> list[list[str]]:
    return [words for line in text.splitlines() if (words := line.split())]


def _same_word(one: str, other: str) -> bool:
    if one == other:
        return True
    if _is_whole(one) and _is_whole(other):
        return int(one) == int(other) if max(len(one), len(other)) < 4000 else False
    try:
        return _close(float(one), float(other))
    except ValueError:
        return False


def _is_whole(word: str) -> bool:
    return word.lstrip("+-").isdecimal()


def _same(one: Any, other: Any) -> bool:
    """Equal JSON; numbers with a fraction may be merely close."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, float) and type(other) in (int, float):
        return _close(one, other)
    if isinstance(other, float) and type(one) in (int, float):
        return _close(one, other)
    return type(one) is type(other) and bool(one == other)


def _close(one: float, other: float) -> bool:
    try:
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    except OverflowError:  # a whole number that no float holds
        return False
