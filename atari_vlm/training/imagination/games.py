"""The games REM learns from: any gymnasium id that shows RGB pictures; Atari with its own protocol on top.

The picture is what :class:`~atari_vlm.world_models.view.WorldView` would show the model: the screen at its own size (or the
observation), brought to the model's size by area averaging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.replay import Column
from atari_vlm.games import game_names
from atari_vlm.world_models.learned.learner import GameFacts
from atari_vlm.world_models.view import as_seen


@dataclass(frozen=True)
class GameConfig:
    """``game``: an Atari game (``"Breakout"``, ``"Breakout-v5"``) or any gymnasium id with an RGB observation or dict entry
    ``image``. ``max_noops``, ``life_loss_ends``: Atari only. ``max_steps`` truncates.
    """

    game: str
    frame_px: int = 64
    frame_skip: int = 4
    max_noops: int = 30
    life_loss_ends: bool = True
    max_steps: int | None = None


@dataclass(frozen=True)
class Moved:
    """One step: ``lost_life`` ends the learner's episode, not the game."""

    reward: float
    terminated: bool
    truncated: bool
    lost_life: bool


class RemGame:
    """One seeded game. ``frame`` uint8 ``(frame_px, frame_px, 3)`` is what it shows now.

    The rewards of the ``frame_skip`` emulator frames of a step are summed; sticky actions are off.
    """

    def __init__(self, config: GameConfig):
        self.config = config
        self.atari = config.game.removeprefix("AtariVLM/").removesuffix("-v5") in game_names()
        self.env = self._make()
        if not isinstance(self.env.action_space, gymnasium.spaces.Discrete):
            raise ConfigError(f"REM acts with discrete actions; {config.game} has {self.env.action_space}")
        self.num_actions = int(self.env.action_space.n)
        self.frame_skip = config.frame_skip if self.atari else int(getattr(self.env.unwrapped, "frame_skip", 1))
        self.steps = self.noops = 0

    def _make(self) -> gymnasium.Env[Any, Any]:
        if not self.atari:
            try:
                return gymnasium.make(self.config.game)
            except (gymnasium.error.Error, ModuleNotFoundError) as error:
                raise ConfigError(f"{self.config.game!r} is no game: {error}") from error
        name = self.config.game.removeprefix("AtariVLM/").removesuffix("-v5")
        plain = {"image_format": "numpy", "frame_stack": 1, "repeat_action_probability": 0.0}
        return gymnasium.make(
            f"AtariVLM/{name}-v5",
            render_mode="rgb_array",
            frame_skip=self.config.frame_skip,
            resize_shape=None,
            max_episode_steps=-1,
            disable_env_checker=True,
            **plain,
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """ALE's names, or the environment's own, or numbers."""
        meanings = getattr(self.env.unwrapped, "get_action_meanings", None)
        return tuple(meanings()) if meanings is not None else tuple(str(a) for a in range(self.num_actions))

    def reset(self, seed: int) -> None:
        """Begin a game; Atari begins with 1 to ``max_noops`` no-ops that the seed decides."""
        observation, info = self.env.reset(seed=seed)
        self.lives, self.steps = info.get("lives", 0), 0
        if self.atari and self.config.max_noops:
            self.noops = int(np.random.default_rng(seed).integers(1, self.config.max_noops + 1))
            for _ in range(self.noops):
                observation, _, terminated, truncated, _ = self.env.step(0)
                if terminated or truncated:
                    observation, info = self.env.reset()
        self.frame = self._picture(observation)

    def step(self, action: int) -> Moved:
        """Play one action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.frame = self._picture(observation)
        self.steps += 1
        lives = info.get("lives", 0)
        lost = self.config.life_loss_ends and 0 < lives < self.lives
        self.lives = lives
        cut = self.config.max_steps is not None and self.steps >= self.config.max_steps
        return Moved(float(reward), bool(terminated), bool(truncated) or (cut and not terminated), lost)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _picture(self, observation: Any) -> np.ndarray:
        shape = (self.config.frame_px, self.config.frame_px, 3)
        shown = self.env.render() if self.atari else observation
        frame = np.asarray(shown["image"] if isinstance(shown, dict) else shown)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
            raise MismatchError(
                f"REM needs RGB pictures uint8 (H, W, 3); {self.config.game} shows {frame.dtype} {frame.shape}"
            )
        self.shown_shape = frame.shape
        return as_seen(frame, gymnasium.spaces.Box(0, 255, shape, np.uint8), self.config.game)


def facts_of(game: str) -> GameFacts:
    """What is known of a game before anything is built for it; ``ConfigError`` for none."""
    made = RemGame(GameConfig(game))
    try:
        made.reset(0)
        inputs = {"image": Column(made.shown_shape, "uint8")}
        return GameFacts(game, inputs, made.env.action_space, made.action_names, made.frame_skip)
    finally:
        made.close()
