"""The one entry for actions: which action spaces there are here, and what is an action of one.

An action space is ``Discrete`` (``start`` to ``start + n - 1``), or a ``MultiDiscrete`` or a bounded
``Box`` of floats with one axis. Many actions are int64 ``(...)``, or int64 or float32 ``(..., A)``;
one action is an ``int``, or int64 or float32 ``(A,)``. Other numeric types are cast; what the space
does not contain is refused.
"""

from __future__ import annotations

import operator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from atari_vlm.errors import ConfigError
from atari_vlm.types import Action


def check_action_space(
    space: gymnasium.Space[Any], whose: str = "this one"
) -> Discrete | MultiDiscrete | Box:
    """``space``, if it is one of those above; ``ConfigError`` names ``whose`` it is otherwise."""
    if isinstance(space, Discrete):
        return space
    if isinstance(space, (MultiDiscrete, Box)) and len(space.shape) == 1 and space.shape[0]:
        if isinstance(space, MultiDiscrete) or _is_bounded(space):
            return space
    raise ConfigError(
        f"actions are Discrete, or a bounded Box of floats with one axis, or a MultiDiscrete with one axis; {whose} has {space}"
    )


def _is_bounded(space: Box) -> bool:
    floats = space.dtype in (np.float32, np.float64)
    return bool(floats and np.isfinite(space.low).all() and np.isfinite(space.high).all())


def as_actions(space: gymnasium.Space[Any], actions: Any, what: str = "actions") -> np.ndarray:
    """``actions`` of any leading shape as int64 ``(...)``, or int64 or float32 ``(..., A)``, a fresh
    array.

    ``ConfigError``, which calls them ``what``, for a ragged list, another type or last axis, and
    for what is no action of ``space``.
    """
    space = check_action_space(space)
    try:
        array = np.asarray(actions)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what} must all have one length, got {actions!r}") from error
    if array.size == 0:
        return _none(space, array)
    return _continuous(space, array, what) if isinstance(space, Box) else _whole(space, array, what)


def _none(space: Discrete | MultiDiscrete | Box, array: np.ndarray) -> np.ndarray:
    """No actions, however they were written."""
    leading = array.shape
    if space.shape and leading[-1:] == space.shape:
        leading = leading[:-1]
    dtype = np.float32 if isinstance(space, Box) else np.int64
    return np.zeros((*leading, *(space.shape or ())), dtype)


def _whole(space: Discrete | MultiDiscrete, array: np.ndarray, what: str) -> np.ndarray:
    low = space.start
    high = low + (space.n if isinstance(space, Discrete) else space.nvec) - 1
    shaped = array.shape[-1:] == space.shape or not space.shape
    if array.dtype.kind not in "iu" or not shaped or (array < low).any() or (array > high).any():
        raise ConfigError(f"{what} must be whole numbers from {low} to {high}, got {_short(array)}")
    return array.astype(np.int64)


def _continuous(space: Box, array: np.ndarray, what: str) -> np.ndarray:
    (width,) = space.shape
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
    """One action as an ``int``, or int64 or float32 ``(A,)``, a fresh array; 0-d arrays and tensors
    of any library are taken too.
    """
    if isinstance(space, Discrete):
        index = action if type(action) is int else as_index(action, what)
        low, n = int(space.start), int(space.n)
        if not low <= index < low + n:
            raise ConfigError(
                f"{what} must be whole numbers from {low} to {low + n - 1}, got {index}"
            )
        return index
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
    """Uniformly random actions, int64 ``shape``, or int64 or float32 ``(*shape, A)``."""
    space = check_action_space(space)
    if isinstance(space, Discrete):
        return rng.integers(int(space.n), size=shape) + int(space.start)
    if isinstance(space, MultiDiscrete):
        return rng.integers(space.nvec, size=(*shape, *space.shape)) + space.start
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
    if isinstance(space, MultiDiscrete):
        return space.start.astype(np.int64)
    return np.clip(np.zeros(space.shape, np.float32), *bounds(space))


def numbers_of(space: gymnasium.Space[Any]) -> range:
    """The numbers of ``Discrete`` actions; none of any other."""
    if not isinstance(space, Discrete):
        return range(0)
    return range(int(space.start), int(space.start + space.n))
