"""How far a program can be trusted ahead: it follows the actions of real play without being told what really happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, check_count
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.trees import take_rows
from atari_vlm.world_models.code.matching import matches
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_local import LocalProgram

AHEAD = (1, 5, 15, 50)


@dataclass(frozen=True)
class AheadScore:
    """After so many steps: of ``count`` beginnings the share whose ``state`` is right, and whose ``rewards`` all were."""

    count: int
    state: float
    rewards: float


def fidelity(
    program: Sandbox | LocalProgram,
    buffer: TransitionBuffer,
    *,
    ahead: tuple[int, ...] = AHEAD,
    most: int = 200,
    seed: int = 0,
) -> dict[int, AheadScore]:
    """For each number of steps ``ahead`` that some trajectory has, how many of (at most ``most``) beginnings end right.

    States are compared as by the scorers, rewards by ``isclose``. A row whose program raises keeps its state, and its rewards are
    wrong from there on. All beginnings are handed over together, so this is a measure of programs without memory only
    (``check_program``): another one could answer with what it saw.
    """
    for steps in ahead:
        check_count(ahead=steps)
    if not ahead:
        raise ConfigError("ahead is one or more numbers of steps")
    rows = _some_rows(len(buffer), most, seed)
    states, left = buffer.take(rows).states(), _steps_left(buffer)
    right, scores = np.ones(len(rows), bool), {}
    for step in range(max(ahead)):
        going = np.flatnonzero(left[rows] > step)
        if not len(going):
            break
        rows, right, states = rows[going], right[going], [states[i] for i in going.tolist()]
        played = program.step_rows(states, buffer.actions[rows + step], seed=seed + step)
        states = list(played.states)
        right &= np.isclose(played.rewards, buffer.rewards[rows + step])
        if step + 1 in ahead:
            scores[step + 1] = _score(buffer, rows + step, states, right)
    return scores


def _some_rows(n: int, most: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def _score(
    buffer: TransitionBuffer, rows: np.ndarray, states: list[Any], rewards: np.ndarray
) -> AheadScore:
    true = take_rows(buffer.next_observations, rows)
    parts = matches(buffer.observation_space, states, true)
    state = np.concatenate([part for _, part in parts], axis=1).all(axis=1)
    return AheadScore(len(rows), float(state.mean()), float(rewards.mean()))


def _steps_left(buffer: TransitionBuffer) -> np.ndarray:
    """How many transitions of its trajectory follow from each row on, that one included, int64 ``(N,)``."""
    ends = np.append(buffer.trajectory_starts[1:], len(buffer))
    lengths = ends - buffer.trajectory_starts
    return np.repeat(ends, lengths) - np.arange(len(buffer))
