"""TRL's GRPO trainer plays an Atari game: an environment whose tool returns pictures, and which owns the reward.

::

    from trl import GRPOTrainer
    from atari_vlm.integrations.trl import environment_factory

    trainer = GRPOTrainer(model, args=args, train_dataset=rows,
                          environment_factory=environment_factory(game="Pong-v5", max_steps=50))

The rows' ``prompt`` says what is to be done; a column ``seed`` says which episode. This module needs no TRL itself
(extra ``trl``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atari_vlm.integrations.playing import Game, Shown, task_text

__all__ = ["AtariGame", "environment_factory"]


class AtariGame:
    """One environment of a rollout. Its public methods beside ``reset`` and ``get_reward`` are the tools of the model."""

    def __init__(self, game: str = "Pong-v5", max_steps: int | None = None):
        self._game = Game(game, max_steps)
        self._return = 0.0

    def reset(self, seed: int | None = None, **row: Any) -> str:
        """Begin an episode; ``row`` are further columns of the data set, which are not used. Returns what a player is told."""
        self._game.reset(None if seed is None else int(seed))
        self._return = 0.0
        return task_text(self._game.name, self._game.buttons)

    def press(self, button: str) -> list[dict[str, Any]]:
        """Press a button for 4 frames and see what comes of it.

        Args:
            button: The name of the button, such as NOOP, FIRE, UP, RIGHT, LEFT or DOWN.

        Returns:
            The picture of the game, and its facts in words.
        """
        shown = self._game.shown
        if shown is not None and shown.done:
            return _content(shown, "The episode is over; this button was not played.")
        shown = self._game.press(button)
        self._return += shown.reward
        return _content(shown, "The episode is over." if shown.done else "")

    def get_reward(self) -> float:
        """The sum of the episode's rewards."""
        return self._return


def environment_factory(
    game: str = "Pong-v5", max_steps: int | None = None
) -> Callable[[], AtariGame]:
    """What TRL calls without arguments for each environment; ``UnknownNameError`` for what is no game, at once."""
    Game(game, max_steps).close()

    def make() -> AtariGame:
        return AtariGame(game, max_steps)

    return make


def _content(shown: Shown, more: str) -> list[dict[str, Any]]:
    text = "\n".join(filter(None, (shown.text, more)))
    return [{"type": "image", "image": shown.picture}, {"type": "text", "text": text}]
