"""What every framework is given: a game of Atari played by the names of its buttons, its picture, and a digest of its pixels.

The picture is ``observation["image"]`` of ``gymnasium.make("AtariVLM/<Game>-v5")``; ``sha256`` is of its RGB bytes, uint8
``(H, W, 3)``, so that whoever receives a picture can tell whether it is the one that was played.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
from dataclasses import dataclass
from typing import Any

import gymnasium
import PIL.Image

import atari_vlm  # noqa: F401  registers the ids
from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.errors import AtariVLMError, ConfigError, UnknownNameError, check_count
from atari_vlm.games import game as game_of


@dataclass(frozen=True)
class Shown:
    """A moment of a game: its picture, the facts in words, and what the last button brought."""

    picture: PIL.Image.Image
    text: str
    reward: float
    done: bool
    step: int

    @property
    def sha256(self) -> str:
        """Hex digest of the picture's RGB bytes."""
        return rgb_sha256(self.picture)

    @property
    def png(self) -> str:
        """The picture as PNG, in base64."""
        return base64.b64encode(png_of(self.picture)).decode()

    @property
    def data_url(self) -> str:
        """The picture as an address that holds it."""
        return f"data:image/png;base64,{self.png}"


class Game:
    """One game of ALE; an episode ends with the game or after ``max_steps`` buttons (``None``: 10,000).

    Raises ``UnknownNameError`` for what is no game of ALE, ``ConfigError`` for a number of steps that is none.
    """

    def __init__(self, game: str = "Pong-v5", max_steps: int | None = None):
        if not isinstance(game, str):
            raise ConfigError(f"a game is a name, got {game!r:.80}")
        self.name = game_of(game).name
        if max_steps is not None:
            check_count(max_steps=max_steps)
        limit: dict[str, Any] = {} if max_steps is None else {"max_episode_steps": max_steps}
        self._env = gymnasium.make(f"AtariVLM/{self.name}-v5", **limit)
        self.buttons: tuple[str, ...] = tuple(self._env.unwrapped.get_action_meanings())  # type: ignore[attr-defined]
        self.seed = 0
        self.shown: Shown | None = None

    def reset(self, seed: int | None = None) -> Shown:
        """Begin an episode; without a seed with one that is drawn, which ``self.seed`` then says."""
        if seed is not None and (type(seed) is not int or not 0 <= seed < 1 << 31):
            raise ConfigError(f"a seed is a whole number from 0 to 2,147,483,647, got {seed!r:.80}")
        self.seed = secrets.randbelow(1 << 31) if seed is None else seed
        observation, _ = self._env.reset(seed=self.seed)
        self.shown = Shown(observation["image"], observation["text"], 0.0, False, 0)
        return self.shown

    def press(self, button: str) -> Shown:
        """Play one action by its name.

        Raises ``UnknownNameError`` for a name that is none, ``AtariVLMError`` before the first reset and after an end.
        """
        if self.shown is None:
            raise AtariVLMError("no episode has begun: reset comes before the first button")
        if self.shown.done:
            raise AtariVLMError("the episode is over: reset begins another")
        if button not in self.buttons:
            raise UnknownNameError(f"button of {self.name}", button, self.buttons)
        action = self.buttons.index(button)
        observation, reward, terminated, truncated, _ = self._env.step(action)
        self.shown = Shown(
            observation["image"],
            observation["text"],
            float(reward),
            bool(terminated or truncated),
            self.shown.step + 1,
        )
        return self.shown

    def close(self) -> None:
        """Let the emulator go."""
        self._env.close()


def buttons_of(game: str) -> tuple[str, ...]:
    """The names of a game's buttons."""
    return tuple(Emulator(EmulatorConfig(game)).action_names)


def task_text(name: str, buttons: tuple[str, ...]) -> str:
    """What a player is told before the first picture."""
    return (
        f"You play the Atari game {name} for the highest score. Each press of a button lasts 4 frames. "
        f"Buttons: {', '.join(buttons)}."
    )


def png_of(picture: PIL.Image.Image) -> bytes:
    """A picture as PNG, without loss."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def rgb_sha256(picture: PIL.Image.Image) -> str:
    """Hex digest of a picture's RGB bytes."""
    return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


def button_in(text: str, buttons: tuple[str, ...]) -> str | None:
    """The button that a reply names: its last line that is one, or its one word in upper case that is; ``None`` for none."""
    lines = [line.strip(" .:*`\"'") for line in text.splitlines()]
    whole = [line.upper() for line in lines if line.upper() in buttons]
    if whole:
        return whole[-1]
    words = {word.strip(".,:;!*`\"'()[]") for word in text.split()} & {*buttons}
    return words.pop() if len(words) == 1 else None
