"""A small game whose rules may change while it is played, models of it, and a writer that mends programs by counterexamples.

A ball falls from the top row to the bottom; a paddle there is pushed to the right or to the left. Caught is +1, missed -1, and
the next ball begins three columns further to the right. States are the ball's row and column and the paddle's column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import NoScores, Sampling
from atari_vlm.world_models.base import ModelStep, StartFrames

ROWS, COLUMNS, CELL = 5, 5, 4
PUSHES = np.array([0, 1, -1])  # NOOP, RIGHT, LEFT
EVERY = 3  # one step in so many pushes the paddle
STATES, ACTIONS = MultiDiscrete([ROWS, COLUMNS, COLUMNS]), Discrete(3)
PICTURES = Box(0, 255, (ROWS * CELL, COLUMNS * CELL, 3), np.uint8)


@dataclass(frozen=True)
class Rules:
    """``way``: 1, or -1 where pushes go the other way; ``speed``: rows that the ball falls a step, 1 or 2."""

    way: int = 1
    speed: int = 1

    def step(self, states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states int64 ``(B, 3)`` after a step, and the rewards ``(B,)``."""
        row, column, paddle = states.T
        paddle = np.clip(paddle + self.way * PUSHES[actions], 0, COLUMNS - 1)
        row = row + self.speed
        landed = row >= ROWS - 1
        rewards = np.where(landed, np.where(column == paddle, 1.0, -1.0), 0.0)
        row, column = np.where(landed, 0, row), np.where(landed, (column + 3) % COLUMNS, column)
        return np.stack([row, column, paddle], 1), rewards

    def program(self) -> str:
        """The same as a program."""
        return PROGRAM.format(way=self.way, speed=self.speed, rows=ROWS, columns=COLUMNS)


PROGRAM = """\
class Environment:
    WAY, SPEED = {way}, {speed}

    def set_state(self, state):
        self.row, self.column, self.paddle = (int(value) for value in state)

    def step(self, action):
        push = self.WAY * (0, 1, -1)[int(action)]
        self.paddle = min(max(self.paddle + push, 0), {columns} - 1)
        self.row, reward = self.row + self.SPEED, 0.0
        if self.row >= {rows} - 1:
            reward = 1.0 if self.column == self.paddle else -1.0
            self.row, self.column = 0, (self.column + 3) % {columns}
        return [self.row, self.column, self.paddle], reward, False
"""
OLD = Rules()
CHANGES = {
    "mirrored actions": Rules(-1, 1),
    "a ball twice as fast": Rules(1, 2),
    "both": Rules(-1, 2),
}


def play(before: Rules, after: Rules, change: int, steps: int, seed: int) -> TransitionBuffer:
    """One episode of ``steps``, whose rules change with step ``change``; every third step pushes, right and left in turns."""
    rng = np.random.default_rng(seed)
    state = np.array([[0, rng.integers(COLUMNS), rng.integers(2, COLUMNS - 2)]])
    first, states, rewards = int(rng.integers(EVERY)), [state], []
    turns = (np.arange(steps) + first) // EVERY % 2
    actions = np.where((np.arange(steps) + first) % EVERY == 0, 1 + turns, 0)
    for t in range(steps):
        state, reward = (before if t < change else after).step(state, actions[t : t + 1])
        states.append(state)
        rewards.append(float(reward[0]))
    rows, never = np.concatenate(states), np.zeros(steps, bool)
    return TransitionBuffer(
        rows[:-1],
        actions,
        rewards,
        rows[1:],
        never,
        never,
        env_id="ChangingCatch-v0",
        observation_space=STATES,
        action_space=ACTIONS,
    )


def drawn(states: np.ndarray) -> np.ndarray:
    """Pictures uint8 ``(B, 20, 20, 3)``: a white ball, a green paddle in the last row."""
    cells = np.zeros((len(states), ROWS, COLUMNS, 3), np.uint8)
    row, column, paddle = states.T
    cells[np.arange(len(states)), -1, paddle] = 92, 186, 92
    cells[np.arange(len(states)), row, column] = 236
    pictures: np.ndarray = cells.repeat(CELL, 1).repeat(CELL, 2)
    return pictures


def in_pictures(buffer: TransitionBuffer) -> TransitionBuffer:
    """The same play, seen."""
    return TransitionBuffer(
        drawn(buffer.observations),
        buffer.actions,
        buffer.rewards,
        drawn(buffer.next_observations),
        buffer.terminated,
        buffer.truncated,
        env_id=buffer.env_id,
        observation_space=PICTURES,
        action_space=ACTIONS,
    )


class SeenCatch:
    """The old rules as a model that reads and dreams pictures; in a share ``off`` of its steps it puts the ball beside its place,
    as a model that learned does.
    """

    frame_skip, reward_transform = 1, "none"
    observation_space, action_space = PICTURES, ACTIONS

    action_names = ("NOOP", "RIGHT", "LEFT")

    def __init__(self, off: float = 0.0):
        self.off = off

    @property
    def start(self) -> StartFrames:
        """Every column of a new ball with every place of the paddle."""
        ball, paddle = np.divmod(np.arange(COLUMNS**2), COLUMNS)
        pictures = drawn(np.stack([np.zeros_like(ball), ball, paddle], 1))
        return StartFrames(pictures[:, None], np.zeros((len(pictures), 0), np.int64))

    def init(
        self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator
    ) -> np.ndarray:
        """Ball and paddle as the last pictures show them."""
        cells = observations[:, -1, CELL // 2 :: CELL, CELL // 2 :: CELL]
        ball, paddle = (cells[..., 0] == 236), (cells[:, -1, :, 0] == 92)
        row, column = np.divmod(ball.reshape(len(ball), -1).argmax(1), COLUMNS)
        return np.stack([row, column, paddle.argmax(1)], 1)

    def step(
        self, state: np.ndarray, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[np.ndarray]:
        """A step of the old rules."""
        states, rewards = OLD.step(state, np.asarray(action))
        wrong = rng.random(len(states)) < self.off
        states[:, 1] = np.where(wrong, (states[:, 1] + 1) % COLUMNS, states[:, 1])
        return ModelStep(states, rewards.astype(np.float32), np.zeros(len(states), bool))

    def decode(self, state: np.ndarray) -> np.ndarray:
        """Its picture."""
        return drawn(state)


_NUMBERS = r"\[(\d+), (\d+), (\d+)\]"
_MISPREDICTED = re.compile(
    rf"State before the step: {_NUMBERS}\nAction: (\d)\n\nWhat really happened:\n- state: {_NUMBERS}\n- reward: (\S+)"
)


class CatchWriter(NoScores):
    """Writes the program with the first rules that explain the step it is shown, and are not those of the program it is shown.

    It sees what a language model sees: the question. One step may leave more than one explanation; the next one decides.
    """

    name, capabilities = "catch-writer", frozenset[Any]()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """A program in a block."""
        question = messages[-1].text
        shown = _MISPREDICTED.search(question)
        written = OLD.program()
        for rules in (OLD, *CHANGES.values()):
            if rules.program().strip() not in question and (
                shown is None or _explains(rules, shown)
            ):
                written = rules.program()
                break
        return Reply(
            f"The rules are others now.\n```python\n{written}```\n", self.name, cost_usd=0.0
        )


def _explains(rules: Rules, shown: re.Match[str]) -> bool:
    numbers = [int(shown[i]) for i in range(1, 8)]
    states, rewards = rules.step(np.array([numbers[:3]]), np.array([numbers[3]]))
    return states[0].tolist() == numbers[4:] and float(rewards[0]) == float(shown[8])
