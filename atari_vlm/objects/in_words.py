"""A game's object table in words: what the writer of a program is told of its states."""

from __future__ import annotations

from collections.abc import Sequence

from atari_vlm.games import game as game_of
from atari_vlm.objects.base import FIELDS, GameObjects

_FIELDS_IN_WORDS = (
    "x, y of its left upper corner, width, height in pixels of a screen 160 wide and 210 high (y grows downwards); dx, dy, its "
    "motion in pixels an emulator frame, where memory does not say it the mean since the step before; visible, 1 or 0. All "
    "seven are 0 while it is not to be seen."
)


def table_in_words(table: GameObjects, actions: Sequence[str], frame_skip: int = 4) -> str:
    """Goal, states column by column, actions and steps of a game as Markdown; ``actions`` are ALE's names in their order."""
    known = game_of(table.game)
    seen = [
        f"- {at * len(FIELDS)} to {(at + 1) * len(FIELDS) - 1}: {name}"
        for at, name in enumerate(table.kinds)
    ]
    first = len(table.kinds) * len(FIELDS)
    hidden = [f"- {first + at}: {name}" for at, name in enumerate(table.hidden)]
    does = [
        f"- {number}: {name}, {known.controls.get(name, 'nothing')}"
        for number, name in enumerate(actions)
    ]
    parts = [
        f"# {known.title} as a table of its objects",
        f"Atari's {known.title}: {known.goal}.",
        f"**State**: {len(table.columns)} numbers. Seven for each object: {_FIELDS_IN_WORDS}",
        "\n".join(seen),
        *(["Then what the console's memory holds besides:", "\n".join(hidden)] if hidden else []),
        f"**Actions**, held for the whole step of {frame_skip} emulator frames:",
        "\n".join(does),
        "**Reward**: what the score gains in the step. **End**: when the game is over.",
    ]
    return "\n\n".join(parts) + "\n"
