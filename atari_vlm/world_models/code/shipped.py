"""Programs that come with the package, written by hand: what a search should find."""

from __future__ import annotations

from importlib import resources
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import UnknownNameError
from atari_vlm.games import game as game_of
from atari_vlm.objects.tables import TABLES
from atari_vlm.settings import with_changes
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code.model import CodeOptions, CodeWorldModel
from atari_vlm.world_models.code.sandbox_local import LocalProgram

ACTIONS = {"Pong": ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")}
_SCREEN = (210, 160, 3)


def golden(game: str, **options: Any) -> CodeWorldModel:
    """The model of a game whose program was written by hand: ``Pong``, in any spelling that :mod:`atari_vlm.games` knows.

    ``init`` takes contexts of ``info["object_table"]`` (:class:`~atari_vlm.wrappers.AtariObjects`), float32 ``(B, T, columns)``
    with T >= 1, of which the last counts; states are such rows; ``decode`` draws the screen, uint8 ``(B, 210, 160, 3)``. A
    step is four emulator frames. It carries the beginning of a game as start frames.

    ``options`` are those of :class:`~atari_vlm.world_models.code.model.CodeOptions`. Raises ``UnknownNameError`` for a game
    without such a program.
    """
    name = game_of(game).name
    if name not in ACTIONS:
        raise UnknownNameError("game with a golden program", name, ACTIONS)
    run = with_changes(CodeOptions(), options, "the options of a code world model")
    text = _text_of(name)
    ours = LocalProgram(text)
    first = np.array(ours.call("first"), np.float32)[None, None]
    return CodeWorldModel(
        ours if run.unsafe_local_code else text,
        observation_space=gymnasium.spaces.Box(0, 255, _SCREEN, np.uint8),
        context_space=table_space(name),
        action_space=gymnasium.spaces.Discrete(len(ACTIONS[name])),
        action_names=ACTIONS[name],
        start=StartFrames(first, np.zeros((1, 0), np.int64)),
        frame_skip=4,
        game=name,
        deadline_s=run.deadline_s,
        memory_mb=run.memory_mb,
    )


def table_space(game: str) -> gymnasium.spaces.Box:
    """The space of a game's object tables; ``UnknownNameError``, naming those that have one, for a game without."""
    name = game_of(game).name
    if name not in TABLES:
        raise UnknownNameError("game with objects", name, TABLES)
    return gymnasium.spaces.Box(-np.inf, np.inf, (len(TABLES[name].columns),), np.float32)


def _text_of(name: str) -> str:
    file = resources.files("atari_vlm") / "data" / "programs" / f"{name.lower()}.py"
    return file.read_text(encoding="utf-8")
