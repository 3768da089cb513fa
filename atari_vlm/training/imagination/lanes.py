"""The one loop of real play: games side by side in :class:`Lanes`, stepped by one player."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atari_vlm.actions import Action
from atari_vlm.training.imagination.games import LOST_LIFE, TrainingGame
from atari_vlm.trees import put_rows, take_rows
from atari_vlm.world_models.learned.learner import Metrics, Policy

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class GameStep:
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

    def __init__(self, games: Sequence[TrainingGame], policy: Policy[Any]):
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

    def step(self, drawing: Drawing) -> list[GameStep]:
        """Play one step of every game; the player learns what was executed. Ends are the caller's."""
        inputs = {
            name: np.stack([observation[name] for observation in self.observations])
            for name in self.policy.inputs
        }
        actions, state = self.policy.act(
            inputs, self.state, generator=drawing.generator, temperature=drawing.temperature
        )
        if drawing.explore is not None:
            actions = np.stack(
                [np.asarray(drawing.explore(i, action)) for i, action in enumerate(actions)]
            )
        steps = [self._step(lane, action) for lane, action in enumerate(actions)]
        self.state = self.policy.executed(actions, state)
        return steps

    def _step(self, lane: int, action: Any) -> GameStep:
        played = action.item() if action.ndim == 0 else action
        before = self.observations[lane]
        after, reward, terminated, truncated, info = self.games[lane].step(played)
        self.observations[lane] = after
        return GameStep(lane, before, played, reward, terminated, truncated, info[LOST_LIFE], after)

    def close(self) -> None:
        """Close the games."""
        for game in self.games:
            game.close()


@dataclass(frozen=True)
class Returns:
    """Undiscounted return and length of each finished game, in order."""

    returns: list[float]
    lengths: list[int]

    def metrics(self, name: str) -> Metrics:
        """Mean return and length of the games as ``name/...``; empty for none."""
        if not self.returns:
            return {}
        returns = np.array(self.returns)
        return {
            f"{name}/episodes": float(len(returns)),
            f"{name}/return": float(returns.mean()),
            f"{name}/return_std": float(returns.std()),
            f"{name}/length": float(np.mean(self.lengths)),
        }
