"""Collecting experience: real play into a replay, resumable in the midst of a game."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from atari_vlm.actions import Action, random_actions
from atari_vlm.errors import MismatchError
from atari_vlm.experience.replay import Replay
from atari_vlm.runs.seeds import train_seed
from atari_vlm.training.imagination.games import TrainingGame
from atari_vlm.training.imagination.lanes import Drawing, GameStep, Lanes, Returns
from atari_vlm.trees import map_leaves
from atari_vlm.world_models.learned.learner import Policy

_MEMORY = "collector.memory"


@dataclass(frozen=True)
class Exploring:
    """How the collector chooses: the policy at ``temperature``, a random action with chance ``epsilon``.

    With ``life_loss_ends`` a lost life ends the learner's episode.
    """

    epsilon: float
    temperature: float
    life_loss_ends: bool = True


@dataclass
class _Going:
    """The game that goes on in a lane: which one (its seed follows), and what was done in it."""

    index: int
    actions: list[Action] = field(default_factory=list)
    total: float = 0.0


class Collector:
    """Plays one game after another into the replay, in every lane; what was executed is kept."""

    def __init__(self, games: Sequence[TrainingGame], policy: Policy[Any], seed: int):
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
                row = step.columns(exploring.life_loss_ends)
                replay.add(row, step.lane, after=step.next_observation)
                self._note(step, exploring, done)
                on_step()
        return done

    def _note(self, step: GameStep, exploring: Exploring, done: Returns) -> None:
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
