"""The games that a learner plays: any gymnasium environment, its observations as named arrays.

A game is a gymnasium environment whose layers are wrappers: no-ops at the beginning and lost lives
(Atari's protocol), a limit of steps, and outermost :class:`Game`, which makes of what an environment
shows, takes and pays what learners work with, or refuses it with a sentence that names the game.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.actions import as_action, check_action_space, numbers_of
from atari_vlm.errors import (
    AtariVLMError,
    ConfigError,
    MismatchError,
    RunError,
    UnknownNameError,
    check_positive,
)
from atari_vlm.experience.replay import Column
from atari_vlm.games import game as known_game
from atari_vlm.games import game_names
from atari_vlm.world_models.inputs import TEXT, described, inputs_of
from atari_vlm.world_models.learned.learner import GameFacts
from atari_vlm.wrappers.start_with_noops import StartWithNoops
from atari_vlm.wrappers.views import attribute, frames_per_step

LOST_LIFE = "atari_vlm/lost_life"  # in a game's info: an end for a learner, not of the game
_SHOWN = ("image", "text")  # of an Atari observation
Env = gymnasium.Env[Any, Any]
Reset = tuple[Any, dict[str, Any]]
Stepped = tuple[Any, Any, Any, Any, dict[str, Any]]


@dataclass(frozen=True)
class GameConfig:
    """``game``: an Atari game in any spelling (``"Breakout"``, ``"breakout-v5"``) or any gymnasium id.

    ``frame_skip`` and ``max_noops`` are Atari's; ``max_steps`` truncates; ``keys`` are the parts of the
    observation that are shown (default: all pictures, numbers and texts).
    """

    game: str
    frame_skip: int = 4
    max_noops: int = 30
    max_steps: int | None = None
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "game", own_spelling(self.game))
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)


class LifeLoss(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reports in ``info`` whether a step lost a life while the game went on."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begin and count the lives."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._lives = info.get("lives", 0)
        return observation, info

    def step(self, action: Any) -> Stepped:
        """Step and compare the lives."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        before, self._lives = self._lives, info.get("lives", 0)
        return (
            observation,
            reward,
            terminated,
            truncated,
            {**info, LOST_LIFE: 0 < self._lives < before},
        )


