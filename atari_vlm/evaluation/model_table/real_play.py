"""What models are held against: real play without sticky actions, every moment of it in each form that a model may read.

Where the game has a simple follower, it plays for 70 steps the opposite of what it would, for 70 steps well, for 70 at random
with actions that are held for a few steps, and so on, so that points are both won and lost; elsewhere all is random. Equal seeds
give equal play.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.objects.base import GameObjects
from atari_vlm.picture import Palette
from atari_vlm.trees import concat_rows, take_rows
from atari_vlm.world_models.emulator import EmulatorState, EmulatorWorldModel
from atari_vlm.wrappers.atari_objects import AtariObjects

FRAME_SKIP = 4
WARM_UP = 16  # steps of an episode before anything is measured: contexts are as long
_LEAD = 24  # steps that are played before: until Pong's first ball flies
_TURN = 70
_OPPOSITE = {"LEFT": "RIGHT", "RIGHT": "LEFT", "UP": "DOWN"}
NONE = np.zeros(1, np.int64)
_FIELDS = 7  # numbers an object in a table


@dataclass(frozen=True)
class Moments:
    """N moments. ``boxes`` float32 ``(N, objects, 4)``: left, top, right, bottom, zeros for what is not to be seen; ``last`` and
    ``brighter`` uint8 ``(N, H, W)``, the screen and the brighter of the last two frames in palette indices; ``lives`` ``(N,)``.
    """

    boxes: np.ndarray
    last: np.ndarray
    brighter: np.ndarray
    lives: np.ndarray


@dataclass(frozen=True)
class Play:
    """T steps and the T + 1 moments around them: ``tables`` float32 ``(T + 1, columns)``, ``snapshots`` of the emulator,
    ``actions`` int64, ``rewards`` float32 and ``ends`` bool ``(T,)``; ``since`` int64 ``(T + 1,)``, steps of the episode so far.
    """

    moments: Moments
    tables: np.ndarray
    snapshots: EmulatorState
    actions: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    since: np.ndarray

    def beginnings(self, steps: int) -> np.ndarray:
        """Of the first ``steps`` moments those with a context of :data:`WARM_UP` moments of their episode, int64."""
        able = self.since[: WARM_UP + steps] >= WARM_UP - 1
        able[: WARM_UP - 1] = False
        return np.flatnonzero(able)


class Recorder:
    """A real game that is played step by step, and what there was to be seen."""

    def __init__(self, game: str):
        self.env = AtariObjects(
            AtariVLMEnvironment(game, frame_skip=FRAME_SKIP, repeat_action_probability=0.0)
        )
        base: Any = self.env.unwrapped
        self.emulator = base._emulator
        self.model = EmulatorWorldModel(self.env)
        self.table: GameObjects = self.env.game
        self.action_names = tuple(base.get_action_meanings())
        self._rng = np.random.default_rng(0)
        self._moments: list[Any] = []
        self._steps: list[tuple[int, float, bool]] = []
        self._since: list[int] = []

    @property
    def palette(self) -> Palette:
        """Of the game's pictures."""
        palette: Palette = self.emulator.palette
        return palette

    @property
    def row(self) -> np.ndarray:
        """The present object table."""
        row: np.ndarray = self._moments[-1][0]
        return row

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        _, info = self.env.reset(seed=seed)
        self._see(info, 0)

    def step(self, action: int) -> tuple[float, bool]:
        """Play an action; its reward, and whether the game is over."""
        _, reward, terminated, _, info = self.env.step(action)
        self._steps.append((action, float(reward), bool(terminated)))
        self._see(info, self._since[-1] + 1)
        return float(reward), bool(terminated)

    def restart(self, seed: int) -> None:
        """Forget everything and begin as a new recorder does."""
        self._moments, self._steps, self._since = [], [], []
        self.reset(seed)

    def renew(self) -> None:
        """Begin a new game, whose first moment stands in the place of the one that ended the old game."""
        self._moments.pop()
        self._since.pop()
        self.reset()

    def forget(self, kept: int) -> None:
        """Keep the last moments only."""
        self._moments, self._since = self._moments[-kept:], self._since[-kept:]
        self._steps = self._steps[len(self._steps) - len(self._moments) + 1 :]

    def play(self) -> Play:
        """What was seen of the present and earlier steps."""
        tables, last, brighter, snapshots = zip(*self._moments, strict=True)
        actions, rewards, ends = zip(*self._steps, strict=True) if self._steps else ((), (), ())
        rows, states = np.stack(tables), concat_rows(snapshots)
        moments = Moments(
            boxes_of(self.table, rows), np.stack(last), np.stack(brighter), states.lives
        )
        return Play(
            moments,
            rows,
            states,
            np.array(actions, np.int64),
            np.array(rewards, np.float32),
            np.array(ends, bool),
            np.array(self._since),
        )

    def _see(self, info: dict[str, Any], since: int) -> None:
        snapshot = self.model.init(NONE, NONE, rng=self._rng)
        last = snapshot.frames[0][-1]
        brighter = self.emulator.plane.copy()
        self._moments.append((info["object_table"], last, brighter, snapshot))
        self._since.append(since)

    def close(self) -> None:
        """End the game."""
        self.env.close()


