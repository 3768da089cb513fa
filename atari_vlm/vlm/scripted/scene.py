"""What a scripted player decides from, and the move it answers with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from atari_vlm.description import Facts
from atari_vlm.vlm.scripted.sight import Sight


@dataclass(frozen=True)
class Move:
    """A chosen action and the sentence that explains it."""

    action: str
    saw: str


@dataclass(frozen=True)
class Scene:
    """The latest picture, the one before it (where shown), the facts, and the names that may be answered.

    ``dice`` is seeded from the picture and the step: equal requests are answered equally.
    """

    now: Sight
    before: Sight | None
    facts: Facts
    actions: tuple[str, ...]
    dice: random.Random

    def steer(self, right: float = 0, down: float = 0, *, fire: bool = False) -> str:
        """The legal action nearest to pushing the stick: positive is right or down, zero is straight."""
        sideways = "RIGHT" if right > 0 else "LEFT" if right < 0 else ""
        upright = "DOWN" if down > 0 else "UP" if down < 0 else ""
        button = "FIRE" if fire else ""
        wanted = (
            upright + sideways + button,
            sideways + button,
            upright + button,
            upright + sideways,
            sideways,
            upright,
        )
        for name in (*wanted, button, "NOOP"):
            if name in self.actions:
                return name
        return self.actions[0]

    def last_push(self) -> int:
        """+1 if the last action pushed the stick to the right, -1 to the left, else 0."""
        last = self.facts.last_action or ""
        return ("RIGHT" in last) - ("LEFT" in last)


Play = Callable[[Scene], Move | None]
"""A player of one game: a move, or ``None`` where it sees nothing to act on."""
