"""What a program predicts of transitions, with no way to see what it is to predict.

The state that a transition leads to is the next transition's own. A program that had all states of a trajectory at hand, as
``step_batch`` or through the frames of its process, could look its answers up. So every other transition crosses first, in a
drawn order, and the rest goes to a new worker, which has seen none of those: a state that is to be predicted is never where it
is predicted, unless the environment comes back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from atari_vlm.errors import (
    SandboxCrashError,
    SandboxError,
    SandboxProgramError,
    SandboxTimeoutError,
    SandboxViolationError,
)
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_rows import RowSteps, joined

FAULTS = (SandboxProgramError, SandboxViolationError, SandboxTimeoutError, SandboxCrashError)


class RowWorker(Protocol):
    """What predicts: a :class:`Sandbox`, or anything else that steps rows."""

    def step_rows(self, states: Any, actions: Any) -> RowSteps: ...  # noqa: D102

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...


@dataclass
class _Group:
    """Rows of a buffer that belong together, in a drawn order, and what was predicted of them so far."""

    rows: np.ndarray
    turns: tuple[np.ndarray, np.ndarray]  # places in ``rows``
    found: list[RowSteps] = field(default_factory=list)
    failed: SandboxError | None = None

    def in_order(self) -> RowSteps | SandboxError:
        """The predictions in the order of the rows."""
        if self.failed is not None:
            return self.failed
        places = np.concatenate(self.turns)
        steps, back = joined(self.found), np.argsort(places)
        states = [steps.states[at] for at in back]
        errors = {int(places[at]): error for at, error in steps.errors.items()}
        return RowSteps(states, steps.rewards[back], steps.dones[back], errors)


def predict(
    program: str,
    buffer: TransitionBuffer,
    groups: Sequence[np.ndarray],
    *,
    deadline_s: float,
    make: Callable[..., RowWorker] = Sandbox,
) -> list[RowSteps | SandboxError]:
    """What a program foretells of each group of a buffer's rows, in their order; where it was stopped, the error instead.

    ``make(program, deadline_s=...)`` is the worker. A group that the program fails on says nothing about the others. Raises what
    keeps the sandbox itself from running.
    """
    made = [_group(buffer, rows) for rows in groups]
    for turn in (0, 1):
        try:
            with make(program, deadline_s=deadline_s) as worker:
                for group in made:
                    _predict_turn(worker, buffer, group, turn)
        except FAULTS as error:  # it cannot even be loaded
            return [error] * len(made)
    return [group.in_order() for group in made]


def _predict_turn(worker: RowWorker, buffer: TransitionBuffer, group: _Group, turn: int) -> None:
    rows = group.rows[group.turns[turn]]
    if group.failed is not None or not len(rows):
        return
    states = buffer.states()
    try:
        group.found.append(worker.step_rows([states[row] for row in rows], buffer.actions[rows]))
    except FAULTS as error:
        group.failed = error


def _group(buffer: TransitionBuffer, rows: np.ndarray) -> _Group:
    """Rows that follow one another in the buffer have different turns, whichever groups they are in."""
    starts = buffer.trajectory_starts
    step = rows - starts[np.searchsorted(starts, rows, side="right") - 1]
    draw = np.random.RandomState(len(rows))
    even, odd = (draw.permutation(np.flatnonzero(step % 2 == turn)) for turn in (0, 1))
    return _Group(rows, (even, odd))
