"""Catch: a tiny game whose exact model fits in one file; the reference for everything that plans or dreams.

A ball falls one row a step; a paddle on the bottom row moves left or right. Catching the ball gives +1, missing it -1; after
``num_balls`` balls the episode ends. The best return is ``num_balls``; a paddle that never moves catches one ball in
``columns``. After bsuite's and dm_env's Catch (Mnih et al. 2014, "Recurrent Models of Visual Attention").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint import Checkpoint

ACTION_NAMES = ("NOOP", "RIGHT", "LEFT")
_MOST_BYTES, _MOST_ROUNDS = 1 << 28, 10**9
_MOVES = np.array([0, 1, -1])
_BALL, _PADDLE = np.array([236, 236, 236], np.uint8), np.array([92, 186, 92], np.uint8)


@dataclass(frozen=True)
class CatchState:
    """Int64 ``(B,)`` each; ``over`` bool ``(B,)``. ``balls_left`` counts the one in the air."""

    ball_row: np.ndarray
    ball_column: np.ndarray
    paddle: np.ndarray
    balls_left: np.ndarray
    over: np.ndarray


class CatchWorldModel:
    """The exact world model of Catch. Implements :class:`~atari_vlm.world_models.base.WorldModel`.

    Observations are uint8 ``(rows * cell_px, columns * cell_px, 3)``; actions are NOOP, RIGHT, LEFT. A row that is over stays
    over with reward 0.
    """

    frame_skip = 1
    reward_transform = "none"
    action_names = ACTION_NAMES

    def __init__(self, rows: int = 8, columns: int = 8, *, cell_px: int = 8, num_balls: int = 1):
        check_positive(cell_px=cell_px, num_balls=num_balls)
        if rows < 3 or columns < 2:
            raise ConfigError(f"Catch needs at least 3 rows and 2 columns, got {rows} x {columns}")
        self.rows, self.columns, self.cell_px, self.num_balls = rows, columns, cell_px, num_balls
        check_cells(rows, columns, cell_px, num_balls)
        shape = (rows * cell_px, columns * cell_px, 3)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(len(ACTION_NAMES))

    @property
    def start(self) -> StartFrames:
        """Every ball column with the paddle in the middle."""
        n = self.columns
        state = CatchState(
            ball_row=np.zeros(n, np.int64),
            ball_column=np.arange(n),
            paddle=np.full(n, n // 2),
            balls_left=np.full(n, self.num_balls),
            over=np.zeros(n, bool),
        )
        return StartFrames(self.decode(state)[:, None], np.zeros((n, 0), np.int64))

    def init(
        self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator
    ) -> CatchState:
        """Read ball and paddle from the last picture of each row; all ``num_balls`` are taken to be left.

        Raises ``ConfigError`` for a picture that shows no ball or no paddle.
        """
        cells = np.asarray(observations)[
            :, -1, self.cell_px // 2 :: self.cell_px, self.cell_px // 2 :: self.cell_px
        ]
        ball, paddle = (cells == _BALL).all(-1), (cells == _PADDLE).all(-1)  # (B, rows, columns)
        if (
            cells.shape[1:3] != (self.rows, self.columns)
            or not (ball.any((1, 2)) & paddle.any((1, 2))).all()
        ):
            raise ConfigError(
                f"not pictures of Catch with {self.rows} x {self.columns} cells: no ball or no paddle"
            )
        row, column = np.divmod(ball.reshape(len(ball), -1).argmax(1), self.columns)
        return CatchState(
            ball_row=row,
            ball_column=column,
            paddle=paddle[:, -1].argmax(1),
            balls_left=np.full(len(ball), self.num_balls),
            over=np.zeros(len(ball), bool),
        )

    def step(
        self, state: CatchState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[CatchState]:
        """Move paddle and ball. ``rng`` places the next ball; one number is drawn per row whether it is needed or not."""
        next_column = rng.integers(self.columns, size=len(state.over))
        paddle = np.clip(state.paddle + _MOVES[np.asarray(action)], 0, self.columns - 1)
        row = state.ball_row + 1
        landed = (row == self.rows - 1) & ~state.over
        reward = np.where(landed, np.where(state.ball_column == paddle, 1.0, -1.0), 0.0).astype(
            np.float32
        )
        balls_left = state.balls_left - landed
        over = state.over | (balls_left == 0)
        again = landed & ~over
        following = CatchState(
            ball_row=np.where(state.over, state.ball_row, np.where(again, 0, row)),
            ball_column=np.where(again, next_column, state.ball_column),
            paddle=np.where(state.over, state.paddle, paddle),
            balls_left=balls_left,
            over=over,
        )
        return ModelStep(following, reward, over.copy())

    def decode(self, state: CatchState) -> np.ndarray:
        """Pictures uint8 ``(B, H, W, 3)``: a grey ball over a green paddle on black (the ball wins where they meet)."""
        n = len(state.over)
        cells = np.zeros((n, self.rows, self.columns, 3), np.uint8)
        cells[np.arange(n), -1, state.paddle] = _PADDLE
        cells[np.arange(n), state.ball_row, state.ball_column] = _BALL
        return cells.repeat(self.cell_px, 1).repeat(self.cell_px, 2)


def check_cells(rows: int, columns: int, cell_px: int, count: int) -> None:
    """Raise ``ConfigError`` unless a toy game's pictures, one for each column at its start, are of a size for tests."""
    if columns * (rows * cell_px) * (columns * cell_px) * 3 > _MOST_BYTES or count > _MOST_ROUNDS:
        raise ConfigError(
            f"a toy game of {rows} x {columns} cells of {cell_px} pixels for {count} rounds is too large: its first pictures "
            f"take at most {_MOST_BYTES:,} bytes, and there are at most {_MOST_ROUNDS:,} rounds"
        )


def whole_numbers(checkpoint: Checkpoint, names: Sequence[str], game: str) -> dict[str, int]:
    """The sizes of a toy game as its checkpoint has them; ``ConfigError`` for one that is no whole number."""
    sizes = {name: checkpoint.config.get(name) for name in names}
    if any(type(size) is not int for size in sizes.values()):
        raise ConfigError(
            f"a checkpoint of {game} has whole numbers for {', '.join(sizes)}, got {sizes}"
        )
    return sizes  # type: ignore[return-value]


def load(checkpoint: Checkpoint) -> CatchWorldModel:
    """The Catch of a checkpoint, whose config has ``rows``, ``columns``, ``cell_px`` and ``num_balls``."""
    names = ("rows", "columns", "cell_px", "num_balls")
    return CatchWorldModel(**whole_numbers(checkpoint, names, "Catch"))
