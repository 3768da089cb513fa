"""Programs for the bundled programming problems that were written beforehand, with known faults: their offline writer.

``data/apps/NNNN/drafts.json`` holds the versions of a problem's program from the first one on. Of some problems no right version
is there: nobody is right always.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

_ASKED = "solves programming problems"


@dataclass(frozen=True)
class Drafts:
    """A problem's words, and the versions of its program, each with a fault less than the one before."""

    question: str
    versions: tuple[str, ...]


def asks_for_solution(question: str) -> bool:
    """Whether a text asks for a program that solves a programming problem."""
    return _ASKED in question


def write_solution(question: str, sample: int) -> str:
    """The reply: some words, and the program in a fenced block; words alone for a problem that nobody knows.

    ``sample`` is the draw's number: later draws of a question are later versions.
    """
    drafts = next((known for known in _bundled() if known.question in question), None)
    if drafts is None:
        return "I know the bundled problems only, and this is another one."
    versions = drafts.versions
    shown = max((n for n, text in enumerate(versions) if text.strip() in question), default=None)
    chosen = sample if shown is None else shown + 1
    said = "A first attempt" if shown is None else "One fault of the program is mended"
    text = versions[min(chosen, len(versions) - 1)]
    return f"{said}, as somebody wrote it down beforehand.\n\n```python\n{text}```\n"


@functools.cache
def _bundled() -> tuple[Drafts, ...]:
    folder = resources.files("atari_vlm") / "data" / "apps"
    places = sorted(
        (place for place in folder.iterdir() if place.name.isdecimal()),
        key=lambda place: place.name,
    )
    return tuple(
        Drafts(
            (place / "question.txt").read_text(encoding="utf-8").strip(),
            tuple(json.loads((place / "drafts.json").read_text(encoding="utf-8"))),
        )
        for place in places
    )
