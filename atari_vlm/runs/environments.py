"""The environment of a run, from the settings that its config.yaml holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError
from atari_vlm.spaces import Env
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.wrappers.dreamed_game import DreamedGame
from atari_vlm.wrappers.latency import LatencyAware
from atari_vlm.wrappers.text_description import TextDescription
from atari_vlm.wrappers.world_model_env import WorldModelEnv

CATCH = "Catch"


def make_env(settings: Mapping[str, Any]) -> Env:
    """The environment that ``settings`` describe: ``game_name``, ``env`` (keywords), ``latency`` (``None``: time stands still).

    ``dream``, where given, is the checkpoint of a world model to play in. The game :data:`CATCH` is the toy of that name.

    Raises ``ConfigError`` for what the environment does not take.
    """
    if settings["game_name"] == CATCH:
        return TextDescription(
            WorldModelEnv(CatchWorldModel(), render_mode="rgb_array"), game_name=CATCH
        )
    dream = settings.get("dream")
    try:
        if dream is not None:
            return DreamedGame(settings["game_name"], dream, **settings["env"])
        env: Env = AtariVLMEnvironment(settings["game_name"], **settings["env"])
    except TypeError as error:
        raise ConfigError(f"env: {error}") from error
    return env if settings["latency"] is None else LatencyAware(env, latency=settings["latency"])
