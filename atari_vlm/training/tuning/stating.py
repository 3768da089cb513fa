"""What a thought states of the next state, and whether the game's own memory says the same.

A statement is the name of an object and where its middle will be after the action, ``ball 40 162`` or ``ball: x 40, y 162``:
in pixels of the emulator's screen (160 wide, 210 high), in the toy games in columns and rows. The first one of a thought
counts. It is right where both numbers are within the tolerance, and the object has moved: to say where something stands
still is no forecast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atari_vlm.errors import AtariVLMError, ConfigError
from atari_vlm.objects.base import GameObjects
from atari_vlm.objects.tables import TABLES
from atari_vlm.spaces import Env
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.toy_pong import SoloPongWorldModel
from atari_vlm.wrappers.atari_objects import read_objects, table_of
from atari_vlm.wrappers.views import game_name

TOLERANCE_PX = 8.0
Middles = Mapping[str, tuple[float, float]]
_TO_X = r"[^\w\n]{0,3}(?:(?:at|to|is|will be|x)[^\w\n]{0,3}){0,3}"
_TO_Y = r"[^\w\n]{1,3}(?:y[^\w\n]{0,3})?"
_NUMBER = r"(\d{1,4}(?:\.\d{1,4})?)"


@dataclass(frozen=True)
class StateReader:
    """How a game's state is read: objects that it may have, what counts as right, and where they are now."""

    names: tuple[str, ...]
    tolerance: float
    read: Callable[[], Middles]

    def is_right(self, thought: str, before: Middles, after: Middles) -> bool:
        """Whether a thought states where something that has moved is in ``after``."""
        stated = self.statement(thought)
        if stated is None:
            return False
        name, x, y = stated
        if name not in after or after[name] == before.get(name):
            return False
        there = after[name]
        return max(abs(there[0] - x), abs(there[1] - y)) <= self.tolerance

    def statement(self, thought: str) -> tuple[str, float, float] | None:
        """The first statement of a thought: name, x and y."""
        names = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        form = rf"(?<!\w)({names}){_TO_X}{_NUMBER}{_TO_Y}{_NUMBER}"
        found = re.search(form, thought, re.IGNORECASE)
        return found and (found[1].lower(), float(found[2]), float(found[3]))


def state_reader(env: Env, game: str) -> StateReader:
    """The reader of a game's state; ``ConfigError`` for a game whose memory is not known."""
    model = getattr(env.unwrapped, "world_model", None)
    if isinstance(model, (CatchWorldModel, SoloPongWorldModel)):
        return StateReader(("ball", "paddle"), 0.0, lambda: _cells(env, model.rows))
    try:
        table = table_of(env, game_name(env))
    except AtariVLMError as error:
        raise ConfigError(
            f"--state-reward is judged by a game's memory, which is known of {', '.join(TABLES)}, Catch and SoloPong, and not of "
            f"{game}"
        ) from error
    return StateReader(tuple(table.kinds), TOLERANCE_PX, lambda: _middles(env, table))


def _cells(env: Env, rows: int) -> Middles:
    """Column and row of ball and paddle of a toy game."""
    state = env.unwrapped.state  # type: ignore[attr-defined]
    ball = float(state.ball_column[0]), float(state.ball_row[0])
    return {"ball": ball, "paddle": (float(state.paddle[0]), float(rows - 1))}


def _middles(env: Env, table: GameObjects) -> Middles:
    objects = read_objects(env, table).objects
    return {one.name: (one.x + one.width // 2, one.y + one.height // 2) for one in objects}
