"""From the words in an answer's place to a legal action: names in any spelling, indices, and a few plain words.

Accepted where an answer is expected: the name in any case and script width, with ``_``, ``-``, ``+``, ``&``, blanks or "and"
inside it (``up right``, ``FIRE+LEFT``), an index, an index beside its own name (``3: LEFT``), any of these with words in
brackets behind it, a name among words such as "move to the …" or "press the … button", and words for doing nothing ("wait",
"stay", "no action" …) as NOOP. Nothing else is guessed: "move up" is no action of a game without UP, even where RIGHT moves
the paddle up. An answer that is taken back (:mod:`atari_vlm.agents.doubt`) is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from atari_vlm.agents.doubt import doubting_comment, taken_back

_PART = re.compile(r"UP|DOWN|LEFT|RIGHT|FIRE")
_COMBINATION = re.compile(r"(?:UP|DOWN|LEFT|RIGHT|FIRE)+")
_MARKS = re.compile(
    r"</?(?:answer|action|final|move|decision|choice|output|b|i|strong|em|code)>|</\w{1,20}>|<\|\w{1,30}\|>",
    re.IGNORECASE,
)
_LATEX = re.compile(r"\\(?:boxed|fbox|text\w{0,4}|math\w{1,4}|mbox)\s?\{([^{}]{0,80})\}")
_INDEXED = re.compile(r"([0-9]{1,3})\s*[:.)=\-]?\s*\(?\s*([A-Za-z][\w \-+&]*?)\s*\)?")
_NAMED = re.compile(r"([A-Za-z][\w \-+&]*?)\s*\(\s*([0-9]{1,3})\s*\)?")
_COMMENT = re.compile(r"\s*\(([^()]*)\)?$")
_LEAD = re.compile(
    r"^(?:(?:please|i|we|will|should|must|shall|i'll|let's|to|now|do|the|my|a|an|action|move|moving|go|press|pressing|push|hit|"
    r"steer|use|choose|select|pick|take|play|perform|execute|turn|button|key|paddle|joystick|is)[\s_]+)+",
    re.IGNORECASE,
)
_TAIL = re.compile(r"\s+(?:button|key|action|direction|side|now|please)$", re.IGNORECASE)
_SCOPE = re.compile(r"^(?:\w{1,30}\.)*actions?(?:\.|::|_)(?=\w)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_\-+&]+")
_NOTHING = {
    "NOOP",
    "NOTHING",
    "DONOTHING",
    "NONE",
    "NOACTION",
    "NOOPERATION",
    "WAIT",
    "STAY",
    "STAYSTILL",
    "IDLE",
}
_LONGEST = 80  # characters of an answer with its comment; longer ones are prose
_VALUE_KEYS = ("name", "action", "action_name", "value", "label", "choice", "move")
_FOLDED = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″「」『』〈〉《》〝〞", '"'),
        **dict.fromkeys("‘’‚‛′´", "'"),
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
        **dict.fromkeys("→⇒➡➔⟶➜▶►➤⟹", "->"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f", ""),
        **dict.fromkeys("【〔", "["),
        **dict.fromkeys("】〕", "]"),
    }
)


def folded(text: str) -> str:
    """``text`` with every script width, quote, dash and arrow in its plain form (NFKC and a short table)."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text.translate(_FOLDED))


def clean(text: str) -> str:
    """``text`` without markup, quotes, brackets and punctuation around it."""
    text = _MARKS.sub(" ", folded(text))
    for _ in range(2):  # \boxed{\text{LEFT}}
        text = _LATEX.sub(r" \1 ", text)
    text = text.strip().removeprefix("->")
    letters = [index for index, c in enumerate(text) if c.isalnum()]
    if not letters:
        return ""
    start = letters[0] - (letters[0] > 0 and text[letters[0] - 1] in "-+")
    return text[start : letters[-1] + 1]


