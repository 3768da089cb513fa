"""Transitions of one environment, as arrays: what a program that models the environment is judged by.

A :class:`TransitionBuffer` is a plain table: row ``i`` says that in ``observations[i]`` the action ``actions[i]`` led to
``rewards[i]`` and ``next_observations[i]``, and whether the episode ended there. What ended by itself (``terminated``) is kept
apart from what was cut (``truncated``): a model without a clock can foretell only the former.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete, Tuple

from atari_vlm.actions import as_actions, check_action_space
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.transition_files import write_buffer
from atari_vlm.settings import plain
from atari_vlm.trees import concat_rows, map_leaves, take_rows

_KINDS = {"f": "biuf", "i": "biu", "u": "biu", "b": "biu"}  # of numbers, by what they become


class TransitionBuffer:
    """N transitions of one environment; arrays ``(N, ...)``, never empty.

    ``observations`` and ``next_observations`` are of ``observation_space``: int64 ``(N,)`` of a ``Discrete``, an array
    ``(N, ...)`` of the dtype of a ``Box``, ``MultiDiscrete`` or ``MultiBinary``, a tuple or dict of those of a ``Tuple`` or
    ``Dict``. ``actions`` are int64 ``(N,)`` or float32 ``(N, A)``, ``rewards`` finite float64 ``(N,)``, ``terminated`` and
    ``truncated`` bool ``(N,)``. ``trajectory_starts`` int64 ``(E,)`` are the rows at which trajectories begin; without them one
    begins after each end. ``provenance`` is plain JSON data. Raises ``ConfigError`` for what does not fit together.
    """

    def __init__(
        self,
        observations: Any,
        actions: Any,
        rewards: Any,
        next_observations: Any,
        terminated: Any,
        truncated: Any,
        *,
        env_id: str,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        trajectory_starts: Any = None,
        provenance: Mapping[str, Any] | None = None,
    ):
        if not isinstance(env_id, str) or not env_id or not env_id.isprintable():
            raise ConfigError(f"env_id is the id of an environment, got {env_id!r}")
        self.env_id, self.observation_space = env_id, observation_space
        self.action_space: gymnasium.Space[Any] = check_action_space(action_space, env_id)
        self.rewards = _rewards(rewards)  # (N,)
        n = len(self.rewards)
        self.actions = as_actions(action_space, actions)  # (N,) or (N, A)
        if len(np.shape(self.actions)) != 1 + len(action_space.shape or ()):
            raise ConfigError(f"actions are one a row, got the shape {np.shape(self.actions)}")
        _check_count("actions", len(self.actions), n)
        self.observations = as_rows(observation_space, observations, n, "observations")
        self.next_observations = as_rows(
            observation_space, next_observations, n, "next_observations"
        )
        self.terminated = _flags(terminated, n, "terminated")
        self.truncated = _flags(truncated, n, "truncated")
        self.trajectory_starts = self._starts(trajectory_starts)  # (E,)
        self.provenance = _plain_json({} if provenance is None else provenance)

    def __len__(self) -> int:
        return len(self.rewards)

    def __repr__(self) -> str:
        return f"TransitionBuffer({self.env_id}, {len(self)} transitions, {len(self.trajectory_starts)} trajectories)"

    @property
    def trajectories(self) -> tuple[slice, ...]:
        """The rows of each trajectory."""
        begins = self.trajectory_starts.tolist()
        return tuple(slice(a, b) for a, b in zip(begins, [*begins[1:], len(self)], strict=True))

    def states(self) -> list[Any]:
        """The observations one by one as a program is given them: numbers, float64 or int64 arrays, lists and dicts of them."""
        wide = map_leaves(_wide, self.observations)
        return [_row(wide, row) for row in range(len(self))]

    def row(self, row: int) -> dict[str, Any]:
        """One transition as plain data: ``state``, ``action``, ``next_state``, ``reward``, ``terminated``, ``truncated``."""
        return {
            "state": map_leaves(lambda leaf: leaf[row].tolist(), self.observations),
            "action": self.actions[row].tolist(),
            "next_state": map_leaves(lambda leaf: leaf[row].tolist(), self.next_observations),
            "reward": float(self.rewards[row]),
            "terminated": bool(self.terminated[row]),
            "truncated": bool(self.truncated[row]),
        }

    def take(self, rows: Sequence[int] | np.ndarray) -> TransitionBuffer:
        """The given rows as a buffer of their own; what does not follow its neighbour begins a trajectory."""
        index = np.asarray(rows, np.int64)
        follows = (np.diff(index) == 1) & ~np.isin(index[1:], self.trajectory_starts)
        return TransitionBuffer(
            take_rows(self.observations, index),
            self.actions[index],
            self.rewards[index],
            take_rows(self.next_observations, index),
            self.terminated[index],
            self.truncated[index],
            env_id=self.env_id,
            observation_space=self.observation_space,
            action_space=self.action_space,
            trajectory_starts=np.flatnonzero(np.append(True, ~follows)) if len(index) else None,
            provenance=self.provenance,
        )

    def followed_by(self, other: TransitionBuffer) -> TransitionBuffer:
        """These transitions and then those of ``other``; ``MismatchError`` where it is of another environment."""
        mine, others = (
            (one.env_id, one.observation_space, one.action_space) for one in (self, other)
        )
        if mine != others:
            raise MismatchError(f"transitions of {other.env_id} do not go on from {self.env_id}'s")
        names = (
            *("observations", "actions", "rewards", "next_observations", "terminated"),
            "truncated",
        )
        columns = concat_rows([[getattr(one, name) for name in names] for one in (self, other)])
        return TransitionBuffer(
            *columns,
            env_id=self.env_id,
            observation_space=self.observation_space,
            action_space=self.action_space,
            trajectory_starts=np.append(
                self.trajectory_starts, other.trajectory_starts + len(self)
            ),
            provenance=self.provenance,
        )

    def save(self, folder: str | Path, name: str) -> Path:
        """Write ``<folder>/<name>.npz`` and ``<name>.json`` beside it; the path of the npz.

        Raises ``ConfigError`` for a name that could lead elsewhere, ``StorageError`` where the disk is full.
        """
        return write_buffer(self, folder, name)

    def _starts(self, given: Any) -> np.ndarray:
        ends = self.terminated | self.truncated
        if given is None:
            return np.flatnonzero(np.append(True, ends[:-1]))
        starts = np.asarray(given)
        whole = starts.dtype.kind in "iu" and starts.ndim == 1 and len(starts) > 0
        if not whole or starts[0] != 0 or starts[-1] >= len(self) or (np.diff(starts) <= 0).any():
            raise ConfigError(
                f"trajectory_starts ascend from 0 and lie below {len(self)}, got {given!r}"
            )
        return starts.astype(np.int64)


def as_rows(space: gymnasium.Space[Any], values: Any, n: int, what: str) -> Any:
    """``n`` observations of ``space`` as fresh arrays, see :class:`TransitionBuffer`.

    Raises ``ConfigError``, which calls them ``what``, for what is not of the space.
    """
    if isinstance(space, Dict):
        if not isinstance(values, Mapping) or values.keys() != space.spaces.keys():
            raise ConfigError(f"{what} hold {', '.join(space.spaces)}")
        parts = space.spaces.items()
        return {name: as_rows(part, values[name], n, f"{what}/{name}") for name, part in parts}
    if isinstance(space, Tuple):
        if not isinstance(values, (tuple, list)) or len(values) != len(space.spaces):
            raise ConfigError(f"{what} are {len(space.spaces)} arrays side by side")
        pairs = enumerate(zip(space.spaces, values, strict=True))
        return tuple(as_rows(part, array, n, f"{what}/{i}") for i, (part, array) in pairs)
    return _leaf(space, values, n, what)


def check_observation_space(space: gymnasium.Space[Any]) -> None:
    """Raise ``ConfigError`` unless observations of ``space`` are arrays of numbers, or tuples and dicts of those."""
    if isinstance(space, (Dict, Tuple)):
        parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
        for part in parts:
            check_observation_space(part)
    elif space.shape is None or np.dtype(space.dtype or object).kind not in _KINDS:
        raise ConfigError(f"observations are numbers; {space} is not read here")


def _leaf(space: gymnasium.Space[Any], values: Any, n: int, what: str) -> np.ndarray:
    check_observation_space(space)
    array, dtype, shape = np.asarray(values), np.dtype(space.dtype), space.shape or ()
    if array.dtype.kind not in _KINDS[dtype.kind] or array.shape[1:] != shape:
        raise ConfigError(f"{what} are {dtype} {(n, *shape)}, got {array.dtype} {array.shape}")
    _check_count(what, len(array), n)
    if isinstance(space, Discrete):
        if array.min() < space.start or array.max() >= space.start + space.n:
            raise ConfigError(f"{what} are of {space}, got {array.min()} to {array.max()}")
        return array.astype(np.int64)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ConfigError(f"{what} hold values that are no numbers (NaN)")
    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    if dtype.kind in "biu" and (made != array).any():
        raise ConfigError(f"{what} hold numbers that {dtype} cannot say")
    return made


def _wide(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.float64 if leaf.dtype.kind == "f" else np.int64)


def _row(rows: Any, row: int) -> Any:
    """A row with plain numbers where an array has no dimension left."""
    return map_leaves(lambda leaf: leaf[row] if leaf.ndim > 1 else leaf[row].item(), rows)


def _rewards(values: Any) -> np.ndarray:
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in "biuf" or not len(given):
        raise ConfigError(f"rewards are real numbers, one a row, got {given.dtype} {given.shape}")
    rewards = given.astype(np.float64)
    if len(wrong := np.flatnonzero(~np.isfinite(rewards))):
        raise ConfigError(f"the reward of row {wrong[0]} is {rewards[wrong[0]]}, no finite number")
    return rewards


def _flags(values: Any, n: int, what: str) -> np.ndarray:
    flags = np.asarray(values)
    right = flags.ndim == 1 and flags.dtype.kind in "biuf" and bool(np.isin(flags, (0, 1)).all())
    if not right:
        raise ConfigError(f"{what} are bool, one a row, got {flags.dtype} {flags.shape}")
    _check_count(what, len(flags), n)
    return flags.astype(np.bool_)


def _check_count(what: str, count: int, n: int) -> None:
    if count != n:
        raise ConfigError(f"there are {n} rewards and {count} {what}")


def _plain_json(provenance: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(provenance, Mapping):
        raise ConfigError(f"provenance is an object of JSON, got {provenance!r}")
    try:
        text = json.dumps(plain(provenance), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"provenance is plain JSON data: {error}") from error
    made: dict[str, Any] = json.loads(text)
    return made
