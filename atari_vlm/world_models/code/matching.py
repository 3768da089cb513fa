"""Which parts of predicted states are right.

A state is compared number by number: exactly where its space is of whole numbers, else by ``|predicted - true| <= 1e-5 + 1e-5
|true|``. A state of another shape is a miss throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Tuple

RELATIVE = ABSOLUTE = 1e-5
Parts = list[tuple[str, np.ndarray]]


def matches(space: gymnasium.Space[Any], predicted: Sequence[Any], true: Any) -> Parts:
    """What is right of N predicted states: for each part of a state its name and bool ``(N, numbers of the part)``.

    Parts are the entries of a ``Dict`` or ``Tuple``, those of an array along its first axis, or the one number of a ``Discrete``.
    ``true`` are arrays ``(N, ...)`` of ``space``, in tuples and dicts as the space has them.
    """
    if isinstance(space, (Dict, Tuple)):
        parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        return [
            (str(name), _whole(part, [_entry(state, name) for state in predicted], true[name]))
            for name, part in parts
        ]
    right = _numbers(predicted, true)
    if true.ndim == 1:
        return [("", right)]
    columns = right.reshape(len(right), true.shape[1], -1)
    return [(str(i), columns[:, i]) for i in range(true.shape[1])]


def _whole(space: gymnasium.Space[Any], predicted: list[Any], true: Any) -> np.ndarray:
    return np.concatenate([right for _, right in matches(space, predicted, true)], axis=1)


def _entry(state: Any, name: Any) -> Any:
    """A part of a predicted state; nothing where there is none."""
    if isinstance(state, dict):
        return state.get(name)
    try:
        return state[name] if isinstance(name, int) else None
    except (TypeError, IndexError):
        return None


def _numbers(predicted: Sequence[Any], true: np.ndarray) -> np.ndarray:
    """Bool ``(N, numbers)``; all false where the shape differs or something is no number."""
    n, values = len(true), numbers_in(predicted, true.shape)
    target = true.astype(np.float64)
    right = values == target
    if true.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            right |= np.abs(values - target) <= ABSOLUTE + RELATIVE * np.abs(target)
    return right.reshape(n, -1)


def numbers_in(states: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Predicted states as float64 of ``shape`` ``(N, ...)``; NaN in those that have another shape or hold what is no number."""
    values = np.full(shape, np.nan)
    for row, state in enumerate(states):
        array = _array(state)
        if array is not None and array.shape == shape[1:]:
            values[row] = array
    return values


def _array(state: Any) -> np.ndarray | None:
    try:
        array = np.asarray(state)
    except ValueError:  # lists of several lengths
        return None
    return array if array.dtype.kind in "biuf" else None
