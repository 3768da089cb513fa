"""What is known about each game: goal, controls in plain words, strategy, reference scores.

The data lives in ``data/games.json`` (one entry per game that ale-py ships) and ``data/reference_scores.csv`` (the Atari-57
human and random reference).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from atari_vlm.errors import UnknownNameError

_ID = re.compile(r"(?:ALE/|AtariVLM/)?(?P<name>[A-Za-z0-9]+?)(?:-v5)?")


@dataclass(frozen=True)
class Game:
    """One game. ``strategy`` is ``""`` where no expert text exists; the scores are ``None`` outside Atari-57."""

    name: str
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
def _games() -> dict[str, Game]:
    folder = resources.files("atari_vlm") / "data"
    raw = json.loads((folder / "games.json").read_text(encoding="utf-8"))
    rows = (folder / "reference_scores.csv").read_text(encoding="utf-8").splitlines()
    scores = {}
    for row in rows[1:]:
        name, random_score, human_score = row.split(",")
        scores[name] = {"random_score": float(random_score), "human_score": float(human_score)}
    shared = raw["controls"]
    return {
        name: Game(
            name=name,
            goal=entry["goal"],
            controls={**shared, **entry.get("controls", {})},
            strategy=entry.get("strategy", ""),
            **scores.get(name, {}),
        )
        for name, entry in raw["games"].items()
    }


@functools.cache
def generic_game() -> Game:
    """Goal, controls and strategy that fit any game."""
    raw = json.loads((resources.files("atari_vlm") / "data" / "games.json").read_text(encoding="utf-8"))
    return Game(name="this game", controls=raw["controls"], **raw["generic"])


def game_names() -> tuple[str, ...]:
    """The names of all games, sorted: ``("Adventure", "AirRaid", ...)``."""
    return tuple(sorted(_games()))


def game(name: str) -> Game:
    """Look up a game by name or id: ``Pong``, ``Pong-v5``, ``ALE/Pong-v5``, ``AtariVLM/Pong-v5``.

    Raises ``UnknownNameError`` (a ``ValueError``) that offers the nearest names.
    """
    match = _ID.fullmatch(name) if isinstance(name, str) else None
    if match is None or match["name"] not in _games():
        raise UnknownNameError("game", match["name"] if match else name, _games())
    return _games()[match["name"]]


def game_or_generic(name: str) -> Game:
    """Like :func:`game`, but an unknown name (somebody's own game) gets a goal, controls and strategy that fit any game."""
    try:
        return game(name)
    except UnknownNameError:
        return dataclasses.replace(generic_game(), name=name or "this game")
