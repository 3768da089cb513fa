"""World models by name, for agents that plan in one: the emulator, Catch, or the folder of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atari_vlm._lazy import load
from atari_vlm.errors import UnknownNameError
from atari_vlm.sharing.names import is_hub_name
from atari_vlm.spaces import Env
from atari_vlm.world_models.base import WorldModel, check_fit
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.emulator import EmulatorWorldModel
from atari_vlm.world_models.seeing import FrameSource
from atari_vlm.wrappers.dreamed_game import DreamedGame
from atari_vlm.wrappers.views import action_names

NAMED = ("emulator", "catch")


class Worlds:
    """Makes the world model ``name`` for an environment. A checkpoint is loaded once, here; the others are made per environment.

    ``end_on_life_loss``: the emulator as a model takes a lost life for the end.
    """

    def __init__(self, name: str, *, end_on_life_loss: bool = True):
        self.name, self._end_on_life_loss = name, end_on_life_loss
        self._loaded: WorldModel[Any] | None = None
        if name not in NAMED:
            check_world(name)
            self._loaded = load("atari_vlm.world_models.checkpoint:load_world_model")(name)

    def model(self, env: Env) -> WorldModel[Any]:
        """The model for ``env``.

        ``MismatchError`` if it is of other actions or another frame skip, ``ConfigError`` for the emulator where there is none.
        """
        if self.name == "emulator":
            return EmulatorWorldModel(env, end_on_life_loss=self._end_on_life_loss)
        model: WorldModel[Any] = self._loaded if self._loaded is not None else CatchWorldModel()
        skip = getattr(env.unwrapped, "frame_skip", 1)
        check_fit(
            model, action_names(env, "a world model"), skip, "the environment", env.action_space
        )
        return model

    def frame_source(self, env: Env) -> FrameSource | None:
        """Where a learned model gets its pictures: the screen, where the environment draws one."""
        return sharpest(env) if self._loaded is not None else None


def check_world(name: str) -> None:
    """Raise ``UnknownNameError`` for what names neither a model nor anything on this disk."""
    if name not in NAMED and not is_hub_name(name) and not Path(name).exists():
        raise UnknownNameError("world model, or folder of a checkpoint,", name, NAMED)


def sharpest(env: Env) -> FrameSource | None:
    """The sharpest picture to be had: a dream's own frame, else the screen; ``None`` where none is drawn."""
    dream = env.unwrapped
    if isinstance(dream, DreamedGame):
        return lambda: dream.frame
    return env.render if env.render_mode == "rgb_array" else None
