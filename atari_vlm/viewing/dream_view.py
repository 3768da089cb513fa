"""What a world model makes of a real game, as panels beside it: its input and its reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.actions import as_actions
from atari_vlm.picture import resize
from atari_vlm.space_trees import picture_in, value_at
from atari_vlm.spaces import Env
from atari_vlm.trees import stacked, take_row
from atari_vlm.viewing.panels import Panel
from atari_vlm.world_models.base import WorldModel, context_space_of
from atari_vlm.world_models.view import eye_of, picture_of
from atari_vlm.wrappers.dream_start import start_of
from atari_vlm.wrappers.dreamed_game import DreamedGame


class ModelView:
    """Shows the picture of ``env`` as ``world_model`` sees it, and as it decodes it again.

    Both are stretched to the size of the game's own picture; where the model has none, that panel is left out. Raises
    ``MismatchError`` if the model is not one of this game.
    """

    def __init__(self, env: Env, world_model: WorldModel[Any]):
        start_of(env, world_model)
        self._env, self._model, self._eye = env, world_model, eye_of(world_model)

    def panels(self, observation: Any = None) -> tuple[Panel, ...]:
        """Input and reconstruction of the present ``observation``; without one, of the rendered screen."""
        screen = np.asarray(self._env.render())
        observed = (
            self._eye.of(screen)
            if observation is None
            else picture_of(self._env, observation, self._eye)
        )
        spaces = (context_space_of(self._model), self._model.observation_space)
        seen = zip(("model input", "reconstruction"), spaces, strict=True)
        shown = zip(seen, (observed, self._reconstruct(observed)), strict=True)
        return tuple(
            Panel(resize(value_at(observation, path), screen.shape[:2]), title)
            for (title, space), observation in shown
            if (path := picture_in(space)) is not None
        )

    def _reconstruct(self, observed: Any) -> Any:
        """What the model shows after this observation alone."""
        rng = np.random.default_rng(0)
        no_actions = as_actions(self._model.action_space, np.zeros((1, 0)))
        state = self._model.init(stacked([stacked([observed])]), no_actions, rng=rng)
        return take_row(self._model.decode(state), 0)


class RealView:
    """Shows the real game that a dream is brought back to; nothing for a dream that has none."""

    def __init__(self, env: Env):
        self._env = env

    def panels(self, observation: Any = None) -> tuple[Panel, ...]:
        """The real game's screen, whatever the dream's observation is."""
        dream = self._env.unwrapped
        screen = dream.real_screen() if isinstance(dream, DreamedGame) else None
        return () if screen is None else (Panel(screen, "real game, same actions"),)
