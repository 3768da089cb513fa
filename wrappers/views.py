"""What the wrappers ask an environment: where its picture is, what its actions and its game are called, how long a step lasts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space

from atari_vlm import games
from atari_vlm.errors import ConfigError
from atari_vlm.spaces import PILImage

_ID = re.compile(r"(?:.*/)?(?P<game>[^/]+?)(?:-v\d+)?")


def dict_spaces(space: Space[Any]) -> dict[str, Space[Any]]:
    """The spaces of a dictionary observation; a plain picture counts as the dictionary ``{"image": picture}``."""
    return dict(space.spaces) if isinstance(space, Dict) else {"image": space}


def as_dict(observation: Any) -> dict[str, Any]:
    """A copy of a dictionary observation, or a plain picture as ``{"image": picture}``."""
    return dict(observation) if isinstance(observation, dict) else {"image": observation}


def picture_space(space: Space[Any], wrapper: str) -> Box | PILImage:
    """The space of the picture in an observation space.

    A picture is a uint8 ``Box`` of shape (H, W, 3) or (H, W), or a ``PILImage``; it is the observation itself or its key
    ``image``. Anything else raises ``ConfigError`` in the name of ``wrapper``.
    """
    picture = dict_spaces(space).get("image")
    if isinstance(picture, PILImage) or (isinstance(picture, Box) and is_picture(picture)):
        return picture
    raise ConfigError(
        f"{wrapper} needs a picture: an observation that is a uint8 Box of shape (H, W, 3) or (H, W), "
        f"or a Dict with such a Box or a PILImage under 'image'; got {space}"
    )


def pictures(shape: Sequence[int]) -> Box:
    """The space of uint8 pictures of a shape, leading axes included."""
    return Box(low=0, high=255, shape=tuple(shape), dtype=np.uint8)


def is_picture(space: Space[Any], leading: int = 0) -> bool:
    """Whether ``space`` is a uint8 ``Box`` of pictures with ``leading`` axes before the height."""
    if not isinstance(space, Box) or space.dtype != np.uint8:
        return False
    shape = space.shape[leading:]
    return len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)


def attribute(env: gymnasium.Env[Any, Any], name: str) -> Any:
    """``name`` of the outermost wrapper or environment that has it, else ``None``."""
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None


def action_names(env: gymnasium.Env[Any, Any], wrapper: str) -> tuple[str, ...]:
    """One name an action: those of ``get_action_meanings`` where they fit the action space, else ``A0``, ``A1``, ...

    Blanks in a name become underscores. ``ConfigError`` unless the actions are ``Discrete`` and start at 0.
    """
    space = env.action_space
    if not isinstance(space, Discrete) or space.start != 0:
        raise ConfigError(f"{wrapper} needs a Discrete action space that starts at 0, got {space}")
    meanings = attribute(env, "get_action_meanings")
    names = [re.sub(r"\s+", "_", str(name)) for name in meanings()] if meanings is not None else []
    return tuple(names) if len(names) == space.n else tuple(f"A{index}" for index in range(space.n))


def game_name(env: gymnasium.Env[Any, Any]) -> str:
    """The environment's own ``game_name``, else the name in its id (``ALE/Pong-v5`` is ``Pong``), else its class."""
    own = attribute(env, "game_name")
    if isinstance(own, str):
        return own
    match = _ID.fullmatch(env.spec.id) if env.spec is not None else None
    name = match["game"] if match else type(env.unwrapped).__name__
    head = name.split("-")[0]
    return head if head in games.game_names() else name


def frames_per_step(env: gymnasium.Env[Any, Any]) -> int:
    """Emulator frames that one step plays: the environment's ``frame_skip``, ALE's own frame skip, else 1.

    ``ConfigError`` where ALE draws its frame skip at random.
    """
    skip = attribute(env, "frame_skip")
    if skip is None:
        skip = getattr(env.unwrapped, "_frameskip", 1)
    if not isinstance(skip, (int, np.integer)) or skip < 1:
        raise ConfigError(
            f"the environment plays {skip!r} frames a step; pass frame_skip, a whole number greater than 0"
        )
    return int(skip)
