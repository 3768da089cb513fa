"""The world-model protocol: explicit state, everything batched, steps pure, randomness an argument.

A state is a tree (tuple, dict or dataclass) whose leaves are arrays or tensors with the rows on the
first axis; that is all a planner needs to know about it (:func:`take_rows`, :func:`concat_rows`).

Semantics: (1) row ``i`` out depends on row ``i`` in only. (2) ``step`` never changes the state it
is given, so a search may branch. (3) A model terminates, an environment truncates. (4) One model
step is one agent step. (5) Nothing is decoded unless asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, MismatchError

S = TypeVar("S")


@dataclass(frozen=True)
class ModelStep(Generic[S]):
    """One dreamed step of B rows: ``reward`` float32 ``(B,)``, ``terminated`` bool ``(B,)``."""

    state: S
    reward: np.ndarray
    terminated: np.ndarray


@runtime_checkable
class WorldModel(Protocol[S]):
    """What turns (state, action) into (state, reward, terminated).

    ``observation_space`` is the space of one decoded row; ``action_space`` is one that
    :mod:`atari_vlm.actions` takes. ``frame_skip`` is emulator frames per step (1 where there is no
    emulator). ``reward_transform`` names what the rewards are: ``"none"`` (the game's own) or
    ``"sign"``. Actions are int64 ``(B,)``, or float32 ``(B, A)`` where they are continuous, always
    of the space.

    Observations are arrays, or dicts of arrays where ``observation_space`` is a ``Dict``: in
    contexts, start frames and ``decode`` alike.

    A model may also have ``context_length`` (pictures that ``init`` reads, default 1; 0: none),
    ``action_names``, ``start`` (:class:`StartFrames`), ``shown_shape`` (of the pictures it learned
    from, before they were brought to its size), and what makes a planner faster or better.
    ``check_world_model`` holds each to its promise where it is there:

    - ``observe(state, action, observation, *, rng) -> state``: takes in one real step; the state
      that ``init`` gives for the longer context. A recurrent model then never reads an episode
      twice.
    - ``rollout(state, plans, *, rng) -> ModelStep``: the last state of B rows that follow plans
      ``(B, H)`` or ``(B, H, A)``, with ``reward`` and ``terminated`` of every step ``(B, H)``;
      equal to stepping.
    - ``policy(state)``: float ``(B, n)``, the probability of each action, or ``(B, A)``, actions.
    - ``value(state)``: float ``(B,)``, the expected return from here, in the model's units.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    frame_skip: int
    reward_transform: str

    def init(self, observations: Any, actions: np.ndarray, *, rng: np.random.Generator) -> S:
        """State after a context of observations ``(B, T, ...)`` joined by actions ``(B, T - 1)`` or
        ``(B, T - 1, A)``.
        """
        ...

    def step(self, state: S, action: np.ndarray, *, rng: np.random.Generator) -> ModelStep[S]:
        """One step for every row; ``action`` int64 ``(B,)``, or float32 ``(B, A)`` where actions
        are continuous.
        """
        ...

    def decode(self, state: S) -> Any:
        """The observation of every row, ``(B, ...)``."""
        ...


@dataclass(frozen=True)
class StartFrames:
    """Contexts a dream can begin from: ``observations`` ``(N, T, ...)`` with ``actions`` between
    them, int64 ``(N, T - 1)`` or float32 ``(N, T - 1, A)``.

    A model that carries its own start frames has them as attribute ``start`` (``None`` or absent:
    it needs a real env).
    """

    observations: Any
    actions: np.ndarray

    def __post_init__(self) -> None:
        shapes: set[tuple[int, ...]] = set()
        map_leaves(lambda leaf: shapes.add(leaf.shape[:2]), self.observations)
        if len(shapes) != 1 or len(first := shapes.pop()) != 2:
            raise ConfigError(
                f"start frames are (N, T, ...) throughout, got {described(self.observations)}"
            )
        n, t = first
        if n < 1 or t < 1 or self.actions.shape[:2] != (n, t - 1):
            raise ConfigError(
                f"start frames (N, T) = {first} need actions (N, T - 1), got {self.actions.shape}"
            )


@dataclass(frozen=True)
class Forecast:
    """One step ahead of real observations ``(B, T)``: the expected reward and whether an end is
    likely after each action.

    ``scores`` are what a family measures besides, of each observation given those before it: values
    ``(B, T, ...)`` and where they count, bool of the same shape. A model that can make one at once
    has ``forecast(observations, actions)``, actions ``(B, T)``; any other is stepped.
    """

    rewards: np.ndarray
    ends: np.ndarray
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]]


