"""The objects of a game as the console's memory has them, beside the observation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_index
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.objects.base import GameObjects, Reading, ScreenObject, moved
from atari_vlm.objects.tables import TABLES
from atari_vlm.wrappers.views import attribute, game_name


class AtariObjects(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Add ``info["objects"]`` and ``info["object_table"]``; observations stay as they are.

    ``info["objects"]`` is a tuple of :class:`~atari_vlm.objects.base.ScreenObject`, only what is to be seen in the emulator's
    last frame. ``info["object_table"]`` is float32 ``(len(columns),)``: for every object that may be there ``x, y, width,
    height, dx, dy, visible`` (zeros where it is not to be seen), then hidden values; :attr:`columns` names the entries.
    Motion is in pixels an emulator frame: from memory where memory has it, else the mean since the step before. What a player
    turns and memory only answers to (Pong's knob) is followed from step to step.

    That is more than the picture's viewer is given, so ``metadata["privileged"]`` is true.

    Raises ``UnknownNameError`` for a game without table and ``ConfigError`` for an environment without ALE emulator.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]):
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.game = table_of(env, game_name(env))
        self.columns = self.game.columns
        self.metadata = {**env.metadata, "privileged": True}
        self._before: tuple[ScreenObject, ...] = ()
        self._hidden: tuple[float, ...] | None = None
        self._frame = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; motion that memory does not say is 0."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before, self._hidden = (), None
        return observation, self._told(info, "NOOP")

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play an action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._told(info, self._name(action))

    def _name(self, action: Any) -> str:
        """ALE's name of a numbered action, nothing for another one."""
        meanings = attribute(self.env, "get_action_meanings")
        numbered = isinstance(self.env.action_space, gymnasium.spaces.Discrete)
        return str(meanings()[as_index(action)]) if numbered and meanings else ""

    def _told(self, info: dict[str, Any], action: str) -> dict[str, Any]:
        frame = int(attribute(self.env, "ale").getEpisodeFrameNumber())
        reading = read_objects(self.env, self.game)
        objects = moved(reading.objects, self._before, frame - self._frame)
        follow, hidden = self.game.follow, reading.hidden
        if follow is not None:
            hidden = follow(self._hidden, hidden, action)
        self._before, self._hidden, self._frame = objects, hidden, frame
        table = self.game.table(objects, hidden)
        return {**info, "objects": objects, "object_table": table}


def table_of(env: gymnasium.Env[Any, Any], game: str) -> GameObjects:
    """How the memory of ``env`` is read; the errors of :class:`AtariObjects`."""
    if game not in TABLES:
        raise UnknownNameError("game with objects", game, TABLES)
    if attribute(env, "ale") is None:
        raise ConfigError(
            "objects are read from an ALE emulator's memory; this environment has no attribute 'ale'"
        )
    return TABLES[game]


def read_objects(env: gymnasium.Env[Any, Any], game: GameObjects) -> Reading:
    """What the memory of ``env`` says now."""
    memory: np.ndarray = attribute(env, "ale").getRAM()
    return game.read(memory.astype(np.int64))


def describe_objects(objects: tuple[ScreenObject, ...]) -> str:
    """One line an object, by its centre."""
    lines = [f"- {o.name}: x {o.x + o.width // 2}, y {o.y + o.height // 2}" for o in objects]
    return "\n".join(["Objects (x from the left 0 to 159, y from the top 0 to 209):", *lines])
