"""What an environment shows, as named arrays: pictures, numbers and texts of any observation.

An observation is one value or a tree of them (``Dict``, ``Tuple``). Each value is a picture (uint8
``(H, W)`` or ``(H, W, C)``, a PIL image), numbers (any other array), or a text (kept as its UTF-8
bytes). It is named by its key, ``robot/camera`` inside a nested dictionary; the only one of its kind is
named ``image``, ``state`` or ``text``, whatever its key, unless another has that key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Text, Tuple

from atari_vlm.errors import MismatchError, UnknownNameError
from atari_vlm.experience.replay import Column
from atari_vlm.space_trees import Path, map_space, parts_of, space_leaves, value_at
from atari_vlm.spaces import PILImage
from atari_vlm.trees import texts
from atari_vlm.world_models.seeing import as_seen

IMAGE, STATE, TEXT = "image", "state", "text"
_MOST_CHANNELS = 16  # more on the last axis is no picture


@dataclass(frozen=True)
class Input:
    """Where a value lies in an observation, its kind, and its column at its own size."""

    path: Path
    kind: str
    column: Column

    @property
    def key(self) -> str:
        """Its own name in the observation: ``robot/camera``."""
        return "/".join(map(str, self.path)) or "observation"

    def read(self, observation: Any, column: Column, whose: str) -> np.ndarray:
        """The present value, a fresh array of ``column``; pictures are brought to its size.

        Raises ``MismatchError`` in the name of ``whose`` for another shape or type, NaN and infinities.
        """
        try:
            value = value_at(observation, self.path)
        except (KeyError, IndexError, TypeError) as error:
            raise MismatchError(
                f"{whose} shows no {self.key}, which its observation space has"
            ) from error
        if self.kind == IMAGE:
            picture = np.asarray(value)
            picture = picture[..., None] if picture.ndim == 2 else picture
            return as_seen(picture, Box(0, 255, column.shape, np.uint8), whose)
        if self.kind == TEXT:
            value = _bytes_of(value, column.shape[0], whose)
        return column.checked(value, f"{self.key} of {whose}").copy()


def inputs_of(
    space: gymnasium.Space[Any], whose: str, keys: Sequence[str] = (), *, own_keys: bool = False
) -> dict[str, Input]:
    """The inputs of an observation space by name: those of ``keys``, or all there are. With ``own_keys`` only a plain
    observation is named by its kind.

    Raises ``MismatchError`` where there is none, ``UnknownNameError`` for a key that the space has not.
    """
    found = (_input(path, leaf) for path, leaf in space_leaves(space))
    parts = {part.key: part for part in found if part is not None}
    if not parts:
        raise MismatchError(f"{whose} shows neither pictures nor numbers nor texts: {space}")
    for key in keys:
        if key not in parts:
            raise UnknownNameError(f"part of what {whose} shows", key, parts)
    selected = {key: parts[key] for key in keys or parts}
    if own_keys and parts_of(space):
        return selected
    kinds = Counter(part.kind for part in selected.values())
    return {
        part.kind if kinds[part.kind] == 1 and part.kind not in selected else key: part
        for key, part in selected.items()
    }


def texts_among(inputs: Mapping[str, Input]) -> tuple[str, ...]:
    """The names of those that are texts."""
    return tuple(name for name, part in inputs.items() if part.kind == TEXT)


def read_inputs(
    observation: Any, columns: Mapping[str, Column], whose: str, keys: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The named arrays that ``columns`` hold, of an observation whose space is not known: the same as :class:`Input` reads.

    ``keys`` as in :func:`inputs_of`. ``MismatchError`` where the observation does not show them.
    """
    own = [name for name in columns if isinstance(observation, Mapping) and name in observation]
    if not keys and len(own) == len(columns):
        keys = own
    parts = inputs_of(_space_of(observation), whose, keys)
    if missing := [name for name in columns if name not in parts]:
        shown = described({name: part.column for name, part in parts.items()})
        raise MismatchError(f"{whose} shows {shown}, no {', '.join(missing)}")
    return {name: parts[name].read(observation, column, whose) for name, column in columns.items()}


def _space_of(observation: Any) -> gymnasium.Space[Any]:
    """A space that an observation is of."""
    if isinstance(observation, Mapping):
        return Dict({key: _space_of(value) for key, value in observation.items()})
    if isinstance(observation, tuple):
        return Tuple([_space_of(value) for value in observation])
    if isinstance(observation, str):
        return Text(max(1, len(observation)))
    array = np.asarray(observation)
    if array.dtype.kind not in "biuf":
        raise MismatchError(
            f"an observation is made of pictures, numbers and texts, got {type(observation).__name__}"
        )
    low, high = (0, 255) if array.dtype == np.uint8 else (-np.inf, np.inf)
    return Box(low, high, array.shape, array.dtype if array.dtype.kind != "b" else np.uint8)


def described(columns: Mapping[str, Column]) -> str:
    """In words: ``image uint8 (64, 64, 3), state float32 (4,)``."""
    return ", ".join(f"{name} {column.dtype} {column.shape}" for name, column in columns.items())


def _input(path: Path, space: gymnasium.Space[Any]) -> Input | None:
    if isinstance(space, Text):
        widest = max((len(character.encode()) for character in space.character_set), default=1)
        return Input(path, TEXT, Column((space.max_length * widest,), "uint8"))
    if isinstance(space, PILImage) or _is_picture(space):
        height, width, *channels = space.shape or ()
        return Input(
            path, IMAGE, Column((height, width, *(channels or [1])), "uint8", on_disk=True)
        )
    if (
        space.shape is None
        or space.dtype is None
        or np.dtype(space.dtype).kind not in "biuf"
        or 0 in space.shape
    ):
        return None
    dtype = "float32" if np.dtype(space.dtype).kind == "f" else np.dtype(space.dtype).name
    return Input(path, STATE, Column(tuple(space.shape), dtype))


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    shape = space.shape or ()
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] <= _MOST_CHANNELS)
    return isinstance(space, Box) and space.dtype == np.uint8 and flat


def _bytes_of(value: Any, length: int, whose: str) -> np.ndarray:
    """A text's UTF-8 bytes, zeros after it."""
    content = value.encode() if isinstance(value, str) else None
    if content is None or len(content) > length:
        raise MismatchError(f"{whose} shows a text of at most {length} bytes, got {value!r:.80}")
    return np.frombuffer(content.ljust(length, b"\0"), np.uint8)


def texts_of(columns: np.ndarray) -> np.ndarray:
    """Texts as the inputs hold them, uint8 ``(..., L)``, as an object array ``(...)`` of strings."""
    rows = columns.reshape(-1, columns.shape[-1])
    return texts([row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in rows]).reshape(
        columns.shape[:-1]
    )


def as_observations(arrays: Mapping[str, np.ndarray], space: gymnasium.Space[Any]) -> Any:
    """Named inputs of a batch as a model of ``space`` reads them: one alone is bare, and texts are strings."""
    observations = arrays if len(arrays) > 1 else next(iter(arrays.values()))
    return map_space(
        lambda part, values: texts_of(values) if isinstance(part, Text) else values,
        space,
        observations,
    )
