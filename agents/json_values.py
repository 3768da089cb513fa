"""JSON objects that stand in a reply: alone, fenced, in prose, inside one another, with typographic quotes, or nearly JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from atari_vlm.agents.action_words import folded

_MOST_STARTS = 200
_VALUE = (
    r'"(?:[^"\\\n]|\\.){0,80}"'
    r"|'[^'\n]{0,80}'"
    r"|-?\d{1,9}(?=\s*[,}\n])"
    r"|[A-Za-z][\w .&+\-]{0,40}(?=\s*[,}\n])"
)


def json_objects(text: str, *keys: str) -> Iterator[dict[str, Any]]:
    """Every JSON object with one of ``keys`` that stands anywhere in ``text`` and not inside another such object.

    Names are compared in lower case, and so they are in what is yielded.
    """
    for group in object_groups(text, *keys):
        yield from group


def object_groups(text: str, *keys: str) -> list[list[dict[str, Any]]]:
    """The objects of :func:`json_objects`, those of one JSON value (or of a list that was cut off) together."""
    groups: list[list[dict[str, Any]]] = []
    ended = -1
    for start, end, value in _values(text):
        inside = list(_inside(value, keys))
        if inside and groups and re.fullmatch(r"\s*,\s*", text[ended:start]):
            groups[-1] += inside
        elif inside:
            groups.append(inside)
        ended = end
    if groups or text.isascii():
        return groups
    plain = folded(text)
    return groups if plain == text else object_groups(plain, *keys)


def near_values(text: str, key: str) -> list[list[str]]:
    """What stands as ``key``'s value where the object is no JSON: cut off, single quotes, bare words. Grouped likewise."""
    groups: list[list[str]] = []
    ended = -1
    plain = folded(text)
    pair = rf"""(?:(?<!\\)["']{key}["']|(?<=\{{)\s*{key})\s*:\s*({_VALUE})"""
    for match in re.finditer(pair, plain, re.IGNORECASE):
        value = match[1].strip("\"'")
        if groups and re.fullmatch(r"[\s}\]]*,[\s{\[]*", plain[ended : match.start()]):
            groups[-1].append(value)
        else:
            groups.append([value])
        ended = match.end()
    return groups


def _values(text: str) -> Iterator[tuple[int, int, Any]]:
    """Outermost JSON objects and lists: where they start, where they end, what they hold."""
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_paired)
    starts = [match.start() for match in re.finditer(r"\{|\[(?=\s{0,40}\{)", text)]
    inside_until = 0
    for start in starts[-_MOST_STARTS:]:
        if start < inside_until:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        inside_until = end
        yield start, end, value


def _paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that is given twice with different values holds the list of them."""
    paired = dict(pairs)
    if len(paired) < len(pairs):
        for name in paired:
            given = [value for other, value in pairs if other == name]
            paired[name] = given if any(value != given[0] for value in given) else given[0]
    return paired


def _inside(value: Any, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objects with one of ``keys`` in ``value``, outermost first, in reading order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += reversed(item)
        elif isinstance(item, dict):
            named = {str(name).casefold(): inner for name, inner in item.items()}
            if any(key in named for key in keys):
                yield named
            else:
                waiting += reversed(list(item.values()))
