"""The environment of a run, from the settings that its config.yaml holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atari_vlm.env import AtariVLMEnvironment
from atari_vlm.errors import ConfigError
from atari_vlm.training.rollout import Env
from atari_vlm.wrappers.latency import LatencyAware


def make_env(settings: Mapping[str, Any]) -> Env:
    """The environment that ``settings`` describe: ``game_name``, ``env`` (keywords), ``latency`` (``None``: time stands still).

    Raises ``ConfigError`` for what the environment does not take.
    """
    try:
        env: Env = AtariVLMEnvironment(settings["game_name"], **settings["env"])
    except TypeError as error:
        raise ConfigError(f"env: {error}") from error
    return env if settings["latency"] is None else LatencyAware(env, latency=settings["latency"])