def boxes_of(table: GameObjects, rows: np.ndarray) -> np.ndarray:
    """Boxes float32 ``(B, objects, 4)`` of object tables ``(B, columns)``; zeros where nothing is to be seen."""
    seen = rows[:, : _FIELDS * len(table.kinds)].reshape(len(rows), -1, _FIELDS)
    x, y, width, height, visible = (seen[..., at] for at in (0, 1, 2, 3, 6))
    boxes = np.stack([x, y, x + width, y + height], -1)
    return np.where(visible[..., None] > 0.5, boxes, 0).astype(np.float32)


def boxes_in_memory(table: GameObjects, memory: np.ndarray) -> np.ndarray:
    """The same of memories uint8 ``(B, 128)``."""
    readings = [table.read(row.astype(np.int64)) for row in memory]
    return boxes_of(table, np.stack([table.table(one.objects, one.hidden) for one in readings]))


def record(game: str, steps: int, seed: int) -> tuple[Recorder, Play]:
    """Play so many steps, from a little after the beginning of a game on; one that is over begins anew."""
    recorder = Recorder(game)
    recorder.reset(seed)
    player = Player(recorder, seed)
    for t in range(-_LEAD, steps):
        if t == 0:
            recorder.forget(1)
        _, over = recorder.step(player(t))
        if over:
            recorder.renew()
    return recorder, recorder.play()


Follower = Callable[[dict[str, float]], str]


class Player:
    """A follower, its opposite and random actions, in turns."""

    def __init__(self, recorder: Recorder, seed: int):
        self._recorder, self._rng = recorder, np.random.default_rng(seed)
        self._action, self._left = 0, 0

    def __call__(self, t: int) -> int:
        """The action of step ``t``."""
        names = self._recorder.action_names
        follow = FOLLOWERS.get(self._recorder.table.game)
        if self._left <= 0:
            self._action, self._left = (
                int(self._rng.integers(len(names))),
                int(self._rng.integers(1, 9)),
            )
        self._left -= 1
        turn = max(t, 0) // _TURN % 3
        if follow is None or turn == 2 or self._rng.random() < 0.1:
            return self._action
        columns = self._recorder.table.columns
        name = follow(dict(zip(columns, self._recorder.row.tolist(), strict=True)))
        return names.index(name if turn else _OPPOSITE.get(name, name))


def _towards(target: float, place: float, more: str, less: str) -> str:
    return more if target > place + 4 else less if target < place - 4 else "NOOP"


def _pong(row: dict[str, float]) -> str:
    if not row["ball.visible"]:
        return "FIRE"
    return _towards(row["ball y"], row["your paddle's next place"] + 6, "LEFT", "RIGHT")


def _breakout(row: dict[str, float]) -> str:
    if not row["ball.visible"]:
        return "FIRE"
    return _towards(row["ball.x"], row["paddle.x"] + 7, "RIGHT", "LEFT")


FOLLOWERS: dict[str, Follower] = {
    "Pong": _pong,
    "Breakout": _breakout,
    "Freeway": lambda row: "UP",
}


def at(moments: Moments, rows: np.ndarray) -> Moments:
    """Some of the moments."""
    taken: Moments = take_rows(moments, rows)
    return taken
