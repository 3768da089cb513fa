"""Whether a program could ever see what it is to predict: everything that the harness hands to it, looked through.

A buffer of the same form is judged whose states are numbers of rows and whose rewards are drawn numbers that occur nowhere else,
by workers that write down what they are given. So every value that reaches a worker is known by what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.judging import ProgramJudge
from atari_vlm.world_models.code.sandbox_rows import RowSteps


@dataclass(frozen=True)
class HarnessAudit:
    """What ``workers`` were given of ``rows`` transitions.

    ``answers`` counts next states that a worker could see while, or before, it was asked for them; ``foreign`` counts values
    that are neither a state nor an action: rewards, ends, anything else.
    """

    workers: int
    rows: int
    answers: int
    foreign: int

    @property
    def clean(self) -> bool:
        """Whether nothing that is true was seen."""
        return self.answers == 0 and self.foreign == 0


@dataclass
class Recorder:
    """A worker that predicts nothing and keeps what it is given."""

    states: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)

    def step_rows(self, states: Any, actions: Any, *others: Any, **named: Any) -> RowSteps:
        """Answer with the states themselves."""
        self.states += list(states)
        self.actions += list(actions)
        self.others += [*others, *named.values()]
        n = len(states)
        return RowSteps(list(states), np.zeros(n), np.zeros(n, bool), {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """Nothing."""


def audit_harness(buffer: TransitionBuffer, config: SearchConfig) -> HarnessAudit:
    """Judge a program on a marked buffer of the same form, and look through what it was given."""
    marked, workers = _marked(buffer), list[Recorder]()

    def make(program: str, **_: Any) -> Recorder:
        workers.append(Recorder())
        return workers[-1]

    ProgramJudge(marked, config, make)("class Environment: ...")
    after = {row: int(state) for row, state in enumerate(marked.next_observations)}
    return HarnessAudit(
        workers=len(workers),
        rows=sum(len(worker.states) for worker in workers),
        answers=sum(_answers(worker, after) for worker in workers),
        foreign=sum(_foreign(worker, marked) for worker in workers),
    )


def _answers(worker: Recorder, after: dict[int, int]) -> int:
    seen = {int(state) for state in worker.states}
    return sum(after[row] in seen for row in seen)


def _foreign(worker: Recorder, marked: TransitionBuffer) -> int:
    """A row's state comes with that row's action, and nothing else comes."""
    strange = len(worker.others)
    for state, action in zip(worker.states, worker.actions, strict=True):
        known = type(state) is int and 0 <= state < len(marked)
        strange += not (known and np.array_equal(action, marked.actions[state]))
    return strange


def _marked(buffer: TransitionBuffer) -> TransitionBuffer:
    """The buffer with row numbers for states, the next row's for next states, and rewards that occur nowhere else."""
    n = len(buffer)
    rows, last = np.arange(n), np.append(buffer.trajectory_starts[1:], n) - 1
    after = rows + 1
    after[last] = n + last  # nobody's state
    return TransitionBuffer(
        rows,
        buffer.actions,
        np.random.RandomState(0).standard_normal(n) * np.pi,
        after,
        buffer.terminated,
        buffer.truncated,
        env_id=buffer.env_id,
        observation_space=Discrete(2 * n),
        action_space=buffer.action_space,
        trajectory_starts=buffer.trajectory_starts,
    )