class TrainingGame(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A game as learners meet it.

    ``facts`` say what it is, ``inputs`` what of it is wanted (default: all, at its own size). Observations
    are dictionaries of fresh arrays, rewards finite float32 numbers, and a step ends a game in one way only.
    Actions are those of the environment, of a space that :mod:`atari_vlm.actions` takes.
    """

    def __init__(self, env: Env, config: GameConfig, inputs: Mapping[str, Column] | None = None):
        super().__init__(env)
        self.name, self.steps = config.game, 0
        self.observed: tuple[Any, dict[str, Any]] = (None, {})  # what the environment itself says
        self._seed: int | None = None
        keys = config.keys or (_SHOWN if _is_atari(config.game) else ())
        self._parts = inputs_of(env.observation_space, self.name, keys)
        columns = {name: part.column for name, part in self._parts.items()}
        space = check_action_space(env.action_space, self.name)
        self.facts = GameFacts(
            self.name,
            columns,
            space,
            _action_names(env),
            frames_per_step(env),
            config.keys,
            tuple(name for name, part in self._parts.items() if part.kind == TEXT),
            {
                part.key: name
                for name, part in self._parts.items()
                if part.path and part.key != name
            },
            env.observation_space,
        )
        self._wanted = columns if inputs is None else dict(inputs)
        if not self._wanted.keys() <= columns.keys():
            raise MismatchError(
                f"wanted is {described(self._wanted)}; {self.name} shows {described(columns)}"
            )
        self.observation_space = gymnasium.spaces.Dict(
            {name: _space(c) for name, c in self._wanted.items()}
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begin the game of a seed."""
        self.steps, self._seed = 0, seed
        with self._failing():
            observation, info = self.env.reset(seed=seed, options=options)
        self.observed = observation, info
        return self._shown(observation), {LOST_LIFE: False}

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Play one action."""
        played = as_action(self.env.action_space, action)
        self.steps += 1
        with self._failing():
            observation, reward, terminated, truncated, info = self.env.step(played)
        self.observed = observation, info
        over = self._flag("terminated", terminated)
        cut = self._flag("truncated", truncated) and not over
        lost_life = bool(info.get(LOST_LIFE, False))
        return self._shown(observation), self._reward(reward), over, cut, {LOST_LIFE: lost_life}

    def _shown(self, observation: Any) -> dict[str, np.ndarray]:
        whose = f"{self.name} at {self._when}"
        return {
            name: self._parts[name].read(observation, column, whose)
            for name, column in self._wanted.items()
        }

    def _reward(self, reward: Any) -> float:
        """A number, or an array of one."""
        value = np.asarray(reward)
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise MismatchError(
                f"{self.name} pays {reward!r} at {self._when}; a reward is one number"
            )
        number = float(value.item())
        if not abs(number) <= float(np.finfo(np.float32).max):
            raise MismatchError(
                f"{self.name} pays {number} at {self._when}; rewards are finite float32 numbers"
            )
        return number

    def _flag(self, name: str, flag: Any) -> bool:
        value = np.asarray(flag)
        if value.size != 1 or value.dtype.kind not in "biu" or value.item() not in (0, 1):
            raise MismatchError(
                f"{self.name} says {name} is {flag!r} at {self._when}; it is true or false"
            )
        return bool(value.item())

    @property
    def _when(self) -> str:
        return f"step {self.steps} of the game with seed {self._seed}"

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What the environment raises is told as its failure, with where it happened."""
        try:
            yield
        except AtariVLMError:
            raise
        except Exception as error:
            raise RunError(f"{self.name} failed at {self._when}: {_told(error)}") from error


def make_game(config: GameConfig, inputs: Mapping[str, Column] | None = None) -> TrainingGame:
    """The game of a config, which shows ``inputs`` (default: everything, at its own size).

    Raises ``UnknownNameError`` with the nearest names, and ``ConfigError`` for a game that cannot be made
    or learned from.
    """
    env = _made(config)
    try:
        if config.max_steps is not None:
            env = gymnasium.wrappers.TimeLimit(env, config.max_steps)
        return TrainingGame(env, config, inputs)
    except BaseException:
        env.close()
        raise


def facts_of(game: str, keys: tuple[str, ...] = ()) -> GameFacts:
    """What is known of a game before anything is built for it; errors as of :func:`make_game`."""
    made = make_game(GameConfig(game, keys=keys))
    made.close()
    return made.facts


def _made(config: GameConfig) -> Env:
    if _is_atari(config.game):
        env: Env = gymnasium.make(
            f"AtariVLM/{_bare(config.game)}-v5",
            frame_skip=config.frame_skip,
            frame_stack=1,
            image_format="numpy",
            repeat_action_probability=0.0,
            resize_shape=None,
            max_episode_steps=-1,
            disable_env_checker=True,
        )
        return LifeLoss(StartWithNoops(env, config.max_noops) if config.max_noops else env)
    try:
        return gymnasium.make(config.game)
    except (gymnasium.error.NameNotFound, gymnasium.error.NamespaceNotFound) as error:
        known = [f"{name}-v5" for name in game_names()] + list(gymnasium.registry)
        raise UnknownNameError("game", config.game, known) from error
    except AtariVLMError:
        raise
    except Exception as error:
        raise ConfigError(f"{config.game!r} cannot be made: {_told(error)}") from error


def own_spelling(game: str) -> str:
    """``Pong-v5`` for every spelling that can only mean it (``pong``, ``ALE/Pong-v5``); any other id as it is."""
    if _is_atari(game):
        return game
    try:
        return f"{known_game(game).name}-v5"
    except UnknownNameError:
        return game


def _bare(game: str) -> str:
    return game.removeprefix("AtariVLM/").removesuffix("-v5")


def _is_atari(game: str) -> bool:
    return _bare(game) in game_names()


def _action_names(env: Env) -> tuple[str, ...]:
    """The environment's own names where there is one an action, else numbers; none where actions have parts."""
    numbers = numbers_of(env.action_space)
    meanings = attribute(env, "get_action_meanings") if numbers else None
    names = tuple(map(str, meanings())) if callable(meanings) else ()
    return names if len(names) == len(numbers) else tuple(map(str, numbers))


def _space(column: Column) -> Box:
    low, high = (0, 255) if column.dtype == "uint8" else (-np.inf, np.inf)
    return Box(low, high, column.shape, np.dtype(column.dtype).type)


def _told(error: Exception) -> str:
    """``ConnectionResetError: lost the simulator (simulator.py, line 12, in step)``."""
    frames = traceback.extract_tb(error.__traceback__)
    at = (
        f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})"
        if frames
        else ""
    )
    return f"{type(error).__name__}: {error}{at}"
