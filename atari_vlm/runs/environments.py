"""The environment of a run, from the settings that its config.yaml holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium.spaces import Dict, Discrete

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError
from atari_vlm.runs.game_names import CATCH, TOYS, is_atari, make_registered
from atari_vlm.spaces import Env, PILImage
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.toy_pong import SoloPongWorldModel
from atari_vlm.wrappers.dreamed_game import DreamedGame
from atari_vlm.wrappers.latency import LatencyAware
from atari_vlm.wrappers.start_with_noops import StartWithNoops, ThroughGameOvers
from atari_vlm.wrappers.text_description import TextDescription
from atari_vlm.wrappers.views import action_names, dict_spaces, is_picture
from atari_vlm.wrappers.world_model_env import WorldModelEnv

_PLAIN = ("game_name", "env", "noops", "through_game_overs", "objects")
_MOST_OF = {
    "repeat_action_probability": 1,
    "frame_skip": 60,
    "resize_shape": 1024,
    "frame_stack": 32,
    "full_action_space": True,
    "grayscale": True,
    "keep_aspect": True,
    "max_episode_steps": 10_000_000,
}


def make_env(settings: Mapping[str, Any]) -> Env:
    """The environment that ``settings`` describe: ``game_name``, ``env`` (keywords), ``latency`` (``None``: time stands still).

    ``game_name`` is one of :func:`~atari_vlm.runs.game_names.game_name`; what is no game of ALE is played as it is, with
    facts and a list of actions where it shows a picture. ``dream``, where given, is the checkpoint of a world model to
    play in. ``noops`` (least, most): an episode begins with so many. ``through_game_overs``: a game over ends no episode.
    ``objects``: the facts tell where the objects are, from the console's memory. While a reply is awaited NOOP is held,
    where there is none the last action.

    Raises ``ConfigError`` for what the environment does not take.
    """
    env = _game(settings)
    if settings.get("noops"):
        least, most = settings["noops"]
        env = StartWithNoops(env, most, least)
    if settings.get("through_game_overs"):
        env = ThroughGameOvers(env)
    if settings.get("objects"):
        env = TextDescription(env, objects=True)
    latency = settings.get("latency")
    if latency is None:
        return env
    hold = "noop" if "NOOP" in action_names(env, "a latency") else "last"
    return LatencyAware(env, latency=latency, hold=hold, fps=_fps(env))


def checked_settings(settings: Mapping[str, Any], run: str) -> dict[str, Any]:
    """A stranger's settings as far as :func:`make_env` takes them: a game of ALE, plain values, nothing huge, no file.

    Raises ``ConfigError`` for anything else.
    """
    kept = {name: settings.get(name) for name in _PLAIN}
    keywords = dict(kept["env"]) if isinstance(kept["env"], Mapping) else {}
    if not isinstance(kept["game_name"], str) or not is_atari(kept["game_name"]):
        raise ConfigError(f"{run} is a run of {kept['game_name']!r:.80}, which is no game of ALE")
    for name, value in keywords.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        sound = all(isinstance(number, (int, float, type(None))) for number in numbers)
        most = _MOST_OF.get(str(name), 0)
        if not sound or any(isinstance(n, (int, float)) and n > most for n in numbers):
            raise ConfigError(
                f"{run} was played with {name}={value!r:.60}, which is not made again"
            )
    return {**kept, "env": keywords}


def _game(settings: Mapping[str, Any]) -> Env:
    name, keywords, dream = settings["game_name"], settings.get("env") or {}, settings.get("dream")
    if name in TOYS:
        model = CatchWorldModel() if name == CATCH else SoloPongWorldModel()
        return described(WorldModelEnv(model, render_mode="rgb_array"), name)
    if dream is None and not is_atari(name):
        return described(make_registered(name, keywords))
    try:
        if dream is not None:
            return DreamedGame(name, dream, **keywords)
        return AtariVLMEnvironment(name, **keywords)
    except TypeError as error:
        raise ConfigError(f"env: {error}") from error


def described(env: Env, name: str | None = None) -> Env:
    """An environment with the facts and the list of actions that agents read, where it has a picture and plain actions."""
    parts = dict_spaces(env.observation_space)
    if (
        isinstance(env.observation_space, Dict)
        and {"image", "text", "action_space"} <= parts.keys()
    ):
        return env
    image, actions = parts.get("image"), env.action_space
    has_picture = image is not None and (isinstance(image, PILImage) or is_picture(image))
    if not has_picture or not isinstance(actions, Discrete) or actions.start != 0:
        return env
    return TextDescription(env, game_name=name)


def _fps(env: Env) -> float:
    """Emulator frames per second: Atari's 60, of another game what it says of itself."""
    if isinstance(env.unwrapped, (AtariVLMEnvironment, DreamedGame)):
        return 60.0
    return float(env.metadata.get("render_fps") or 60.0)