def resolve(value: object, names: Sequence[str], *, synonyms: bool = True) -> int | None:
    """The index of the action that ``value`` is, as a whole; ``None`` if it is none or more than one.

    A number is an index. ``synonyms`` also lets words around a name and words for doing nothing count.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if not isinstance(value, str):
        return int(value) if 0 <= value < len(names) and value == int(value) else None
    if value in names:
        return names.index(value)
    text = clean(value)
    if len(text) > _LONGEST or any(
        mark in folded(value) for mark in ("?", "~~")
    ):  # asked, or struck through
        return None
    return names.index(text) if text in names else _of_words(text, names, synonyms)


def _of_words(text: str, names: Sequence[str], synonyms: bool) -> int | None:
    """A name, an index, or both beside one another, perhaps with a comment in brackets."""
    if pair := _NAMED.fullmatch(text):
        return _agreed(int(pair[2]), pair[1], names)
    comment = _COMMENT.search(text)
    if comment and doubting_comment(comment[1], lambda word: _is_name(word, names)):
        return None
    bare = _COMMENT.sub("", text)
    for part in (text, bare):
        if re.fullmatch(r"[0-9]{1,9}", part):
            return int(part) if int(part) < len(names) else None
        if pair := _INDEXED.fullmatch(part):
            return _agreed(int(pair[1]), pair[2], names)
    action = _by_name(text, names, synonyms)
    return action if action is not None else _by_name(bare, names, synonyms)


def find(value: object, names: Sequence[str]) -> int | None:
    """Like :func:`resolve`, and where words follow the name (``LEFT because …``) the longest name at the beginning.

    ``None`` if those words take it back, or if another name comes next: ``LEFT or RIGHT``, ``RIGHT FIRE`` in a game without
    RIGHTFIRE. A list of one action and an object with one name are what they hold.
    """
    value = unwrapped(value)
    action = resolve(value, names)
    if action is not None or not isinstance(value, str) or "~~" in value:
        return action
    question = "?" if folded(value).rstrip(" \"'*_`.!)]}").endswith("?") else ""
    text = _LEAD.sub("", clean(value)) + question
    words = [match for match, _ in zip(_WORD.finditer(text), range(4), strict=False)]
    for word in reversed([match for match in words if match[0][-1].isalnum()]):
        action = None if text[:1].isdigit() else resolve(text[: word.end()], names, synonyms=False)
        if action is not None:
            return (
                None
                if taken_back(text[word.end() :], lambda word: _is_name(word, names))
                else action
            )
    return None


def unwrapped(value: object) -> object:
    """The one action that stands alone in a list or under a usual key of an object; everything else as it is."""
    for _ in range(3):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif isinstance(value, Mapping):
            held = [value[key] for key in _VALUE_KEYS if key in value]
            if len(held) != 1:
                return value
            value = held[0]
    return value


def shown(value: object) -> str:
    """A wrong value as it can be quoted in a sentence: short, and safe for whatever JSON held."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    return (
        repr(value)[:60]
        if isinstance(value, (int, float)) or value is None
        else f"a {type(value).__name__}"
    )


def names_in(text: str, names: Sequence[str]) -> list[int]:
    """The actions whose names stand as words of ``text``, in any case, in reading order."""
    words = (match[0] for match in re.finditer(r"[A-Za-z0-9_]+", text))
    actions = (_by_name(word, names, synonyms=False) for word in words)
    return [action for action in actions if action is not None]


def _is_name(word: str, names: Sequence[str]) -> bool:
    return _by_name(word, names, synonyms=False) is not None


def _agreed(index: int, name: str, names: Sequence[str]) -> int | None:
    """``index`` if the name beside it is its own."""
    return index if index < len(names) and _by_name(name, names, synonyms=False) == index else None


def _by_name(text: str, names: Sequence[str], synonyms: bool) -> int | None:
    action = _by_key(_key(text), names, synonyms)
    if action is not None:
        return action
    bare = _SCOPE.sub("", text)
    if synonyms:
        bare = _TAIL.sub("", _LEAD.sub("", bare))
    return None if bare == text else _by_key(_key(bare), names, synonyms)


def _by_key(key: str | tuple[str, ...], names: Sequence[str], synonyms: bool) -> int | None:
    same = [index for index, name in enumerate(names) if _key(name) == key]
    if not same and synonyms and key in _NOTHING and "NOOP" in names:
        return names.index("NOOP")
    return same[0] if len(same) == 1 else None


def _key(name: str) -> str | tuple[str, ...]:
    """What two spellings of one action share: the letters, and for combined directions not even their order."""
    letters = re.sub(r"[\s_\-+&]|\bAND\b", "", name.upper())
    return tuple(sorted(_PART.findall(letters))) if _COMBINATION.fullmatch(letters) else letters
