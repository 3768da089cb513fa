"""Real play: collecting experience, and evaluation that never teaches.

Both step games side by side in :class:`Lanes`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from atari_vlm.actions import Action, random_actions
from atari_vlm.errors import MismatchError
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.replay import Replay
from atari_vlm.runs.seeds import train_seed
from atari_vlm.training.imagination.games import LOST_LIFE, Game
from atari_vlm.world_models.base import map_leaves, put_rows, take_rows
from atari_vlm.world_models.learned.learner import Policy

Observation = dict[str, np.ndarray]
_MEMORY = "collector.memory"


@dataclass(frozen=True)
class Step:
    """One step of a game: what was seen, what was done, and what followed.

    ``lost_life`` ends nothing but a learner's episode.
    """

    lane: int
    observation: Observation
    action: Action
    reward: float
    terminated: bool
    truncated: bool
    lost_life: bool
    next_observation: Observation

    @property
    def over(self) -> bool:
        """Whether this was the game's last step."""
        return self.terminated or self.truncated

    def columns(self, life_loss_ends: bool = True) -> dict[str, Any]:
        """As a replay takes it; with ``life_loss_ends`` a lost life terminates."""
        ends = self.terminated or (life_loss_ends and self.lost_life)
        followed = {"reward": self.reward, "terminated": ends, "truncated": self.truncated}
        return {**self.observation, "action": self.action, **followed}


@dataclass(frozen=True)
class Drawing:
    """Actions are the policy's, drawn with ``generator`` at ``temperature``, or a lane's ``explore``."""

    generator: torch.Generator | None
    temperature: float
    explore: Callable[[int, Action], Action] | None = None


