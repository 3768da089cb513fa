"""A game whose rules stand in a manual: which tool beats which creature cannot be guessed, only read (or tried out).

Four rows of four cells hold the player, two creatures and two tools. One creature belongs to the river clan, the other to the
hill clan; for each lies the one tool that beats it. The manual, ``data/environments/rtfm.md``, says who is of which clan and what
beats whom. It is the same in every episode, nothing moves but the player, and nothing is random but where everything begins.

The idea of such games is that of RTFM (Zhong et al. 2020, arXiv 1910.08210); rules, creatures and manual are our own.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

SIZE = 4
EMPTY, PLAYER, COPPER_ROD, SALT_POUCH, GLASS_BELL, PINE_TORCH, BRASK, DOLM, QUILL, VESH = range(10)
BEATEN_BY = {BRASK: GLASS_BELL, DOLM: SALT_POUCH, QUILL: PINE_TORCH, VESH: COPPER_ROD}
RIVER_CLAN, HILL_CLAN = (BRASK, VESH), (DOLM, QUILL)
MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # wait, up, down, left, right
Observation = dict[str, Any]


class ManualGame(gymnasium.Env[Observation, int]):
    """The game as an environment.

    Observations are ``board`` int64 ``(4, 4)`` of the numbers above, and ``held``, the tool in the player's hand (0: none).
    Actions are 0 wait, 1 up, 2 down, 3 left, 4 right. The reward is +1 for the river clan's creature beaten, -1 for a fight lost,
    else 0; the first two end the episode. There is no step limit of its own.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"]}  # type: ignore[misc]

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        board = Box(0, VESH, (SIZE, SIZE), np.int64)
        self.observation_space = Dict({"board": board, "held": Discrete(PINE_TORCH + 1)})  # type: ignore[assignment]
        self.action_space = Discrete(len(MOVES))  # type: ignore[assignment]
        self._board, self._held = np.zeros((SIZE, SIZE), np.int64), EMPTY

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Five things on five different cells: the player, a creature of each clan, and what beats each."""
        super().reset(seed=seed)
        creatures = [int(self.np_random.choice(clan)) for clan in (RIVER_CLAN, HILL_CLAN)]
        things = [PLAYER, *creatures, *(BEATEN_BY[creature] for creature in creatures)]
        cells = self.np_random.permutation(SIZE * SIZE)[: len(things)]
        self._board = np.zeros((SIZE, SIZE), np.int64)
        self._board.flat[cells] = things
        self._held = EMPTY
        return self._observation(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One move of the player."""
        row, column = np.argwhere(self._board == PLAYER)[0].tolist()
        down, right = MOVES[int(action)]
        to = min(max(row + down, 0), SIZE - 1), min(max(column + right, 0), SIZE - 1)
        met = int(self._board[to])
        if met in BEATEN_BY and self._held != BEATEN_BY[met]:
            return self._observation(), -1.0, True, False, {}
        if met not in (EMPTY, PLAYER) and met not in BEATEN_BY:
            self._held = met
        self._board[row, column] = EMPTY
        self._board[to] = PLAYER
        won = met in RIVER_CLAN
        return self._observation(), float(won), won, False, {}

    def render(self) -> Any:
        """The board as four lines of numbers, and the number of what is held."""
        rows = [" ".join(map(str, row)) for row in self._board.tolist()]
        return "\n".join([*rows, f"held: {self._held}"]) if self.render_mode == "ansi" else None

    def _observation(self) -> Observation:
        return {"board": self._board.copy(), "held": self._held}
