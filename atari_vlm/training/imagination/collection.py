"""Real play: collecting experience, and evaluation that never teaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.replay import Replay
from atari_vlm.runs.seeds import train_seed
from atari_vlm.training.imagination.games import Moved, RemGame
from atari_vlm.world_models.learned.learner import Policy


@dataclass(frozen=True)
class Exploring:
    """How the collector chooses: the policy at ``temperature``, a random action with chance ``epsilon``."""

    epsilon: float
    temperature: float


@dataclass(frozen=True)
class Returns:
    """Undiscounted return and length of each finished game, in order."""

    returns: list[float]
    lengths: list[int]


class Collector:
    """Plays one game after another into the replay. What was executed is kept, and told the policy."""

    def __init__(self, game: RemGame, policy: Policy[Any], seed: int):
        self.game, self.policy, self.seed, self.state = game, policy, seed, policy.begin(1)
        self._index = -1  # of the game; its seed follows from it
        self._actions: list[int] = []
        self._return = 0.0

    def collect(
        self,
        steps: int,
        replay: Replay,
        exploring: Exploring,
        random: tuple[np.random.Generator, torch.Generator],
        on_step: Callable[[], None] = lambda: None,
    ) -> Returns:
        """Play so many steps; games and lives go on over calls. ``random`` decides exploration and the policy's draws."""
        rng, generator = random
        done = Returns([], [])
        for _ in range(steps):
            if self._index < 0:
                self._next_game()
            frame = self.game.frame
            actions, self.state = self.policy.act(
                {"image": frame[None]}, self.state, generator=generator, temperature=exploring.temperature
            )
            action = int(actions[0])
            if rng.random() < exploring.epsilon:
                action = int(rng.integers(self.game.num_actions))
            moved = self.game.step(action)
            self.state = self.policy.executed(np.array([action]), self.state)
            self._actions.append(action)
            self._return += moved.reward
            step = {
                "image": frame,
                "action": action,
                "reward": moved.reward,
                "terminated": moved.terminated or moved.lost_life,
                "truncated": moved.truncated,
            }
            replay.add(step)
            if moved.lost_life:
                self.state = self.policy.begin(1)
            if moved.terminated or moved.truncated:
                done.returns.append(self._return)
                done.lengths.append(len(self._actions))
                self._next_game()
            on_step()
        return done

    def _next_game(self) -> None:
        self._index += 1
        self.game.reset(train_seed(self.seed, self._index))
        self.state = self.policy.begin(1)
        self._actions, self._return = [], 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        """The game that is going on, as the actions since its beginning, and the policy's memory."""
        return {
            "collector.index": np.array([self._index]),
            "collector.actions": np.array(self._actions, np.int64),
            "collector.memory": torch.stack(self.state).cpu().numpy(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Play the saved game again up to where it was."""
        self._index, self._return = int(arrays["collector.index"][0]), 0.0
        self._actions = arrays["collector.actions"].tolist()
        memory = zip(arrays["collector.memory"], self.policy.begin(1), strict=True)
        if self._index >= 0:
            self.game.reset(train_seed(self.seed, self._index))
            for action in self._actions:
                self._return += self.game.step(action).reward
        self.state = tuple(torch.from_numpy(part).to(leaf.device) for part, leaf in memory)


@dataclass(frozen=True)
class Seen:
    """One step of game ``row``: ``action`` on the picture ``frame``, and the picture ``after`` it, both uint8 ``(H, W, 3)``."""

    row: int
    frame: np.ndarray
    action: int
    moved: Moved
    after: np.ndarray

    @property
    def over(self) -> bool:
        """Whether this was the game's last step."""
        return self.moved.terminated or self.moved.truncated


@dataclass(frozen=True)
class Playing:
    """How games are played: actions drawn with ``generator`` at ``temperature``, ``lanes`` games side by side; ``watch`` is told
    every step.
    """

    generator: torch.Generator
    temperature: float
    lanes: int = 8
    watch: Callable[[Seen], None] = lambda seen: None


def play_games(
    make_game: Callable[[], RemGame], policy: Policy[Any], seeds: Sequence[int], playing: Playing
) -> Returns:
    """Play one game per seed to its end, row ``i`` with the ``i``-th seed; nothing is remembered beyond the game."""
    found = Returns([], [])
    games = [make_game() for _ in range(min(playing.lanes, len(seeds)))]
    try:
        for begin in range(0, len(seeds), len(games)):
            some = list(enumerate(seeds))[begin : begin + len(games)]
            _play_side_by_side(games[: len(some)], policy, some, playing, found)
    finally:
        for game in games:
            game.close()
    return found


def _play_side_by_side(
    games: Sequence[RemGame], policy: Policy[Any], rows: Sequence[tuple[int, int]], playing: Playing, found: Returns
) -> None:
    for game, (_, seed) in zip(games, rows, strict=True):
        game.reset(seed)
    state = policy.begin(len(games))
    totals, over = np.zeros(len(games)), np.zeros(len(games), bool)
    while not over.all():
        frames = np.stack([game.frame for game in games])
        actions, state = policy.act(
            {"image": frames}, state, generator=playing.generator, temperature=playing.temperature
        )
        for i in np.flatnonzero(~over).tolist():
            moved = games[i].step(int(actions[i]))
            totals[i] += moved.reward
            over[i] = moved.terminated or moved.truncated
            playing.watch(Seen(rows[i][0], frames[i], int(actions[i]), moved, games[i].frame))
        state = policy.executed(actions, state)
    found.returns.extend(totals.tolist())
    found.lengths.extend(game.steps for game in games)


@dataclass
class _Kept:
    pictures: list[np.ndarray] = field(default_factory=list)
    steps: list[tuple[int, float, bool, bool, bool]] = field(default_factory=list)


class EpisodeKeeper:
    """Watches :func:`play_games`; keeps the first ``steps`` steps of the first ``games`` games."""

    def __init__(self, games: int, steps: int):
        self._kept = [_Kept() for _ in range(games)]
        self._steps = steps

    def see(self, seen: Seen) -> None:
        """Take in a step."""
        kept = self._kept[seen.row] if seen.row < len(self._kept) else None
        if kept is not None and len(kept.steps) < self._steps:
            kept.pictures += [seen.after] if kept.pictures else [seen.frame, seen.after]
            moved = seen.moved
            kept.steps.append((seen.action, moved.reward, moved.terminated, moved.truncated, moved.lost_life))

    def episodes(self) -> list[Episode]:
        """What was seen, in the order of the games."""
        return [_episode(kept) for kept in self._kept if kept.steps]


def _episode(kept: _Kept) -> Episode:
    actions, rewards, *flags = zip(*kept.steps, strict=True)
    columns = (np.array(flag, np.bool_) for flag in flags)
    return Episode({"image": np.stack(kept.pictures)}, np.array(actions, np.int64), np.array(rewards, np.float32), *columns)
