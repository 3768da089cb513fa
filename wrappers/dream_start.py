"""Where a dream begins, and what it may come back to: stored start frames, or the pictures of a
real environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_action, as_actions, check_action_space, still_action
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.space_trees import described, fits, is_rgb
from atari_vlm.trees import stacked, take_row
from atari_vlm.types import Action
from atari_vlm.world_models.base import StartFrames, WorldModel, check_fit, context_space_of
from atari_vlm.world_models.view import Context, eye_of, picture_of

Start = gymnasium.Env[Any, Any] | Sequence[gymnasium.Env[Any, Any]] | StartFrames | None
StartContext = tuple[
    Any, np.ndarray
]  # observations (T, ...) and the actions (T - 1, ...) between them


class StoredStart:
    """Contexts of :class:`StartFrames`, drawn at random."""

    def __init__(self, frames: StartFrames, world_model: WorldModel[Any]):
        space = context_space_of(world_model)
        if not fits(space, frames.observations, 2):
            raise MismatchError(
                f"the model sees {space}, the start frames are {described(frames.observations, 2)}"
            )
        actions = as_actions(
            world_model.action_space, frames.actions, "the actions of start frames"
        )
        self._observations, self._actions = frames.observations, actions

    def begin(self, row: int, rng: np.random.Generator) -> StartContext:
        """A context for ``row``."""
        index = int(rng.integers(len(self._actions)))
        return take_row(self._observations, index), self._actions[index]


class RealStart:
    """Contexts of real environments: one serves all rows, or each row has its own, which can follow
    the dream.

    A context is the last ``world_model.context_length`` (default 1) pictures; at the beginning the
    first action (of a Box: the one nearest to zero) is played until there are so many.
    """

    def __init__(self, envs: Sequence[gymnasium.Env[Any, Any]], world_model: WorldModel[Any]):
        for env in envs:
            _check_real(env, world_model)
        self.envs = list(envs)
        self._eye, self._still = eye_of(world_model), still_action(world_model.action_space)
        self._latest: list[Any] = [None for _ in envs]
        self._contexts = [Context(world_model) for _ in envs]
        self._over = [True for _ in envs]

    def begin(self, row: int, rng: np.random.Generator) -> StartContext:
        """Reset the environment of ``row`` with a seed drawn from ``rng``; a context of its first
        pictures.

        Raises ``ConfigError`` if it ends before it has shown enough of them.
        """
        i = row % len(self.envs)
        observation, _ = self.envs[i].reset(seed=int(rng.integers(2**31)))
        self._contexts[i].reset()
        self._see(i, observation)
        self._over[i] = False
        while not self._contexts[i].is_full:
            self._step(i, self._still)
            if self._over[i]:
                raise ConfigError(
                    "the real environment ended before it had shown enough pictures to begin a dream"
                )
        return self._contexts[i].arrays()

    def follow(self, rows: np.ndarray, actions: np.ndarray) -> None:
        """Play the dream's actions in the environments of ``rows``, those that have ended excepted."""
        for row in rows:
            if not self._over[row]:
                self._step(row, as_action(self.envs[row].action_space, actions[row]))

    def context(self, row: int) -> StartContext:
        """The newest context of ``row``."""
        return self._contexts[row].arrays()

    def latest(self) -> Any:
        """The newest picture of every environment, ``(B, ...)``; of one that has ended, its last."""
        return stacked(self._latest)

    def is_over(self, row: int) -> bool:
        """Whether the environment of ``row`` has ended."""
        return self._over[row]

    def _step(self, i: int, action: Action) -> None:
        observation, _, terminated, truncated, _ = self.envs[i].step(action)
        self._contexts[i].executed(action)
        self._see(i, observation)
        self._over[i] = bool(terminated or truncated)

    def _see(self, i: int, observation: Any) -> None:
        if self._contexts[i].length:
            self._latest[i] = picture = picture_of(self.envs[i], observation, self._eye)
            self._contexts[i].observed(picture)


def start_of(start: Start, world_model: WorldModel[Any]) -> StoredStart | RealStart:
    """What ``start`` means: ``None`` is the model's own start frames.

    Raises ``ConfigError`` when there is nothing to begin from, ``MismatchError`` for a start that
    the model cannot dream from.
    """
    check_action_space(world_model.action_space, "the world model")
    if start is None:
        start = getattr(world_model, "start", None)
        if start is None:
            raise ConfigError(
                "the world model carries no start frames: pass start=, a real environment or StartFrames"
            )
    if isinstance(start, StartFrames):
        return StoredStart(start, world_model)
    envs = [start] if isinstance(start, gymnasium.Env) else start
    if (
        not isinstance(envs, Sequence)
        or not envs
        or not all(isinstance(env, gymnasium.Env) for env in envs)
    ):
        raise ConfigError(
            f"start is a gymnasium.Env, a list of them, StartFrames or None, got {type(start).__name__}"
        )
    return RealStart(envs, world_model)


def _check_real(env: gymnasium.Env[Any, Any], world_model: WorldModel[Any]) -> None:
    """Refuse a real environment that the model cannot dream of, naming both sides."""
    if env.action_space != world_model.action_space:
        raise MismatchError(
            f"the model acts in {world_model.action_space}, the real environment in {env.action_space}"
        )
    real: Any = env.unwrapped
    if hasattr(real, "get_action_meanings") and hasattr(world_model, "action_names"):
        skip = getattr(real, "frame_skip", world_model.frame_skip)
        check_fit(world_model, real.get_action_meanings(), skip, "the real environment")
    elif getattr(real, "frame_skip", world_model.frame_skip) != world_model.frame_skip:
        skip = real.frame_skip
        raise MismatchError(
            f"the model was made at frame skip {world_model.frame_skip}, the real environment has {skip}"
        )
    wanted, shown = context_space_of(world_model), env.observation_space
    drawn = is_rgb(wanted) and env.render_mode == "rgb_array"
    if not eye_of(world_model).sees(shown) and not drawn:
        raise MismatchError(f"the model sees {wanted}, the real environment shows {shown}")