def check_fit(
    model: WorldModel[Any], action_names: Sequence[str], frame_skip: int, other: str
) -> None:
    """Raise ``MismatchError``, naming both sides, unless ``model`` was made for these actions and
    this frame skip.

    ``other`` is what to call the side that is not the model. A model without ``action_names`` is
    held to their number.
    """
    names, n = (
        tuple(getattr(model, "action_names", ())),
        getattr(model.action_space, "n", len(action_names)),
    )
    if names != tuple(action_names) and (names or n != len(action_names)):
        acts = ", ".join(names) or f"{n} unnamed actions"
        raise MismatchError(
            f"the world model acts with {acts}; {other} with {', '.join(action_names)}"
        )
    if n != len(action_names):
        raise MismatchError(
            f"the world model has {model.action_space} and {len(names)} action names"
        )
    if model.frame_skip != frame_skip:
        raise MismatchError(
            f"the world model was made at frame skip {model.frame_skip}; {other} has {frame_skip}"
        )


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply ``function`` to corresponding leaves of equally shaped trees of tuples, lists, dicts
    and dataclasses.
    """
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(map_leaves(function, *leaves) for leaves in zip(*trees, strict=True)))
    if isinstance(first, (tuple, list)):
        return type(first)(map_leaves(function, *leaves) for leaves in zip(*trees, strict=True))
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first)]
        return dataclasses.replace(
            first,
            **{
                name: map_leaves(function, *(getattr(tree, name) for tree in trees))
                for name in names
            },
        )
    return function(*trees)


def fits(space: gymnasium.Space[Any], observations: Any, leading: int) -> bool:
    """Whether ``observations`` are arrays of the space's shape and type after ``leading`` axes, in
    a ``Dict`` all of them.
    """
    if isinstance(space, gymnasium.spaces.Dict):
        alike = isinstance(observations, dict) and observations.keys() == space.spaces.keys()
        return alike and all(
            fits(sub, observations[key], leading) for key, sub in space.spaces.items()
        )
    shape = getattr(observations, "shape", ())
    return shape[leading:] == space.shape and observations.dtype == space.dtype


def described(observations: Any, leading: int = 0) -> str:
    """Types and shapes of observations after ``leading`` axes, for a sentence."""
    if isinstance(observations, dict):
        return (
            "{"
            + ", ".join(
                f"{key}: {described(value, leading)}" for key, value in observations.items()
            )
            + "}"
        )
    return f"{getattr(observations, 'dtype', type(observations).__name__)} {np.shape(observations)[leading:]}"


def check_one_row(state: Any) -> None:
    """Raise ``MismatchError`` unless every leaf of ``state`` holds one row."""

    def check(leaf: Any) -> None:
        if len(leaf.shape) == 0 or leaf.shape[0] != 1:
            raise MismatchError(
                f"a planner begins from the state of one row, got a leaf {tuple(leaf.shape)}"
            )

    map_leaves(check, state)


def in_units_of(world_model: WorldModel[Any], reward: float) -> float:
    """A real reward in the model's units (``reward_transform``) and precision (float32)."""
    return float(np.float32(np.sign(reward) if world_model.reward_transform == "sign" else reward))


def stacked(trees: Sequence[Any]) -> Any:
    """Several equally shaped trees of arrays as one, with a new first axis."""
    return map_leaves(lambda *leaves: np.stack(leaves), *trees)


def take_rows(state: Any, rows: Sequence[int] | np.ndarray) -> Any:
    """The rows of a state in the given order (int64 indices); repeated indices repeat rows."""
    index = np.ascontiguousarray(rows, dtype=np.int64)
    return map_leaves(lambda leaf: leaf[index], state)


def take_row(state: Any, row: int | np.integer[Any]) -> Any:
    """One row of a tree of arrays, without the first axis; copies."""
    return map_leaves(lambda leaf: np.array(leaf[row]), state)


def concat_rows(states: Sequence[Any]) -> Any:
    """Stack the rows of several states into one."""

    def join(*leaves: Any) -> Any:
        if isinstance(leaves[0], np.ndarray):
            return np.concatenate(leaves)
        import torch

        return torch.cat(leaves)

    return map_leaves(join, *states)


def put_rows(state: Any, rows: Sequence[int] | np.ndarray, values: Any) -> Any:
    """A copy of ``state`` whose given rows are those of ``values``."""
    index = np.ascontiguousarray(rows, dtype=np.int64)

    def put(leaf: Any, value: Any) -> Any:
        copied = leaf.copy() if isinstance(leaf, np.ndarray) else leaf.clone()
        copied[index] = value
        return copied

    return map_leaves(put, state, values)
