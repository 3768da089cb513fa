"""Pong of ALE whose difficulty switches are thrown in the middle of a game, as transitions of the object table.

A switch makes a player's paddle half as high: 8 rows instead of 16. Less of the ball's ways meet it, and a ball leaves it by two
rows an angle instead of four (found by frame by frame comparison; with that the program written by hand replays all four
settings exactly).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.evaluation.model_table.real_play import FRAME_SKIP, Player, Recorder
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.world_models.code import CodeWorldModel, LocalProgram, golden
from atari_vlm.world_models.code.shipped import table_space

YOURS, OTHERS = "your paddle", "other paddle"
SWITCHES = {
    1: (OTHERS,),
    2: (YOURS,),
    3: (YOURS, OTHERS),
}  # ALE's difficulty: whose paddle it halves
BEFORE, AFTER = 210, 350  # steps
BALL = ("ball x", "ball y", "ball dx", "ball dy")
_FIELD = (34, 194)  # its first row, and the first below it
_FULL = 16  # rows of a paddle
_BEYOND = 5  # steps in which a ball that was missed leaves the field
_NEAR = 4  # pixels: where a ball still is where it was said to be


def pong_play(seed: int, difficulty: int, change: int, steps: int) -> TransitionBuffer:
    """Rallies and random play of ``steps``, in which the switches are thrown before step ``change``."""
    recorder = Recorder("Pong")
    recorder.reset(seed)
    base: Any = recorder.env.unwrapped
    player = Player(recorder, seed)
    for t in range(steps):
        if t == change:
            base.ale.setDifficulty(difficulty)
        recorder.step(player(70 + t % 70))  # rallies
    played, columns = recorder.play(), recorder.table.columns
    recorder.close()
    return TransitionBuffer(
        played.tables[:-1],
        played.actions,
        played.rewards,
        played.tables[1:],
        played.ends,
        np.zeros(len(played.ends), bool),
        env_id="AtariVLM/Pong-Objects-v5",
        observation_space=table_space("Pong"),
        action_space=Discrete(6),
        provenance={"columns": list(columns)},
    )


def seen_by_hand(buffer: TransitionBuffer, change: int, difficulty: int) -> int:
    """By which step after the change a halved paddle is to be seen: at the first after which one of them, at its full height,
    would lie in the field with more than half of its rows.
    """
    after = buffer.next_observations[change:]
    seen = np.zeros(len(after), bool)
    for name in SWITCHES[difficulty]:
        top, visible = (after[:, _column(buffer, f"{name}.{part}")] for part in ("y", "visible"))
        seen |= (visible > 0) & (top > _FIELD[0]) & (top + _FULL // 2 < _FIELD[1])
    return int(seen.argmax()) + 1


def met_by_hand(buffer: TransitionBuffer, change: int) -> int:
    """By which step after the change, of both switches, the ball meets a paddle, from where it is and how it flies then.

    It is met where it is 188 (yours) or 68 (the other's), moves by dx a frame, and is served from 128 at one pixel a frame when
    the frames to the serve are over. A ball that is missed makes a point, from which is counted anew.
    """
    at = change
    while True:
        due = at + _frames_to_a_paddle(buffer, at) // FRAME_SKIP
        points = np.flatnonzero(buffer.rewards[at : due + _BEYOND])
        if not len(points):
            return due - change + 1
        at += int(points[0]) + 1


def _frames_to_a_paddle(buffer: TransitionBuffer, at: int) -> int:
    row = buffer.observations[at]
    wait, x, dx = (
        float(row[_column(buffer, name)]) for name in ("frames to the serve", "ball x", "ball dx")
    )
    if wait:
        x, dx = 128.0, math.copysign(1.0, dx)
    return int(wait + math.ceil((188 - x) / dx if dx > 0 else (68 - x) / dx))


def ball_columns(buffer: TransitionBuffer) -> list[int]:
    """Where in a state the ball's place and motion are."""
    return [_column(buffer, name) for name in BALL]


def _column(buffer: TransitionBuffer, name: str) -> int:
    return int(buffer.provenance["columns"].index(name))


def program_by_hand() -> str:
    """The text of the golden Pong."""
    with golden("Pong", unsafe_local_code=True) as model:
        return model.program


def foretold(
    program: str | LocalProgram, buffer: TransitionBuffer, ahead: int
) -> tuple[float, float]:
    """After ``ahead`` steps of the actions really played: of all moments the share whose whole table is exact, and of those with
    a ball then and now the share that has it within 4 pixels.
    """
    begins = np.arange(len(buffer) - ahead + 1)
    plans = np.stack([buffer.actions[at : at + ahead] for at in begins])
    rng = np.random.default_rng(0)
    spaces = {"observation_space": table_space("Pong"), "action_space": buffer.action_space}
    with CodeWorldModel(program, **spaces) as model:
        state = model.init(buffer.observations[begins, None], plans[:, :0], rng=rng)
        said = model.rollout(state, plans, rng=rng).state.values
    true, x_y = buffer.next_observations[begins + ahead - 1], ball_columns(buffer)[:2]
    flies = (buffer.observations[begins][:, x_y[1]] > 0) & (true[:, x_y[1]] > 0)
    near = (np.abs(said - true)[:, x_y] <= _NEAR).all(1)
    exact = np.isclose(said, true, atol=1e-3).all(1)
    return float(exact.mean()), float(near[flies].mean())
