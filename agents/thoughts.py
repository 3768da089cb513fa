"""What a reply thinks and what it says: the marks of every family of models, and nothing that stands between them.

A mark is a special token or a tag named for thinking (``<think>``, ``<|begin_of_thought|>``, ``[THINK]``, ``◁think▷``,
``<seed:think>``, ``<analysis>`` …), a channel that is not the final one, a fence or a fold-out named for thoughts, a comment.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

LONGEST_REPLY = 400_000  # characters; nobody who was asked for an action says more

_TOKEN = re.compile(
    r"<\|channel\|>[^<\n]{0,80}(?:<\|constrain\|>[^<\n]{0,40})?(?:<\|message\|>)?"
    r"|<\|channel>[ ]{0,4}\w{0,20}"
    r"|<unused\d{1,4}>(?:thought\b)?"
    r"|<!--|-->|```[ ]{0,4}[\w-]{0,30}|(?:\n[ ]{0,8})?assistant\s{0,4}final(?=\W|[A-Z]|$)|\Aanalysis(?=[A-Z{\n])"
    r"|[<\[◁][^<>◁▷\[\]\n]{1,120}[>▷\]]"
)
_ANSWER = re.compile(r"^[ \t]{0,20}ACTION[ \t]{0,20}:", re.MULTILINE)
_NAMED = re.compile(
    r"(?:\w{1,30}[-_])?(?:think|thought|reason|analy[sz]|reflect|scratch|ponder|deliberat|contemplat|ruminat|brainstorm"
    r"|introspect|monologue|rationale)\w{0,20}|cot|chain[-_]of[-_]thought"
)
_EDGE = re.compile(r"^(begin|start|end|stop)[-_](?:of[-_])?|[-_](begin|start|end|stop)$")
_SPOKEN_CHANNELS = ("final", "response", "answer")
_ALIASES = {"thought": "think", "cot": "think"}


class _Mark(NamedTuple):
    """``name`` is what has to be closed again. An ``orphan`` closing mark makes all before it thoughts."""

    name: str
    closing: bool
    orphan: bool = False


def before_answer(text: str) -> str:
    """What a reply says before a line ``ACTION:``, all of it where there is none."""
    return _ANSWER.split(text[:LONGEST_REPLY], maxsplit=1)[0].strip()


def split_thinking(text: str) -> tuple[str, str]:
    """``(thoughts, visible)``: what stands inside thinking marks, and the rest. Linear in the text.

    A mark that is never closed thinks to the end; a closing mark without an opening one (the prompt held it) makes all
    before it thoughts. Only the first ``LONGEST_REPLY`` characters are looked at, and of a longer text nothing is visible.
    """
    if len(text) > LONGEST_REPLY:
        return text[:LONGEST_REPLY], ""
    thoughts: list[str] = []
    visible: list[str] = []
    open_marks: set[str] = set()
    at = 0
    for token in _TOKEN.finditer(text):
        mark = _mark_of(token[0], open_marks)
        if mark is None:
            continue
        (thoughts if open_marks else visible).append(text[at : token.start()])
        at = token.end()
        if not mark.closing:
            open_marks.add(mark.name)
        elif mark.name in open_marks:
            open_marks.discard(mark.name)
        elif (
            open_marks
        ):  # the closing mark of what the prompt opened, and so of everything inside it
            open_marks.clear()
        elif mark.orphan:
            thoughts += visible
            visible.clear()
    (thoughts if open_marks else visible).append(text[at:])
    return "".join(thoughts).strip(), "".join(visible).strip()


def _mark_of(token: str, open_marks: set[str]) -> _Mark | None:
    """What a token marks; ``None`` for other tags and for ends of what was never begun."""
    if token.startswith("```"):
        return _fence(token, open_marks)
    if token in ("<!--", "-->"):
        closing = token == "-->"
        return None if closing and "comment" not in open_marks else _Mark("comment", closing)
    if token == "analysis" or token.startswith("<|channel"):
        spoken = (
            token.removeprefix("<|channel").lstrip("|> ").startswith(_SPOKEN_CHANNELS)
            or " to=" in token
        )
        return _Mark("channel", spoken, orphan=True)
    if token.startswith("<unused"):
        closing = not token.endswith("thought")
        return None if closing and "unused" not in open_marks else _Mark("unused", closing)
    if token.lstrip().startswith("assistant"):
        return _Mark("channel", closing=True) if "channel" in open_marks else None
    return _tag(token, open_marks)


def _fence(token: str, open_marks: set[str]) -> _Mark | None:
    name = token.strip("` ").casefold()
    if "fence" in open_marks:
        return None if name else _Mark("fence", closing=True)
    return _Mark("fence", closing=False) if _NAMED.fullmatch(name) else None


def _tag(token: str, open_marks: set[str]) -> _Mark | None:
    """``</seed:think>``, ``<|end_of_thought|>``, ``<channel|>``: the name, and whether it closes."""
    inner = unicodedata.normalize("NFKC", token[1:-1]).replace("▁", "_").casefold().strip()
    closing = inner.lstrip("|").startswith("/") or (
        inner.endswith("|") and not inner.startswith("|")
    )
    name, _, attributes = inner.strip("|/ ").partition(" ")
    prefix, _, name = name.rpartition(":")
    if name in ("channel", "end", "return", "call", "start") and "|" in inner:
        return _Mark("channel", closing=True) if "channel" in open_marks else None
    if name == "details":
        named = (
            "details" in open_marks if closing else re.search(r"reason|think|thought", attributes)
        )
        return _Mark("details", closing) if named else None
    if edge := _EDGE.search(prefix) or _EDGE.search(name):
        name, closing = _EDGE.sub("", name), closing or (edge[1] or edge[2]) in ("end", "stop")
    if not _NAMED.fullmatch(name) or (attributes and "=" not in attributes):
        return None
    if inner.endswith("/") and not closing:
        return None  # an empty element
    root = re.sub(r"(?:ing|ts?|s)$", "", name)
    return _Mark(
        next((alias for word, alias in _ALIASES.items() if word in name), root),
        closing,
        orphan=True,
    )