class Lanes:
    """Games side by side and their one player, whose state has a row a game: the loop of play."""

    def __init__(self, games: Sequence[Game], policy: Policy[Any]):
        self.games, self.policy = list(games), policy
        self.state = policy.begin(len(self.games))
        self.observations: list[Observation] = [{} for _ in self.games]

    def begin(self, lane: int, seed: int) -> None:
        """Begin a game."""
        self.observations[lane], _ = self.games[lane].reset(seed=seed)
        self.forget(lane)

    def forget(self, lane: int) -> None:
        """Give the player the state of an episode's beginning."""
        self.state = put_rows(self.state, [lane], self.policy.begin(1))

    def keep(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes alone."""
        self.games, self.observations = (
            [self.games[i] for i in lanes],
            [self.observations[i] for i in lanes],
        )
        self.state = take_rows(self.state, lanes)

    def step(self, drawing: Drawing) -> list[Step]:
        """Play one step of every game; the player is told what was executed. Ends are the caller's."""
        seen = {
            name: np.stack([shown[name] for shown in self.observations])
            for name in self.policy.inputs
        }
        actions, state = self.policy.act(
            seen, self.state, generator=drawing.generator, temperature=drawing.temperature
        )
        if drawing.explore is not None:
            actions = np.stack(
                [np.asarray(drawing.explore(i, action)) for i, action in enumerate(actions)]
            )
        steps = [self._step(lane, action) for lane, action in enumerate(actions)]
        self.state = self.policy.executed(actions, state)
        return steps

    def _step(self, lane: int, action: Any) -> Step:
        played = action.item() if action.ndim == 0 else action
        before = self.observations[lane]
        after, reward, terminated, truncated, info = self.games[lane].step(played)
        self.observations[lane] = after
        return Step(lane, before, played, reward, terminated, truncated, info[LOST_LIFE], after)

    def close(self) -> None:
        """Close the games."""
        for game in self.games:
            game.close()


@dataclass(frozen=True)
class Exploring:
    """How the collector chooses: the policy at ``temperature``, a random action with chance ``epsilon``.

    With ``life_loss_ends`` a lost life ends the learner's episode.
    """

    epsilon: float
    temperature: float
    life_loss_ends: bool = True


@dataclass(frozen=True)
class Returns:
    """Undiscounted return and length of each finished game, in order."""

    returns: list[float]
    lengths: list[int]


@dataclass
class _Going:
    """The game that goes on in a lane: which one (its seed follows), and what was done in it."""

    index: int
    actions: list[Action] = field(default_factory=list)
    total: float = 0.0


class Collector:
    """Plays one game after another into the replay, in every lane; what was executed is kept."""

    def __init__(self, games: Sequence[Game], policy: Policy[Any], seed: int):
        self.lanes, self.seed = Lanes(games, policy), seed
        self._going = [_Going(-1) for _ in games]

    def collect(
        self,
        steps: int,
        replay: Replay,
        exploring: Exploring,
        random: tuple[np.random.Generator, torch.Generator],
        on_step: Callable[[], None] = lambda: None,
    ) -> Returns:
        """Play ``steps`` steps, an equal share in each lane; games and lives go on over calls.

        ``random`` decides exploration and the policy's draws.
        """
        rng, generator = random
        space = self.lanes.games[0].action_space

        def explore(_: int, action: Action) -> Action:
            return random_actions(space, (), rng) if rng.random() < exploring.epsilon else action

        done = Returns([], [])
        for lane, going in enumerate(self._going):
            if going.index < 0:
                self._next_game(lane)
        for _ in range(steps // len(self._going)):
            for step in self.lanes.step(Drawing(generator, exploring.temperature, explore)):
                replay.add(step.columns(exploring.life_loss_ends), step.lane)
                self._note(step, exploring, done)
                on_step()
        return done

    def _note(self, step: Step, exploring: Exploring, done: Returns) -> None:
        going = self._going[step.lane]
        going.actions.append(step.action)
        going.total += step.reward
        if step.over:
            done.returns.append(going.total)
            done.lengths.append(len(going.actions))
            self._next_game(step.lane)
        elif step.lost_life and exploring.life_loss_ends:
            self.lanes.forget(step.lane)

    def _next_game(self, lane: int) -> None:
        index = max(going.index for going in self._going) + 1
        self._going[lane] = _Going(index)
        self.lanes.begin(lane, train_seed(self.seed, index))

    def arrays(self) -> dict[str, np.ndarray]:
        """The games that go on, as the actions since their beginnings, and the policy's state."""
        space = self.lanes.games[0].action_space
        actions = [action for going in self._going for action in going.actions]
        arrays = {
            "collector.index": np.array([going.index for going in self._going]),
            "collector.actions": np.array(actions, space.dtype).reshape(-1, *(space.shape or ())),
            **packed(self.lanes.state),
        }
        if len(self._going) > 1:
            arrays["collector.lengths"] = np.array([len(going.actions) for going in self._going])
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Play the saved games again up to where they were."""
        indices, actions = arrays["collector.index"], arrays["collector.actions"]
        if len(indices) != len(self._going):
            raise MismatchError(
                f"the checkpoint has {len(indices)} games side by side, the run {len(self._going)}"
            )
        lengths = arrays.get("collector.lengths", np.array([len(actions)]))
        played = np.split(actions, np.cumsum(lengths)[:-1])
        for lane, (index, part) in enumerate(zip(indices.tolist(), played, strict=True)):
            self._going[lane] = _Going(index, list(part) if part.ndim > 1 else part.tolist())
            if index >= 0:
                self._replay(lane)
        self.lanes.state = unpacked(arrays, self.lanes.policy.begin(len(self._going)))

    def _replay(self, lane: int) -> None:
        going, game = self._going[lane], self.lanes.games[lane]
        observation, _ = game.reset(seed=train_seed(self.seed, going.index))
        for action in going.actions:
            observation, reward, *_ = game.step(action)
            going.total += reward
        self.lanes.observations[lane] = observation


def packed(state: Any) -> dict[str, np.ndarray]:
    """A policy's state as arrays: its leaves as one array where they are alike, else one each."""
    leaves: list[np.ndarray] = []
    map_leaves(
        lambda leaf: leaves.append(
            np.asarray(leaf.cpu() if isinstance(leaf, torch.Tensor) else leaf)
        ),
        state,
    )
    if leaves and len({(leaf.shape, leaf.dtype) for leaf in leaves}) == 1:
        return {_MEMORY: np.stack(leaves)}
    return {f"{_MEMORY}.{number}": leaf for number, leaf in enumerate(leaves)}


def unpacked(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """The inverse of :func:`packed`, for a state with the leaves of ``like``."""
    parts: Iterator[np.ndarray]
    if _MEMORY in arrays:
        parts = iter(arrays[_MEMORY])
    else:
        parts = (arrays[f"{_MEMORY}.{number}"] for number in range(len(arrays)))

    def restored(leaf: Any) -> Any:
        part = next(parts)
        return (
            torch.from_numpy(part.copy()).to(leaf.device)
            if isinstance(leaf, torch.Tensor)
            else part.copy()
        )

    return map_leaves(restored, like)


@dataclass(frozen=True)
class Playing:
    """How games are played: ``lanes`` side by side, actions drawn with ``generator`` at ``temperature``.

    ``explore`` may replace the action of a game; ``watch`` gets every step and which game it is of.
    """

    generator: torch.Generator | None
    temperature: float
    lanes: int = 8
    watch: Callable[[int, Step], None] = lambda row, step: None
    explore: Callable[[int, Action], Action] | None = None


def play_games(
    make_game: Callable[[], Game], policy: Policy[Any], seeds: Sequence[int], playing: Playing
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
        self._kept: list[list[Step]] = [[] for _ in range(games)]
        self._steps = steps

    def see(self, row: int, step: Step) -> None:
        """Take in a step of a game."""
        if row < len(self._kept) and len(self._kept[row]) < self._steps:
            self._kept[row].append(step)

    def episodes(self) -> list[Episode]:
        """What was seen, in the order of the games."""
        return [_episode(steps) for steps in self._kept if steps]


def _episode(steps: Sequence[Step]) -> Episode:
    shown = [*(step.observation for step in steps), steps[-1].next_observation]
    flags = (
        [getattr(step, name) for step in steps] for name in ("terminated", "truncated", "lost_life")
    )
    return Episode(
        {name: np.stack([each[name] for each in shown]) for name in shown[0]},
        np.array([step.action for step in steps]),
        np.array([step.reward for step in steps], np.float32),
        *(np.array(flag, np.bool_) for flag in flags),
    )
