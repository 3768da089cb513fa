"""The world-model protocol: explicit state, everything batched, steps pure, randomness an argument.

A state is a tree (:mod:`atari_vlm.trees`) whose leaves are arrays or tensors with the rows on the
first axis; that is all a planner needs to know about it.

Semantics: (1) row ``i`` out depends on row ``i`` in only. (2) ``step`` never changes the state it
is given, so a search may branch. (3) A model terminates, an environment truncates. (4) One model
step is one agent step. (5) Nothing is decoded unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.space_trees import described
from atari_vlm.trees import leaves, map_leaves

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
    ``"sign"``. Actions are int64 ``(B,)``, or where they have several parts int64 or float32
    ``(B, A)``, always of the space.

    Observations are trees (:mod:`atari_vlm.space_trees`) of arrays, dicts for ``Dict`` and tuples
    for ``Tuple`` spaces, texts an object array of ``str``: in contexts, start frames and ``decode``
    alike.

    A model may also have ``context_space`` (of what ``init`` and ``observe`` read, where that is
    another one than ``decode`` shows), ``context_length`` (observations that ``init`` reads,
    default 1; 0: none), ``action_names``, ``start`` (:class:`StartFrames`), ``shown_shape`` (of the
    pictures it learned from, before they were brought to its size), ``aliases`` (from its names of
    what it reads to the keys of the game that it learned from), and what makes a planner or a
    dream faster or better. ``check_world_model`` holds each to its promise where it is there:

    - ``observe(state, action, observation, *, rng) -> state``: takes in one real step; the state
      that ``init`` gives for the longer context. A recurrent model then never reads an episode
      twice.
    - ``rollout(state, plans, *, rng) -> ModelStep``: the last state of B rows that follow plans
      ``(B, H)`` or ``(B, H, A)``, with ``reward`` and ``terminated`` of every step ``(B, H)``;
      equal to stepping.
    - ``policy(state)``: float ``(B, n)``, the probability of each action, or ``(B, A)``, actions.
    - ``value(state)``: float ``(B,)``, the expected return from here, in the model's units.
    - ``step_one(state, action, *, rng) -> (state, observation, reward, terminated)``: one step of a
      state of one row by one action, with what it shows, a float and a bool: ``step`` and
      ``decode`` without arrays of one.
    - ``render(state)``: a picture of every row, uint8 ``(B, H, W, 3)``, where observations are none.
    - ``close()``: ends what the model holds besides memory (the process of a program).
    - ``imagined_text(state)``: a list of B strings, what the dream says.
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
        """One step for every row; ``action`` int64 ``(B,)``, or int64 or float32 ``(B, A)``."""
        ...

    def decode(self, state: S) -> Any:
        """The observation of every row, ``(B, ...)``."""
        ...


@dataclass(frozen=True)
class StartFrames:
    """Contexts a dream can begin from: a tree of ``observations`` ``(N, T, ...)`` with ``actions``
    between them, int64 ``(N, T - 1)``, or int64 or float32 ``(N, T - 1, A)``.

    A model that carries its own start frames has them as attribute ``start`` (``None`` or absent:
    it needs a real env).
    """

    observations: Any
    actions: np.ndarray

    def __post_init__(self) -> None:
        shapes = {leaf.shape[:2] for leaf in leaves(self.observations)}
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


def context_space_of(model: WorldModel[Any]) -> gymnasium.Space[Any]:
    """The space of the observations that a model reads; of what it shows where it does not say."""
    space: gymnasium.Space[Any] | None = getattr(model, "context_space", None)
    return model.observation_space if space is None else space


def check_fit(
    model: WorldModel[Any],
    action_names: Sequence[str],
    frame_skip: int,
    other: str,
    action_space: gymnasium.Space[Any] | None = None,
) -> None:
    """Raise ``MismatchError``, naming both sides, unless ``model`` was made for these actions and
    this frame skip.

    ``other`` is what to call the side that is not the model. Where a side has no names of actions,
    the spaces must be equal; a model without names whose other side gives no ``action_space`` is
    held to their number.
    """
    names = tuple(getattr(model, "action_names", None) or ())
    if action_space is not None and not (names and action_names):
        if model.action_space != action_space:
            raise MismatchError(
                f"the world model acts in {model.action_space}; {other} in {action_space}"
            )
    else:
        _check_names(model, names, tuple(action_names), other)
    if model.frame_skip != frame_skip:
        raise MismatchError(
            f"the world model was made at frame skip {model.frame_skip}; {other} has {frame_skip}"
        )


def _check_names(
    model: WorldModel[Any], names: tuple[str, ...], theirs: tuple[str, ...], other: str
) -> None:
    n = getattr(model.action_space, "n", len(theirs))
    if names != theirs and (names or n != len(theirs)):
        acts = ", ".join(names) or f"{n} unnamed actions"
        raise MismatchError(f"the world model acts with {acts}; {other} with {', '.join(theirs)}")
    if n != len(theirs):
        raise MismatchError(
            f"the world model has {model.action_space} and {len(names)} action names"
        )


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
