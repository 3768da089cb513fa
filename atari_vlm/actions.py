"""The one entry for actions: which action spaces there are here, and what is an action of one.

An action space is ``Discrete`` (``start`` to ``start + n - 1``), or a bounded ``Box`` of floats
with one axis. Many actions are int64 ``(...)`` or float32 ``(..., A)``; one action is an ``int`` or
float32 ``(A,)``. Other numeric types are cast; what the space does not contain is refused.
"""

from __future__ import annotations

import operator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from atari_vlm.errors import ConfigError
from atari_vlm.types import Action


def check_action_space(space: gymnasium.Space[Any], whose: str = "this one") -> Discrete | Box:
    """``space``, if it is one of those above; ``ConfigError`` names ``whose`` it is otherwise."""
    if isinstance(space, Discrete):
        return space
    if (
        isinstance(space, Box)
        and space.dtype in (np.float32, np.float64)
        and len(space.shape) == 1
        and space.shape[0]
    ):
        if np.isfinite(space.low).all() and np.isfinite(space.high).all():
            return space
    raise ConfigError(
        f"actions are Discrete, or a bounded Box of floats with one axis; {whose} has {space}"
    )


def as_actions(space: gymnasium.Space[Any], actions: Any, what: str = "actions") -> np.ndarray:
    """``actions`` of any leading shape as int64 ``(...)`` or float32 ``(..., A)``, a fresh array.

    ``ConfigError``, which calls them ``what``, for a ragged list, another type or last axis, and
    for what is no action of ``space``.
    """
    space = check_action_space(space)
    try:
        array = np.asarray(actions)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what} must all have one length, got {actions!r}") from error
    return (
        _discrete(space, array, what)
        if isinstance(space, Discrete)
        else _continuous(space, array, what)
    )


def _discrete(space: Discrete, array: np.ndarray, what: str) -> np.ndarray:
    if array.size == 0:
        return np.zeros(array.shape, np.int64)
    low, high = int(space.start), int(space.start + space.n - 1)
    if array.dtype.kind not in "iu" or array.min() < low or array.max() > high:
        raise ConfigError(f"{what} must be whole numbers from {low} to {high}, got {_short(array)}")
    return array.astype(np.int64)


def _continuous(space: Box, array: np.ndarray, what: str) -> np.ndarray:
    (width,) = space.shape
    if array.size == 0:
        leading = array.shape[:-1] if array.shape[-1:] == (width,) else array.shape
        return np.zeros((*leading, width), np.float32)
    if array.dtype.kind not in "iuf" or array.shape[-1:] != (width,):
        raise ConfigError(f"{what} must be numbers (..., {width}), got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        values = array.astype(space.dtype)
    if not ((values >= space.low) & (values <= space.high)).all():
        raise ConfigError(f"{what} must lie in {space}, got {_short(array)}")
    return np.clip(values.astype(np.float32), *bounds(space))


def _short(array: np.ndarray) -> str:
    return " ".join(np.array2string(array, threshold=12, precision=4).split())


def as_action(space: gymnasium.Space[Any], action: Any, what: str = "action") -> Action:
    """One action as an ``int`` or float32 ``(A,)``, a fresh array; 0-d arrays and tensors of any
    library are taken too.
    """
    if isinstance(check_action_space(space), Discrete):
        return int(as_actions(space, as_index(action, what), what))
    array = as_actions(space, action, what)
    if array.ndim != 1:
        raise ConfigError(f"{what} is one action {space.shape}, got {np.shape(action)}")
    return array


def as_index(action: Any, what: str = "action") -> int:
    """A whole number of any kind (an int, a numpy scalar, a 0-d array or tensor) as ``int``;
    ``ConfigError`` otherwise.
    """
    try:
        return operator.index(action)
    except TypeError as error:
        raise ConfigError(f"{what} must be a whole number, got {action!r}") from error


def bounds(space: Box) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest action in float32 ``(A,)``, both within ``space``."""
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    low = np.where(low < space.low, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > space.high, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high


def random_actions(
    space: gymnasium.Space[Any], shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Uniformly random actions, int64 ``shape`` or float32 ``(*shape, A)``."""
    space = check_action_space(space)
    if isinstance(space, Discrete):
        return rng.integers(int(space.n), size=shape) + int(space.start)
    return np.clip(
        rng.uniform(space.low, space.high, (*shape, *space.shape)).astype(np.float32),
        *bounds(space),
    )


def still_action(space: gymnasium.Space[Any]) -> Action:
    """What is played while a dream waits for pictures: the first action, or the one nearest to
    zero.
    """
    space = check_action_space(space)
    if isinstance(space, Discrete):
        return int(space.start)
    return np.clip(np.zeros(space.shape, np.float32), *bounds(space))
