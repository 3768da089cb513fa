"""What programs say: the one way in which words that others wrote (names, paths, replies, errors) come to a terminal."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

_LINES = "\n\t"
_HIDDEN = (
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
)  # controls, invisible and direction marks, halves of pairs, odd line ends


def shown(text: str) -> str:
    """``text`` with control codes written out (ESC as backslash x1b): nothing moves the cursor, turns the writing or hides."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _LINES or unicodedata.category(character) not in _HIDDEN
        else _code(character)
        for character in text
    )


def one_line(text: str) -> str:
    """:func:`shown`, on one line."""
    return shown(" ".join(text.split("\n")))


class Terminal(Console):
    """A console that takes words as they are: no markup, no emoji codes, no control codes, no breaking of lines."""

    def __init__(self, **options: Any):
        super().__init__(
            **{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False, **options}
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is printed, in tables too, passes here."""
        return super().render_str(shown(text), **options)


def messages(**options: Any) -> Terminal:
    """Where a program says what goes on: stderr."""
    return Terminal(stderr=True, **options)


def results(width: int = 140) -> Terminal:
    """Where a program writes what it was asked for: stdout; ``width`` is that of tables where there is no terminal."""
    return Terminal(width=None if sys.stdout.isatty() else width)


def _code(character: str) -> str:
    return (
        character.encode("unicode_escape", "surrogatepass").decode()
        if character != "\u007f"
        else "\\x7f"
    )
