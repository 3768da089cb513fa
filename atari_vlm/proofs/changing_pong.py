"""Pong of ALE whose difficulty switches are thrown in the middle of a game, as transitions of the object table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.evaluation.model_table.real_play import FRAME_SKIP, Player, Recorder
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.world_models.code.shipped import table_space

DIFFICULTY = 3  # both players' switches
BEFORE, AFTER = 210, 140  # steps
_BEYOND = 5  # steps in which a ball that was missed leaves the field


def pong_play(seed: int) -> tuple[TransitionBuffer, int]:
    """Play with the switches thrown at the step that is returned beside it."""
    recorder = Recorder("Pong")
    recorder.reset(seed)
    base: Any = recorder.env.unwrapped
    player = Player(recorder, seed)
    for t in range(BEFORE + AFTER):
        if t == BEFORE:
            base.ale.setDifficulty(DIFFICULTY)
        recorder.step(player(70 + t % 70))  # rallies
    played, columns = recorder.play(), recorder.table.columns
    recorder.close()
    buffer = TransitionBuffer(
        played.tables[:-1],
        played.actions,
        played.rewards,
        played.tables[1:],
        played.ends,
        np.zeros(len(played.ends), bool),
        env_id="ALE/Pong-v5",
        observation_space=table_space("Pong"),
        action_space=Discrete(6),
        provenance={"columns": list(columns)},
    )
    return buffer, BEFORE


def pong_by_hand(buffer: TransitionBuffer, change: int) -> int:
    """By which step after the change the ball meets a paddle, from where it is and how it flies then.

    The switches change nothing but how a ball leaves a paddle. It is met where it is 188 (yours) or 68 (the other's), moves
    by dx a frame, and is served from 128 at one pixel a frame when the frames to the serve are over. A ball that is missed
    makes a point, from which is counted anew.
    """
    at = change
    while True:
        due = at + _frames_to_a_paddle(buffer, at) // FRAME_SKIP
        points = np.flatnonzero(buffer.rewards[at : due + _BEYOND])
        if not len(points):
            return due - change + 1
        at += int(points[0]) + 1


def _frames_to_a_paddle(buffer: TransitionBuffer, at: int) -> int:
    names = buffer.provenance["columns"]
    row = dict(zip(names, buffer.observations[at].tolist(), strict=True))
    wait, x, dx = row["frames to the serve"], row["ball x"], row["ball dx"]
    if wait:
        x, dx = 128.0, math.copysign(1.0, dx)
    return int(wait + math.ceil((188 - x) / dx if dx > 0 else (68 - x) / dx))


def pong_meetings(buffer: TransitionBuffer, since: int) -> list[int]:
    """The steps from ``since`` on in which the ball turns round at a paddle."""
    dx = buffer.provenance["columns"].index("ball dx")
    turned = np.sign(buffer.observations[:, dx]) != np.sign(buffer.next_observations[:, dx])
    y = buffer.provenance["columns"].index("ball y")
    flying = (buffer.observations[:, y] > 0) & (buffer.next_observations[:, y] > 0)
    return [int(t) for t in np.flatnonzero(turned & flying) if t >= since]
