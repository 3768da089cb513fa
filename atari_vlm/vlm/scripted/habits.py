"""How a game is played by habit: a mix of actions, each held for a while, chosen by the dice."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from atari_vlm.vlm.scripted.scene import Move


@dataclass(frozen=True)
class Habit:
    """With probability ``hold`` do again what was done; else one of ``favourites`` with its share, else any legal action.

    ``always_fire`` leaves of the legal actions only those that press the button.
    """

    favourites: Mapping[str, float] = field(default_factory=dict)
    hold: float = 0.0
    always_fire: bool = False

    def move(self, actions: tuple[str, ...], last_action: str | None, dice: random.Random) -> Move:
        """Choose one of ``actions``; ``last_action`` is what was done before, ``None`` at the first step."""
        if last_action in actions and dice.random() < self.hold:
            return Move(last_action, f"I go on with {last_action}.")
        roll = dice.random()
        for name, share in self.favourites.items():
            if roll < share and name in actions:
                return Move(name, f"{name} is what mostly works in this game.")
            roll -= share
        firing = [name for name in actions if "FIRE" in name] if self.always_fire else []
        name = dice.choice(firing or actions)
        return Move(name, f"I see nothing that decides the matter and try {name}.")


@functools.cache
def _habits() -> Mapping[str, Habit]:
    raw = (resources.files("atari_vlm") / "data" / "scripted_habits.json").read_text(
        encoding="utf-8"
    )
    return {game: Habit(**entry) for game, entry in json.loads(raw)["habits"].items()}


def habit_of(game: str) -> Habit:
    """The habit for ``game``; a game without one is played with every legal action equally likely."""
    return _habits().get(game, Habit())
