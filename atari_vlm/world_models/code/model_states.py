"""The states of a program as rows of arrays: what crosses to it, what comes back, and what is refused on the way.

Contract 1: a state is an observation, kept at the program's own precision (float64 and int64). Contract 2: a state is any plain
data, one object a row; numbers of one shape where the program steps batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from atari_vlm.errors import ConfigError, SandboxProgramError
from atari_vlm.space_trees import map_space
from atari_vlm.trees import map_leaves, take_row

Wrong = dict[int, str]  # what is wrong with the state of a row
ALIVE, OVER = np.array([False]), np.array([True])  # the ends of one row
ALIVE.setflags(write=False)
OVER.setflags(write=False)


class CodeState(NamedTuple):
    """``values`` are the rows of a :data:`StateForm`; ``over`` bool ``(B,)`` rows have ended and stay as they are."""

    values: Any
    over: np.ndarray


class Numbers:
    """States that are observations of a space with one array: float64 or int64 ``(B, *shape)``.

    A row is refused for another shape, for what is not finite, and for whole numbers outside the space.
    """

    def __init__(self, space: gymnasium.Space[Any]):
        assert space.shape is not None
        self.shape, self.dtype = space.shape, np.dtype(space.dtype)
        self.is_whole = self.dtype.kind in "iub"
        self._type = np.dtype(np.int64 if self.is_whole else np.float64)
        self._low: Any = None
        self._high: Any = None
        if self.is_whole:
            self._low, self._high = _bounds(space)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """The array itself."""
        return values

    def read(self, rows: Any) -> tuple[np.ndarray, Wrong]:
        """The rows at once where they all fit, else one by one."""
        values = self._fitting(rows, (len(rows), *self.shape))
        return (values, {}) if values is not None else self._one_by_one(rows)

    def kept(self, observations: np.ndarray) -> np.ndarray:
        """Observations as states."""
        return observations.astype(self._type)

    def shown(self, values: np.ndarray) -> np.ndarray:
        """The observations of states, a fresh array."""
        with np.errstate(over="ignore"):
            return values.astype(self.dtype)

    def _fitting(self, rows: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        array = _as_numbers(rows)
        if array is None or array.shape != shape:
            return None
        return self._whole(array) if self.is_whole else self._finite(array)

    def _finite(self, array: np.ndarray) -> np.ndarray | None:
        return array.astype(np.float64) if np.isfinite(array).all() else None

    def _whole(self, array: np.ndarray) -> np.ndarray | None:
        if ((array < self._low) | (array > self._high)).any():
            return None
        values = array.astype(np.int64)
        return values if array.dtype.kind != "f" or np.array_equal(values, array) else None

    def _one_by_one(self, rows: Iterable[Any]) -> tuple[np.ndarray, Wrong]:
        fitted = [self._fitting(row, self.shape) for row in rows]
        blank = np.zeros(self.shape, self._type)
        wrong = {
            i: self._complaint(row)
            for i, (row, fit) in enumerate(zip(rows, fitted, strict=True))
            if fit is None
        }
        return np.stack([blank if fit is None else fit for fit in fitted]), wrong

    def _complaint(self, row: Any) -> str:
        what = "whole numbers of the space" if self.is_whole else "finite numbers"
        return f"a state is {what} of the shape {self.shape}, the program gave {brief(row)}"


def _bounds(space: gymnasium.Space[Any]) -> tuple[Any, Any]:
    """The smallest and the largest whole number of a space, each place its own."""
    if isinstance(space, Box):
        return space.low, space.high
    if isinstance(space, Discrete):
        return int(space.start), int(space.start + space.n - 1)
    if isinstance(space, MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    return 0, 1


class Trees:
    """States that are observations of a ``Tuple`` or ``Dict`` space: a tree of :class:`Numbers`; plain data where it crosses."""

    def __init__(self, space: gymnasium.spaces.Tuple | gymnasium.spaces.Dict):
        self._parts = map_space(numbers_of, space)

    def rows(self, values: Any) -> list[Any]:
        """One tree of plain numbers and lists a row."""
        counts: list[int] = []
        map_leaves(lambda leaf: counts.append(len(leaf)), values)
        return [map_leaves(plain, take_row(values, row)) for row in range(counts[0])]

    def read(self, rows: Sequence[Any]) -> tuple[Any, Wrong]:
        """The rows, part by part."""
        wrong: Wrong = {}
        values = _read_part(self._parts, list(enumerate(rows)), wrong)
        return values, wrong

    def kept(self, observations: Any) -> Any:
        """Observations as states."""
        return map_leaves(lambda part, leaf: part.kept(leaf), self._parts, observations)

    def shown(self, values: Any) -> Any:
        """The observations of states, fresh arrays."""
        return map_leaves(lambda part, leaf: part.shown(leaf), self._parts, values)


def _read_part(parts: Any, rows: list[tuple[int, Any]], wrong: Wrong) -> Any:
    if isinstance(parts, Numbers):
        values, mistakes = parts.read([row for _, row in rows])
        wrong.update({rows[i][0]: text for i, text in mistakes.items()})
        return values
    keys = range(len(parts)) if isinstance(parts, tuple) else parts
    read = {
        key: _read_part(parts[key], [(i, _entry(parts, row, key)) for i, row in rows], wrong)
        for key in keys
    }
    return tuple(read.values()) if isinstance(parts, tuple) else read


def _entry(parts: Any, row: Any, key: Any) -> Any:
    """A part of a state; nothing, which no part takes, where the state has another form."""
    if isinstance(parts, tuple):
        return row[key] if isinstance(row, (list, tuple)) and len(row) == len(parts) else None
    return row.get(key) if isinstance(row, dict) and row.keys() == parts.keys() else None


class PlainData:
    """States that are any plain data: one object a row, ``(B,)``."""

    def rows(self, values: np.ndarray) -> list[Any]:
        """The objects."""
        return list(values)

    def read(self, rows: Any) -> tuple[np.ndarray, Wrong]:
        """Whatever the program gave."""
        values = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            values[i] = row
        return values, {}


class Columns(PlainData):
    """States of a program that steps batches: float64 ``(B, ...)`` where its first state is numbers, else any plain data."""

    _shape: tuple[int, ...] | None = (
        None  # of the first state; None before, and where it is no numbers
    )
    _begun = False

    def rows(self, values: np.ndarray) -> Any:
        """The array itself, or the objects."""
        return super().rows(values) if self._begun and self._shape is None else values

    def read(self, rows: Any) -> tuple[np.ndarray, Wrong]:
        """The rows as one array; all of them are wrong where they are none but should be."""
        array = _as_numbers(rows)
        if not self._begun:
            self._begun, self._shape = True, None if array is None else array.shape[1:]
        if self._shape is None:
            return super().read(rows)
        if array is None or array.shape[1:] != self._shape:
            text = f"a state is numbers of the shape {self._shape}, as the first was; the program gave {brief(rows)}"
            wrong = dict.fromkeys(range(len(rows)), text)
            return np.zeros((len(rows), *self._shape)), wrong
        finite = np.isfinite(array).reshape(len(array), -1).all(1)
        wrong = dict.fromkeys(np.flatnonzero(~finite).tolist(), "a state is finite numbers")
        return array.astype(np.float64), wrong


StateForm = Numbers | Trees | PlainData | Columns
"""How the states of one program lie in arrays: ``rows`` is what crosses, an array ``(B, ...)`` or a list of B plain data;
``read`` makes values of what came back, and says which rows are no states."""


def numbers_of(space: gymnasium.Space[Any]) -> Numbers:
    """How a leaf of observations lies in an array; ``ConfigError`` for one that programs do not have."""
    if isinstance(space, (Box, Discrete, MultiDiscrete, MultiBinary)):
        return Numbers(space)
    raise ConfigError(f"a program's observations are numbers, or trees of them; this is {space}")


def observed_form(space: gymnasium.Space[Any]) -> Numbers | Trees:
    """How observations of a space lie in arrays."""
    return Trees(space) if isinstance(space, (Dict, Tuple)) else numbers_of(space)


def _as_numbers(rows: Any) -> np.ndarray | None:
    """Rows as an array of numbers; ``None`` for ragged ones and anything else."""
    try:
        array = np.asarray(rows)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "iufb" else None


def checked(values: Any, wrong: Wrong) -> Any:
    """``values``; ``SandboxProgramError`` for the first row that is wrong."""
    for row, text in wrong.items():
        raise SandboxProgramError(f"row {row}: {text}" if len(wrong) > 1 or row else text)
    return values


def brief(value: Any) -> str:
    """Plain data in a sentence: its beginning."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def plain(leaf: Any) -> Any:
    """A leaf of one row as a program gets it: an array, or a Python number."""
    return leaf if np.ndim(leaf) else np.asarray(leaf).item()


def float32(rewards: np.ndarray) -> np.ndarray:
    """Rewards in the precision of a :class:`~atari_vlm.world_models.base.ModelStep`."""
    with np.errstate(over="ignore"):
        return rewards.astype(np.float32)


def picture_rows(drawn: Sequence[Any]) -> np.ndarray:
    """What ``render`` gave as uint8 ``(B, H, W, 3)``; ``SandboxProgramError`` for what is no picture."""
    array = _as_numbers(drawn)
    if array is None or array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        given = brief(drawn[0])
        raise SandboxProgramError(
            f"render gives pictures uint8 (H, W, 3), the program gave {given}"
        )
    with np.errstate(invalid="ignore"):
        pictures = array.astype(np.uint8)
    if not np.array_equal(pictures, array):
        raise SandboxProgramError("render gives whole numbers from 0 to 255")
    return pictures
