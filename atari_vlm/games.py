"""What is known about each game: goal, controls in plain words, strategy, reference scores.

The data lives in ``data/games.json`` (one entry per game that ale-py ships) and ``data/reference_scores.csv`` (the Atari-57
human and random reference).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from atari_vlm.errors import UnknownNameError

_ID = re.compile(
    r"\s*(?:ALE/|AtariVLM/)?(?P<name>[A-Za-z0-9][A-Za-z0-9 _.*'!&:-]*?)(?:-v5)?\s*", re.IGNORECASE
)
NO_EFFECT = "no effect"


@dataclass(frozen=True)
class Game:
    """One game.

    ``title`` is the name as a person writes it (``Q*bert`` for ``Qbert``). ``controls`` says in plain words what each of the
    18 ALE actions does. ``strategy`` is ``""`` where no expert text exists; the scores are ``None`` outside Atari-57.
    """

    name: str
    title: str
    goal: str
    controls: Mapping[str, str]
    strategy: str = ""
    random_score: float | None = None
    human_score: float | None = None

    def human_normalised(self, score: float) -> float | None:
        """(score - random) / (human - random) under the Atari-57 reference; ``None`` where the game is not in it."""
        if self.random_score is None or self.human_score is None:
            return None
        return (score - self.random_score) / (self.human_score - self.random_score)


@functools.cache
def _data() -> dict[str, Any]:
    return json.loads(
        (resources.files("atari_vlm") / "data" / "games.json").read_text(encoding="utf-8")
    )


@functools.cache
def _games() -> dict[str, Game]:
    rows = (
        (resources.files("atari_vlm") / "data" / "reference_scores.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    scores = {}
    for row in rows[1:]:
        name, random_score, human_score = row.split(",")
        scores[name] = {"random_score": float(random_score), "human_score": float(human_score)}
    return {
        name: Game(
            name=name,
            title=entry.get("title", name),
            goal=entry["goal"],
            controls=_all_controls(entry.get("controls", {})),
            strategy=entry.get("strategy", ""),
            **scores.get(name, {}),
        )
        for name, entry in _data()["games"].items()
    }


def _all_controls(own: Mapping[str, str]) -> dict[str, str]:
    """The words for all 18 actions: a game's own where it has them, else shared ones, else those of the single keys joined."""
    single = {**_data()["controls"], **own}
    combined = {}
    for vertical, horizontal, fire in itertools.product(
        ("", "UP", "DOWN"), ("", "RIGHT", "LEFT"), ("", "FIRE")
    ):
        parts = [
            single[key] for key in (vertical, horizontal, fire) if key and single[key] != NO_EFFECT
        ]
        combined[vertical + horizontal + fire] = " and ".join(parts) or NO_EFFECT
    del combined[""]
    return {**combined, **single}


@functools.cache
def generic_game() -> Game:
    """Title, goal, controls and strategy that fit any game."""
    return Game(
        name="this game", title="this game", controls=_all_controls({}), **_data()["generic"]
    )


def game_names() -> tuple[str, ...]:
    """The names of all games, sorted: ``("Adventure", "AirRaid", ...)``."""
    return tuple(sorted(_games()))


def game(name: str) -> Game:
    """Look up a game by name, title or id: ``Pong``, ``pong-v5``, ``ALE/Pong-v5``, ``ms pac-man``, ``Q*bert``.

    Capitals, blanks and marks do not matter. Raises ``UnknownNameError`` (a ``ValueError``) that offers the nearest names.
    """
    match = _ID.fullmatch(name) if isinstance(name, str) else None
    canonical = _spellings().get(_letters(match["name"])) if match else None
    if canonical is None:
        raise UnknownNameError("game", match["name"] if match else name, _games())
    return _games()[canonical]


@functools.cache
def _spellings() -> dict[str, str]:
    """Letters and digits of every title and name, to the name."""
    titles = {_letters(entry.title): name for name, entry in _games().items()}
    return {**titles, **{_letters(name): name for name in _games()}}


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


@functools.cache
def game_or_generic(name: str) -> Game:
    """Like :func:`game`, but an unknown name (somebody's own game) gets a goal, controls and strategy that fit any game."""
    try:
        return game(name)
    except UnknownNameError:
        return (
            dataclasses.replace(generic_game(), name=name, title=name) if name else generic_game()
        )
