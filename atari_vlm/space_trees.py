"""Observation spaces as trees: ``Dict`` and ``Tuple`` above, anything else a leaf; and what is an observation of one.

Observations of a ``Dict`` are dicts, of a ``Tuple`` tuples. In a batch a leaf is an array with the batch's axes first: of the
space's type and shape, or for ``Text`` an object array of ``str``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete, Text, Tuple

Path = tuple[str | int, ...]


def parts_of(space: gymnasium.Space[Any]) -> dict[Any, gymnasium.Space[Any]]:
    """What a space is made of, by key or index; of a leaf nothing."""
    if isinstance(space, Dict):
        return dict(space.spaces)
    return dict(enumerate(space.spaces)) if isinstance(space, Tuple) else {}


def space_leaves(
    space: gymnasium.Space[Any], path: Path = ()
) -> Iterator[tuple[Path, gymnasium.Space[Any]]]:
    """Every leaf of a space and where it lies."""
    if not isinstance(space, (Dict, Tuple)):
        yield path, space
    for key, part in parts_of(space).items():
        yield from space_leaves(part, (*path, key))


def map_space(function: Callable[..., Any], space: gymnasium.Space[Any], *trees: Any) -> Any:
    """``function(leaf space, *leaves)`` at every leaf, as an observation of the space is built."""
    if not isinstance(space, (Dict, Tuple)):
        return function(space, *trees)
    built = {
        key: map_space(function, part, *(tree[key] for tree in trees))
        for key, part in parts_of(space).items()
    }
    return built if isinstance(space, Dict) else tuple(built.values())


def value_at(observation: Any, path: Path) -> Any:
    """What lies there; ``KeyError``, ``IndexError`` or ``TypeError`` where nothing does."""
    for key in path:
        observation = observation[key]
    return observation


def row_of(space: gymnasium.Space[Any], observations: Any, row: int | np.integer[Any]) -> Any:
    """One observation of many, as the space has it: numbers of a ``Discrete`` scalars, texts ``str``, all else copied arrays."""

    def one(leaf: gymnasium.Space[Any], values: np.ndarray) -> Any:
        value = values[row]
        return value if isinstance(leaf, (Discrete, Text)) else np.array(value)

    return map_space(one, space, observations)


def fits(space: gymnasium.Space[Any], observations: Any, leading: int) -> bool:
    """Whether ``observations`` are a tree of arrays as the space has it, after ``leading`` axes."""
    if isinstance(space, (Dict, Tuple)):
        if not isinstance(observations, dict if isinstance(space, Dict) else tuple):
            return False
        there = observations if isinstance(observations, dict) else dict(enumerate(observations))
        parts = parts_of(space)
        return there.keys() == parts.keys() and all(
            fits(part, there[key], leading) for key, part in parts.items()
        )
    if not isinstance(observations, np.ndarray):
        return False
    if isinstance(space, Text):
        strings = observations.dtype == object and observations.ndim == leading
        return strings and all(isinstance(text, str) for text in observations.ravel())
    return observations.shape[leading:] == space.shape and observations.dtype == space.dtype


def described(observations: Any, leading: int = 0) -> str:
    """Types and shapes of observations after ``leading`` axes, for a sentence."""
    if isinstance(observations, Mapping):
        parts = (f"{key}: {described(value, leading)}" for key, value in observations.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(observations, tuple):
        return f"({', '.join(described(value, leading) for value in observations)})"
    if not hasattr(observations, "dtype"):
        return f"{type(observations).__name__} {np.shape(observations)[leading:]}"
    return f"{observations.dtype} {observations.shape[leading:]}"


def nothing_of(space: gymnasium.Space[Any]) -> Any:
    """No observation of a space: every leaf ``(0, ...)``."""

    def empty(leaf: gymnasium.Space[Any]) -> np.ndarray:
        text = isinstance(leaf, Text)
        return np.zeros((0, *(() if text else leaf.shape or ())), object if text else leaf.dtype)

    return map_space(empty, space)


def is_rgb(space: gymnasium.Space[Any]) -> bool:
    """Whether ``space`` is one of colour pictures uint8 ``(H, W, 3)``."""
    shape = space.shape or ()
    return len(shape) == 3 and shape[2] == 3 and space.dtype == np.uint8


def picture_in(space: gymnasium.Space[Any]) -> Path | None:
    """Where the picture of an observation lies: its one leaf of RGB pictures, of several the entry
    ``image``; ``None`` where there is none.
    """
    pictures = [path for path, leaf in space_leaves(space) if is_rgb(leaf)]
    return (
        pictures[0] if len(pictures) == 1 else next((p for p in pictures if p == ("image",)), None)
    )
