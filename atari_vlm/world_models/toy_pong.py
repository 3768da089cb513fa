"""One-paddle Pong: an exact tiny game in which one picture does not say everything; it takes two to see where the ball flies.

A ball moves one cell diagonally a step and bounces off the top and the sides. A paddle of two cells on the bottom row moves left
or right. Returning the ball gives +1, and it flies up: to the left from the paddle's left half, to the right from its right
half (away from the wall beside a wall). Missing it gives -1 and ends the episode, as does the last of ``num_returns`` returns.
The best return is ``num_returns``, within reach from every start frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.catch import check_cells, whole_numbers
from atari_vlm.world_models.checkpoint import Checkpoint

ACTION_NAMES = ("NOOP", "RIGHT", "LEFT")
_MOVES = np.array([0, 1, -1])
_BALL, _PADDLE = np.array([236, 236, 236], np.uint8), np.array([92, 186, 92], np.uint8)


@dataclass(frozen=True)
class SoloPongState:
    """Int64 ``(B,)`` each; ``over`` bool ``(B,)``. ``down`` and ``right`` are the ball's next move, +1 or -1 each; ``paddle`` is
    the column of the paddle's left half; ``returns_left`` is how many returns the episode still has.
    """

    ball_row: np.ndarray
    ball_column: np.ndarray
    down: np.ndarray
    right: np.ndarray
    paddle: np.ndarray
    returns_left: np.ndarray
    over: np.ndarray


class SoloPongWorldModel:
    """The exact world model of one-paddle Pong. Implements :class:`~atari_vlm.world_models.base.WorldModel`.

    Observations are uint8 ``(rows * cell_px, columns * cell_px, 3)``; actions are NOOP, RIGHT, LEFT. Nothing is random after the
    start. An episode takes at most ``rows - 2 + 2 * (rows - 1) * (num_returns - 1)`` steps (34 by default, where random actions
    earn -0.56 on average). A row that is over stays as it is with reward 0.
    """

    frame_skip = 1
    reward_transform = "none"
    action_names = ACTION_NAMES
    context_length = 2

    def __init__(self, rows: int = 8, columns: int = 8, *, cell_px: int = 8, num_returns: int = 3):
        check_positive(cell_px=cell_px, num_returns=num_returns)
        if columns < 3 or rows < 3 or rows - 2 < (columns - 1) // 2:
            raise ConfigError(
                "one-paddle Pong needs at least 3 rows and 3 columns, and rows - 2 >= (columns - 1) // 2 for the paddle to "
                f"reach every ball, got {rows} x {columns}"
            )
        self.rows, self.columns, self.cell_px, self.num_returns = (
            rows,
            columns,
            cell_px,
            num_returns,
        )
        check_cells(rows, columns, cell_px, num_returns)
        shape = (rows * cell_px, columns * cell_px, 3)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(len(ACTION_NAMES))

    @property
    def start(self) -> StartFrames:
        """Two pictures each: a ball in the top row, every column and direction once, and where it is after a NOOP.

        The paddle is in the middle. The outermost columns have one direction each, so there are ``2 * columns - 2`` starts.
        """
        column, right = np.divmod(np.arange(1, 2 * self.columns - 1), 2)
        n = len(column)
        top = SoloPongState(
            ball_row=np.zeros(n, np.int64),
            ball_column=column,
            down=np.ones(n, np.int64),
            right=2 * right - 1,
            paddle=np.full(n, (self.columns - 2) // 2),
            returns_left=np.full(n, self.num_returns),
            over=np.zeros(n, bool),
        )
        actions = np.zeros((n, 1), np.int64)
        following = self.step(top, actions[:, 0], rng=np.random.default_rng(0)).state
        return StartFrames(np.stack([self.decode(top), self.decode(following)], 1), actions)

    def init(
        self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator
    ) -> SoloPongState:
        """Read ball and paddle from the last picture of each row, and the ball's direction from the last two.

        All ``num_returns`` are taken to be left, unless the picture shows a ball that was missed: then the row is over. With one
        picture, what walls and paddle do not decide is taken to be down and right. Raises ``ConfigError`` for a picture that
        shows no ball or no paddle, and for two of which the second does not follow the first.
        """
        row, column, paddle, missed = self._read(np.asarray(observations)[:, -1])
        down, right = np.ones_like(row), np.ones_like(row)
        if np.shape(observations)[1] > 1:
            row_before, column_before, _, _ = self._read(np.asarray(observations)[:, -2])
            down, right = row - row_before, column - column_before
            if (abs(down) != 1).any() or (abs(right) != 1).any():
                raise ConfigError(
                    "not successive pictures of one-paddle Pong: the ball moves one cell diagonally"
                )
        state = SoloPongState(
            row, column, down, right, paddle, np.full(len(row), self.num_returns), missed
        )
        return self._bounced(state)

    def step(
        self, state: SoloPongState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[SoloPongState]:
        """Move paddle and ball."""
        live = ~state.over
        paddle = np.clip(state.paddle + _MOVES[np.asarray(action)] * live, 0, self.columns - 2)
        row, column = state.ball_row + state.down * live, state.ball_column + state.right * live
        landed = (row == self.rows - 1) & live
        returned = landed & ((column == paddle) | (column == paddle + 1))
        reward = (1.0 * returned - 1.0 * (landed & ~returned)).astype(np.float32)
        left = state.returns_left - returned
        over = state.over | (landed & ~returned) | (left == 0)
        following = self._bounced(
            SoloPongState(row, column, state.down, state.right, paddle, left, over)
        )
        return ModelStep(following, reward, over.copy())

    def decode(self, state: SoloPongState) -> np.ndarray:
        """Pictures uint8 ``(B, H, W, 3)``: a grey ball over a green paddle on black (the ball wins where they meet)."""
        each = np.arange(len(state.over))
        cells = np.zeros((len(each), self.rows, self.columns, 3), np.uint8)
        cells[each, -1, state.paddle] = cells[each, -1, state.paddle + 1] = _PADDLE
        cells[each, state.ball_row, state.ball_column] = _BALL
        return cells.repeat(self.cell_px, 1).repeat(self.cell_px, 2)

    def _bounced(self, state: SoloPongState) -> SoloPongState:
        """The same with the next move of a ball that is at a wall or in the bottom row."""
        low, column = state.ball_row == self.rows - 1, state.ball_column
        down = np.where(low, -1, np.where(state.ball_row == 0, 1, state.down))
        right = np.where(low, np.where(column <= state.paddle, -1, 1), state.right)
        right = np.where(column == 0, 1, np.where(column == self.columns - 1, -1, right))
        return replace(state, down=down, right=right)

    def _read(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of the ball, column of the paddle's left half, int64 ``(B,)``, and whether the ball was missed."""
        cells = pictures[:, self.cell_px // 2 :: self.cell_px, self.cell_px // 2 :: self.cell_px]
        ball, paddle = (cells == _BALL).all(-1), (cells == _PADDLE).all(-1)  # (B, rows, columns)
        if (
            cells.shape[1:3] != (self.rows, self.columns)
            or not (ball.any((1, 2)) & paddle.any((1, 2))).all()
        ):
            raise ConfigError(
                f"not pictures of one-paddle Pong with {self.rows} x {self.columns} cells: no ball or no paddle"
            )
        row, column = np.divmod(ball.reshape(len(ball), -1).argmax(1), self.columns)
        first, visible_cells = paddle[:, -1].argmax(1), paddle[:, -1].sum(1)
        hidden_left = (visible_cells == 1) & (row == self.rows - 1) & (column == first - 1)
        missed = (row == self.rows - 1) & (visible_cells == 2)
        return row, column, first - hidden_left, missed


def load(checkpoint: Checkpoint) -> SoloPongWorldModel:
    """The game of a checkpoint, whose config has ``rows``, ``columns``, ``cell_px`` and ``num_returns``."""
    names = ("rows", "columns", "cell_px", "num_returns")
    return SoloPongWorldModel(**whole_numbers(checkpoint, names, "one-paddle Pong"))
