"""What a reply means: the ladder from a VLM's words to one legal action, or to a problem that can be shown to it.

The rungs, best first; the highest one that a reply reaches decides, and within a rung the last occurrence:

1. a JSON object with the key ``action``, alone, fenced, embedded or cut after that value (a constrained reply is the first case)
2. a tag ``ACTION: <NAME or index>``
3. an action name alone on the last line, or there after a label such as ``Answer:``
4. a legal index, if the whole reply is nothing else

A number or a name somewhere in a sentence is never an answer. Thinking blocks and lines copied from the prompt are taken out
first, and placeholders (``<NAME>``) do not count. Nothing here raises, whatever the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atari_vlm.agents.action_words import clean, find, resolve, shown
from atari_vlm.types import Reply

Rung = Literal["json", "tag", "name", "index"]
ProblemKind = Literal["empty", "refused", "cut", "missing", "illegal"]

_LONGEST = 20_000  # characters of a reply that are looked at, from its end
_MOST_OBJECTS = 200
_THINKING = re.compile(r"(<(/?)(?:think|thinking|thought)>|◁(/?)think▷|\[(/?)THINK\])", re.IGNORECASE)
_KEY = re.compile(
    r"""(?<!\\)["']action["']\s*:\s*("(?:[^"\\\n]|\\.){0,80}"|'[^'\n]{0,80}'|-?\d{1,9}(?=\s*[,}\n]))""", re.IGNORECASE
)
_TAG = re.compile(
    r"(?:^[ \t>*_#`\-\d.)]*(?i:(?:(?:final|next|chosen|best|my)[ \t]+)?action)|\bACTION)[ \t*_`]*[:=][ \t]*(.*)$",
    re.MULTILINE,
)
_LABEL = re.compile(
    r"^[\s>*_#`\-\d.)]*(?:final answer|answer|decision|decide|choice|move|output|response)[ *_`]*[:=]", re.IGNORECASE
)
_ITEM = re.compile(r"\s*(?:[-*•+]|[0-9]+[.):])\s")


@dataclass(frozen=True)
class Answer:
    """A legal action, the reasoning that came with it, and the rung of the ladder it stood on."""

    action: int
    reasoning: str
    rung: Rung


@dataclass(frozen=True)
class Problem:
    """Why a reply is no answer; ``text`` is a sentence that the model can be shown."""

    kind: ProblemKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def parse_reply(reply: Reply, names: Sequence[str], *, prompt: str = "") -> Answer | Problem:
    """:func:`parse_action` of a reply: a refused one is a problem, and the last line of a cut one is not trusted."""
    if reply.finish_reason in ("refusal", "filter"):
        return Problem("refused", "the request was refused")
    return parse_action(reply.text, names, prompt=prompt, cut=reply.finish_reason == "length")


def parse_action(text: str, names: Sequence[str], *, prompt: str = "", cut: bool = False) -> Answer | Problem:
    """Climb the ladder. ``prompt`` is what the model was told: lines copied from it are no answer."""
    thoughts, visible = split_thinking(text)
    visible = without_echo(visible[-_LONGEST:], prompt).strip()
    found = _from_json(visible, names)
    if found is None:
        whole_lines = visible.rpartition("\n")[0] if cut else visible
        found = _from_tag(whole_lines, names) or _from_last_line(whole_lines, names) or _from_index(whole_lines, names)
    if isinstance(found, Answer) and not found.reasoning:
        return Answer(found.action, thoughts, found.rung)
    return found or _nothing(visible, cut)


def _nothing(visible: str, cut: bool) -> Problem:
    if cut:
        return Problem("cut", "the reply was cut off before it named an action; answer more briefly")
    if not visible:
        return Problem("empty", "the reply was empty")
    return Problem("missing", "the reply names no action in the form that was asked for")


def split_thinking(text: str) -> tuple[str, str]:
    """``(thoughts, visible)``: what stands inside thinking marks, and the rest.

    A mark that is never closed thinks to the end; a closing mark without an opening one (the prompt held it) makes all
    before it thoughts.
    """
    thoughts, visible, inside, at = "", "", False, 0
    for mark in _THINKING.finditer(text):
        piece, at = text[at : mark.start()], mark.end()
        closing = any(mark.group(2, 3, 4))
        if inside:
            thoughts += piece
        elif closing:
            thoughts, visible = thoughts + visible + piece, ""
        else:
            visible += piece
        inside = not closing
    if inside:
        return (thoughts + text[at:]).strip(), visible.strip()
    return thoughts.strip(), (visible + text[at:]).strip()


def without_echo(text: str, prompt: str) -> str:
    """``text`` without the lines that are copied from ``prompt``.

    A line counts as copied if the prompt has it too and it is long (four words or more) or a neighbour of another such
    line: a single short line (``ACTION: LEFT``) may well be an answer that agrees with an example.
    """
    known = {line.strip() for line in prompt.splitlines()} - {""}
    if not known:
        return text
    lines = [line for line in text.splitlines() if line.strip()]
    same = [False, *(line.strip() in known for line in lines), False]
    kept = [
        line
        for i, line in enumerate(lines, start=1)
        if not (same[i] and (same[i - 1] or same[i + 1] or len(line.split()) >= 4))
    ]
    return "\n".join(kept)


def json_objects(text: str, key: str) -> Iterator[dict[str, Any]]:
    """Every JSON object with ``key`` (in any case) that stands anywhere in ``text`` and not inside another such object."""
    decoder, inside_until = json.JSONDecoder(strict=False), 0
    starts = [match.start() for match in re.finditer(r"\{", text)]
    for start in starts[-_MOST_OBJECTS:]:
        if start < inside_until:
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        found = {str(name).casefold(): item for name, item in value.items()}
        if key in found:
            inside_until = end
            yield found


def _from_json(text: str, names: Sequence[str]) -> Answer | Problem | None:
    values = [(found["action"], found.get("reasoning")) for found in json_objects(text, "action")]
    if not values:
        values = [(match[1].strip("\"'"), None) for match in _KEY.finditer(text)]
    values = [pair for pair in values if not _is_placeholder(pair[0], names)]
    if not values:
        return None
    action, reasoning = values[-1]
    return _settle(action, reasoning if isinstance(reasoning, str) else "", "json", names)


def _from_tag(text: str, names: Sequence[str]) -> Answer | Problem | None:
    tags = [match for match in _TAG.finditer(text) if not _is_placeholder(_tag_value(match, text), names)]
    if not tags:
        return None
    last = tags[-1]
    return _settle(_tag_value(last, text), text[: last.start()].strip(), "tag", names)


def _tag_value(tag: re.Match[str], text: str) -> str:
    """What follows the last tag of the line, or, if that is nothing, the next line that is not empty."""
    value = re.split(r"\bACTION[ \t]*[:=]", tag[1])[-1]
    if clean(value):
        return value
    following = text[tag.end() :].split("\n")
    return next((line for line in following if clean(line)), "")


def _from_last_line(text: str, names: Sequence[str]) -> Answer | None:
    """A name alone on the last line; an item of a list is not alone, and an index needs a label or no other line."""
    lines = [line for line in text.splitlines() if clean(line)]
    before, line = "\n".join(lines[:-1]), lines[-1] if lines else ""
    value = _LABEL.sub("", line, count=1)
    if value == line and before and (_ITEM.match(line) or re.search(r"[0-9]", line)):
        return None
    if value == line and re.fullmatch(r"[0-9]+", clean(line)):
        return None
    action = resolve(value, names, synonyms=False)
    return None if action is None else Answer(action, before, "name")


def _from_index(text: str, names: Sequence[str]) -> Answer | None:
    if not re.fullmatch(r"[0-9]{1,3}", text.strip()) or int(text) >= len(names):
        return None
    return Answer(int(text), "", "index")


def _settle(value: object, reasoning: str, rung: Rung, names: Sequence[str]) -> Answer | Problem:
    action = find(value, names)
    if action is None:
        return Problem("illegal", f"{shown(value)} is not one of the legal actions")
    return Answer(action, reasoning, rung)


def _is_placeholder(value: object, names: Sequence[str]) -> bool:
    bracketed = isinstance(value, str) and re.match(r"\W*<[^<>|]+>\W*$", value) is not None
    return bracketed and find(value, names) is None
