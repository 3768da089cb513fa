"""Playing whole games that teach nothing: evaluation, and the episodes that are kept of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atari_vlm.actions import Action
from atari_vlm.experience.episodes import Episode
from atari_vlm.training.imagination.games import TrainingGame
from atari_vlm.training.imagination.lanes import Drawing, GameStep, Lanes, Returns
from atari_vlm.world_models.learned.learner import Policy


@dataclass(frozen=True)
class Playing:
    """How games are played: ``lanes`` side by side, actions drawn with ``generator`` at ``temperature``.

    ``explore`` may replace the action of a game; ``watch`` gets every step and which game it is of.
    """

    generator: torch.Generator | None
    temperature: float
    lanes: int = 8
    watch: Callable[[int, GameStep], None] = lambda row, step: None
    explore: Callable[[int, Action], Action] | None = None


def play_games(
    make_game: Callable[[], TrainingGame],
    policy: Policy[Any],
    seeds: Sequence[int],
    playing: Playing,
) -> Returns:
    """Play one game per seed to its end; results are in the order of the seeds.

    A lane whose game has ended goes on with the next one.
    """
    waiting = deque(range(len(seeds)))
    totals, lengths = [0.0] * len(seeds), [0] * len(seeds)
    lanes = Lanes([make_game() for _ in range(min(playing.lanes, len(seeds)))], policy)
    explore, rows = (
        playing.explore,
        [waiting.popleft() for _ in lanes.games],
    )  # the game of each lane

    def of_lane(lane: int, action: Action) -> Action:
        assert explore is not None
        return explore(rows[lane], action)

    drawing = Drawing(
        playing.generator, playing.temperature, of_lane if explore is not None else None
    )
    try:
        for lane, row in enumerate(rows):
            lanes.begin(lane, seeds[row])
        while rows:
            over = []
            for step in lanes.step(drawing):
                row = rows[step.lane]
                totals[row], lengths[row] = totals[row] + step.reward, lengths[row] + 1
                playing.watch(row, step)
                over += [step.lane] if step.over else []
            _refill(lanes, rows, over, waiting, seeds)
    finally:
        lanes.close()
    return Returns(totals, lengths)


def _refill(
    lanes: Lanes, rows: list[int], over: Sequence[int], waiting: deque[int], seeds: Sequence[int]
) -> None:
    """Begin a waiting game in each lane whose game is over; lanes without one are closed."""
    left = set(over)
    for lane in over[: len(waiting)]:
        rows[lane] = waiting.popleft()
        lanes.begin(lane, seeds[rows[lane]])
        left.discard(lane)
    if left:
        kept = [lane for lane in range(len(rows)) if lane not in left]
        for lane in left:
            lanes.games[lane].close()
        lanes.keep(kept)
        rows[:] = [rows[lane] for lane in kept]


class EpisodeKeeper:
    """Watches :func:`play_games`; keeps the first ``steps`` steps of the first ``games`` games."""

    def __init__(self, games: int, steps: int):
        self._kept: list[list[GameStep]] = [[] for _ in range(games)]
        self._steps = steps

    def see(self, row: int, step: GameStep) -> None:
        """Take in a step of a game."""
        if row < len(self._kept) and len(self._kept[row]) < self._steps:
            self._kept[row].append(step)

    def episodes(self) -> list[Episode]:
        """What was seen, in the order of the games."""
        return [episode_of(steps) for steps in self._kept if steps]


def episode_of(steps: Sequence[GameStep], **told: Any) -> Episode:
    """The episode that some steps of a game are; ``told`` is what else is known of it (``action_names``, ``seed``)."""
    observations = [*(step.observation for step in steps), steps[-1].next_observation]
    flags = (
        [getattr(step, name) for step in steps] for name in ("terminated", "truncated", "lost_life")
    )
    return Episode(
        {name: np.stack([each[name] for each in observations]) for name in observations[0]},
        np.array([step.action for step in steps]),
        np.array([step.reward for step in steps], np.float32),
        *(np.array(flag, np.bool_) for flag in flags),
        **told,
    )
