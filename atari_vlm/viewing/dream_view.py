"""What a world model makes of a real game, as panels beside it: its input and its reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.picture import resize
from atari_vlm.spaces import Env
from atari_vlm.viewing.panels import Panel
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.dream_start import start_of
from atari_vlm.wrappers.dreamed_game import DreamedGame


class ModelView:
    """Shows the picture of ``env`` as ``world_model`` sees it, and as it decodes it again.

    Both are stretched to the size of the game's own picture. Raises ``MismatchError`` if the model is not one of this game.
    """

    def __init__(self, env: Env, world_model: WorldModel[Any]):
        start_of(env, world_model)
        self._env, self._model = env, world_model

    def panels(self) -> tuple[Panel, ...]:
        """Input and reconstruction of the present picture."""
        screen = np.asarray(self._env.render())
        height, width = (self._model.observation_space.shape or ())[:2]
        seen = resize(screen, (height, width), "area")
        shown = {"model input": seen, "reconstruction": self._reconstruct(seen)}
        return tuple(Panel(resize(picture, screen.shape[:2]), title) for title, picture in shown.items())

    def _reconstruct(self, seen: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(0)
        state = self._model.init(seen[None, None], np.zeros((1, 0), np.int64), rng=rng)
        picture: np.ndarray = self._model.decode(state)[0]
        return picture


class RealView:
    """Shows the real game that a dream is brought back to; nothing for a dream that has none."""

    def __init__(self, env: Env):
        self._env = env

    def panels(self) -> tuple[Panel, ...]:
        """The real game's screen."""
        dream = self._env.unwrapped
        screen = dream.real_screen() if isinstance(dream, DreamedGame) else None
        return () if screen is None else (Panel(screen, "real game, same actions"),)
