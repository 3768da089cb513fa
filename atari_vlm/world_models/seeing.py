"""The picture as a model sees it: made in this one place, for agents, dreams, training games and
windows alike.

A model that learned from a game's screen, averaged over areas to its size, must be shown just that
when it plays. What an environment shows is therefore never guessed at: it is the screen
(:func:`shown_by`), brought to the model's size by :func:`as_seen`, or it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Text, Tuple

from atari_vlm.description import Facts
from atari_vlm.errors import MismatchError
from atari_vlm.games import game_names
from atari_vlm.pil_images import source_of
from atari_vlm.space_trees import is_rgb, parts_of, picture_in, space_leaves
from atari_vlm.spaces import PILImage

FrameSource = Callable[[], Any]
_SCREEN_WIDTH, _SCREEN_HEIGHTS = 160, range(200, 261)  # of ALE


def as_seen(shown: Any, space: gymnasium.Space[Any], whose: str = "the environment") -> Any:
    """What is ``shown`` as a model that reads ``space`` sees it: a fresh array of its shape and
    dtype, a text, or a dict or tuple of these.

    A picture uint8 ``(H, W, C)`` of another size is averaged over areas. Other numbers may change
    their type where that keeps what they say (float64 to float32), never their shape.
    ``MismatchError`` names both sides where nothing fits.
    """
    if isinstance(space, Dict):
        parts = space.spaces.items()
        return {key: as_seen(_entry(shown, key, whose), sub, whose) for key, sub in parts}
    if isinstance(space, Tuple):
        subs = enumerate(space.spaces)
        return tuple(as_seen(_entry(shown, index, whose), sub, whose) for index, sub in subs)
    if isinstance(space, Text):
        if isinstance(shown, str) and len(shown) <= space.max_length:
            return str(shown)
        raise MismatchError(f"the model reads {space}, {whose} shows {shown!r:.80}")
    return _array_seen(shown, space, whose)


def _array_seen(shown: Any, space: gymnasium.Space[Any], whose: str) -> np.ndarray:
    """:func:`as_seen` of one array."""
    array = np.asarray(shown)
    if array.ndim == 2 and space.shape is not None and space.shape[2:] == (1,):
        array = array[..., None]
    if array.dtype == space.dtype and array.shape == space.shape:
        return array.copy()
    shape = space.shape or ()
    if (
        len(shape) == array.ndim == 3
        and space.dtype == array.dtype == np.uint8
        and array.shape[2] == shape[2]
    ):
        resized = cv2.resize(array, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
        return np.asarray(resized).reshape(shape)
    if array.shape == space.shape and _keeps(array.dtype, space.dtype):
        converted: np.ndarray = array.astype(space.dtype)
        if space.contains(converted) and (
            array.dtype.kind == "f" or np.array_equal(array, converted)
        ):
            return converted
    raise MismatchError(f"the model sees {space}, {whose} shows {array.dtype} {array.shape}")


def _entry(shown: Any, key: str | int, whose: str = "the environment") -> Any:
    """An entry of what is shown; ``MismatchError`` where there is none."""
    entries: Any = range(len(shown)) if isinstance(shown, tuple) else ()
    entries = shown.keys() if isinstance(shown, Mapping) else entries
    if key not in entries:
        has = ", ".join(map(str, entries)) or f"{type(shown).__name__} without entries"
        raise MismatchError(f"the model is shown the entry {key!r}; {whose} shows {has}")
    return shown[key]


def _at_key(shown: Any, key: str) -> Any:
    """What lies under a key, or under keys joined by slashes; ``MismatchError`` where nothing does."""
    if isinstance(shown, Mapping) and key in shown:
        return shown[key]
    head, _, rest = key.partition("/")
    index = int(head) if isinstance(shown, tuple) and head.isdigit() else head
    below = _entry(shown, index)
    return _at_key(below, rest) if rest else below


def _keeps(given: Any, wanted: Any) -> bool:
    """Whether numbers of one type may become another: whole ones stay whole, fractions stay
    fractions.
    """
    return np.dtype(given).kind in "iuf" and np.can_cast(given, wanted, "same_kind")


def shown_by(observation: Any) -> Any:
    """What an observation shows a model: itself, or its ``image``.

    A picture of this package's environments is the screen (in a dream: the model's own frame) that
    it was made from. One that lost it, and is none itself, is refused: it was resized for other
    eyes.
    """
    if not isinstance(observation, Mapping):
        return observation
    image = _entry(observation, "image")
    source = source_of(image)
    return np.asarray(image) if source is None else source


class Eye:
    """Makes the picture of an observation for one model.

    ``frame_source`` (an environment's ``render``, say) shows the screen where observations do not.
    ``shown_shape`` is the shape of the pictures that the model learned from, before they were
    brought to its size; another one is refused. ``aliases`` lead from the model's names to the keys
    of the game that it learned from (``{"image": "robot/camera"}``), where those are other ones.
    """

    def __init__(
        self,
        space: gymnasium.Space[Any],
        frame_source: FrameSource | None = None,
        shown_shape: tuple[int, ...] | None = None,
        aliases: Mapping[str, str] | None = None,
    ):
        self.space, self._source, self._shown_shape = space, frame_source, shown_shape
        self._aliases = dict(aliases or {})
        picture = (picture_in(space) or (None,))[:1]
        self._parts = {
            key: Eye(sub, frame_source, shown_shape) if (key,) == picture else Eye(sub)
            for key, sub in parts_of(space).items()
        }

    def __call__(self, observation: Any) -> Any:
        """The picture as the model sees it; ``MismatchError`` for one that was not made as those it
        learned from.

        For a model with a ``Dict`` or ``Tuple`` space a dict or tuple, whose one RGB picture (of
        several the entry ``image``) is such a picture.
        """
        if self._parts:
            seen = {key: part(self._part(observation, key)) for key, part in self._parts.items()}
            return seen if isinstance(self.space, Dict) else tuple(seen.values())
        if len(self._aliases) == 1:
            observation = self._part(observation, *self._aliases)
        if self._source is None:
            shown = shown_by(observation)
            if _is_resized(observation) and (
                self._shown_shape or np.shape(shown) != self.space.shape
            ):
                raise self._mismatch(np.shape(shown))
            return self.of(shown)
        shown = self._source()
        if shown is None:
            raise MismatchError(
                "frame_source shows nothing; make the environment with render_mode='rgb_array'"
            )
        return self.of(shown)

    def _part(self, observation: Any, name: str | int) -> Any:
        """Where the model's entry of that name is to be seen."""
        there = isinstance(observation, Mapping) and name in observation
        if name in self._aliases and isinstance(observation, Mapping) and not there:
            return _at_key(observation, self._aliases[name])
        whole = not self._parts or (name == "image" and _is_picture(self._parts[name].space))
        return observation if whole else _entry(observation, name)  # whole: it may be the picture

    def of(self, shown: Any) -> Any:
        """What is ``shown`` as the model sees it."""
        shape = np.shape(shown)
        if self._shown_shape and not {shape, (*shape, 1)} & {
            tuple(self._shown_shape),
            self.space.shape,
        }:
            raise self._mismatch(shape)
        return as_seen(shown, self.space)

    def sees(self, shown: gymnasium.Space[Any]) -> bool:
        """Whether observations of that space can be shown to it."""
        return can_see(self.space, shown, self._aliases)

    def _mismatch(self, shape: tuple[int, ...]) -> MismatchError:
        learned = (
            f"pictures {tuple(self._shown_shape)}"
            if self._shown_shape
            else "the screen at its own size"
        )
        return MismatchError(
            f"the model learned from {learned}, the observation shows {shape}: "
            "pass frame_source=env.render (render_mode='rgb_array')"
        )


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    return space.dtype == np.uint8 and len(space.shape or ()) in (2, 3)


def _is_resized(observation: Any) -> bool:
    """Whether this is an Atari game's picture without its screen, and no screen itself."""
    if not isinstance(observation, Mapping) or source_of(observation["image"]) is not None:
        return False
    text = observation.get("text")
    if (
        not isinstance(text, str)
        or "Game: " not in text
        or Facts.from_text(text).game not in game_names()
    ):
        return False
    shape = np.shape(observation["image"])
    return not (len(shape) == 3 and shape[1] == _SCREEN_WIDTH and shape[0] in _SCREEN_HEIGHTS)


def can_see(
    space: gymnasium.Space[Any],
    shown: gymnasium.Space[Any],
    aliases: Mapping[str, str] | None = None,
) -> bool:
    """Whether a model with observation space ``space`` can be shown observations of the space
    ``shown``; ``aliases`` as of an :class:`Eye`.
    """
    keys = {"/".join(map(str, path)): leaf for path, leaf in space_leaves(shown)}
    named = {name: keys[key] for name, key in (aliases or {}).items() if key in keys}
    if isinstance(space, (Dict, Tuple)):
        parts, wanted = {**named, **parts_of(shown)}, parts_of(space)
        return all(key in parts and can_see(sub, parts[key]) for key, sub in wanted.items())
    if len(named) == 1:
        (shown,) = named.values()
    if isinstance(space, Text):
        return isinstance(shown, Text)
    if isinstance(shown, Dict) and "image" in shown.spaces:
        shown = shown["image"]
    if is_rgb(space) and isinstance(shown, PILImage):
        return True
    shape, given = space.shape or (), shown.shape or ()
    if (
        space.dtype == shown.dtype == np.uint8
        and len(shape) == len(given) == 3
        and shape[2] == given[2]
    ):
        return True
    return (
        space.shape is not None and shown.shape == space.shape and _keeps(shown.dtype, space.dtype)
    )
