"""From the words in an answer's place to a legal action: names in any spelling, indices, and a few plain words.

Accepted where an answer is expected: the name in any case and with ``_``, ``-``, ``+``, blanks or "and" inside it (``up right``,
``FIRE+LEFT``), an index, an index beside its own name (``3: LEFT``), any of these with words in brackets behind it, a name
after "move", "go" or "press", and words for doing nothing ("wait", "stay", "no action" …) as NOOP. Nothing else is guessed:
"move up" is no action of a game without UP, even where RIGHT moves the paddle up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PART = re.compile(r"UP|DOWN|LEFT|RIGHT|FIRE")
_COMBINATION = re.compile(r"(?:UP|DOWN|LEFT|RIGHT|FIRE)+")
_MARKS = re.compile(r"</?(?:answer|action|final|b|i|strong|em|code)>|</\w{1,20}>|<\|\w{1,30}\|>", re.IGNORECASE)
_INDEXED = re.compile(r"([0-9]{1,3})\s*[:.)=\-]?\s*\(?\s*([A-Za-z][\w \-+]*?)\s*\)?")
_NAMED = re.compile(r"([A-Za-z][\w \-+]*?)\s*\(\s*([0-9]{1,3})\s*\)?")
_COMMENT = re.compile(r"\s*\([^()]*\)?$")
_VERB = re.compile(r"^(?:move|go|press|steer)\s+", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_\-+]+")
_CONNECTOR = re.compile(r"^\W*(?:(?:or|and|then)\b\W*)?", re.IGNORECASE)
_NOTHING = {"NOOP", "NOTHING", "DONOTHING", "NONE", "NOACTION", "NOOPERATION", "WAIT", "STAY", "STAYSTILL", "IDLE"}
_LONGEST = 80  # characters of an answer with its comment; longer ones are prose


def clean(text: str) -> str:
    """``text`` without markup, quotes, brackets and punctuation around it."""
    return _MARKS.sub(" ", text).strip(" \t\r\n*_`\"'.,;!?()[]{}<>#:$\\")


def resolve(value: object, names: Sequence[str], *, synonyms: bool = True) -> int | None:
    """The index of the action that ``value`` is, as a whole; ``None`` if it is none or more than one.

    A number is an index. ``synonyms`` also lets verbs and words for doing nothing count.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if not isinstance(value, str):
        return int(value) if 0 <= value < len(names) and value == int(value) else None
    text = clean(value)
    if text in names:
        return names.index(text)
    if len(text) > _LONGEST:
        return None
    if pair := _NAMED.fullmatch(text):
        return _agreed(int(pair[2]), pair[1], names)
    for part in (text, _COMMENT.sub("", text)):
        if re.fullmatch(r"[0-9]{1,9}", part):
            return int(part) if int(part) < len(names) else None
        if pair := _INDEXED.fullmatch(part):
            return _agreed(int(pair[1]), pair[2], names)
    action = _by_name(text, names, synonyms)
    return action if action is not None else _by_name(_COMMENT.sub("", text), names, synonyms)


def find(value: object, names: Sequence[str]) -> int | None:
    """Like :func:`resolve`, and where words follow the name (``LEFT because …``) the longest name at the beginning.

    ``None`` if another name follows at once: ``LEFT or RIGHT``, ``RIGHT FIRE`` in a game without RIGHTFIRE.
    """
    action = resolve(value, names)
    if action is not None or not isinstance(value, str):
        return action
    text = clean(value)
    words = [match for match, _ in zip(_WORD.finditer(text), range(4), strict=False)]
    for word in reversed(words):
        action = None if text[:1].isdigit() else resolve(text[: word.end()], names, synonyms=False)
        if action is not None:
            return None if _name_follows(text[word.end() :], names) else action
    return None


def shown(value: object) -> str:
    """A wrong value as it can be quoted in a sentence: short, and safe for whatever JSON held."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    return repr(value)[:60] if isinstance(value, (int, float)) or value is None else f"a {type(value).__name__}"


def _name_follows(rest: str, names: Sequence[str]) -> bool:
    """Whether another name comes next, or an index in brackets."""
    if re.match(r"\s*\(\s*[0-9]{1,3}\s*(?:\)|$)", rest):
        return True
    word = _WORD.match(_CONNECTOR.sub("", rest, count=1))
    return word is not None and _by_name(word[0], names, synonyms=False) is not None


def _agreed(index: int, name: str, names: Sequence[str]) -> int | None:
    """``index`` if the name beside it is its own."""
    return index if index < len(names) and _by_name(name, names, synonyms=False) == index else None


def _by_name(text: str, names: Sequence[str], synonyms: bool) -> int | None:
    key = _key(_VERB.sub("", text) if synonyms else text)
    same = [index for index, name in enumerate(names) if _key(name) == key]
    if not same and synonyms and key in _NOTHING and "NOOP" in names:
        return names.index("NOOP")
    return same[0] if len(same) == 1 else None


def _key(name: str) -> str | tuple[str, ...]:
    """What two spellings of one action share: the letters, and for combined directions not even their order."""
    letters = re.sub(r"[\s_\-+]|\bAND\b", "", name.upper())
    return tuple(sorted(_PART.findall(letters))) if _COMBINATION.fullmatch(letters) else letters
