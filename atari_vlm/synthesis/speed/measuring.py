"""Both sides on the same transitions: a language model that is asked for every step, and a program that computes it."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from atari_vlm.errors import SandboxError, SandboxUnavailableError, StoppedError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.scores.statistics import Estimate, aggregate
from atari_vlm.synthesis.speed.asking import (
    Foretold,
    foretold_by,
    question_about,
    sampling_for,
)
from atari_vlm.vlm.base import VLM
from atari_vlm.world_models.code.matching import matches, numbers_in
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_rows import RowSteps
from atari_vlm.world_models.code.scoring import compare

_REPEATED = 5  # times that a program does a step
_NEAR = 0.1  # of a number's usual change, of the rewards' spread
FIELDS = ("next_state", "reward", "done")


@dataclass(frozen=True)
class Subject:
    """What is simulated: transitions, the rules in words, and a program with where it is from."""

    buffer: TransitionBuffer
    description: str
    program: str
    source: str


@dataclass(frozen=True)
class Answered:
    """One step as one side foretold it: what it said, seconds of wall clock, dollars (``None``: unknown)."""

    foretold: Foretold
    seconds: float
    usd: float | None = 0.0
    asked: str = ""  # SHA-256 of the question


@dataclass(frozen=True)
class Side:
    """One side on N transitions.

    ``right`` holds bool ``(N,)`` by field and under ``all``, ``numbers`` the share of right numbers of each next state, float64
    ``(N,)``. ``near`` is the share of numbers that are right or off by at most a tenth of what they usually change by in a step
    (root mean square over the transitions), ``near_reward`` whether the reward is right or off by at most a tenth of the rewards'
    standard deviation.
    """

    answers: tuple[Answered, ...]
    right: Mapping[str, np.ndarray]
    numbers: np.ndarray
    near: np.ndarray
    near_reward: np.ndarray

    @property
    def seconds(self) -> Estimate:
        """Mean seconds a step."""
        return aggregate({"steps": [one.seconds for one in self.answers]}, "mean")

    @property
    def usd(self) -> float | None:
        """Mean dollars a step; ``None`` where one is unknown."""
        costs = [one.usd for one in self.answers]
        known = [cost for cost in costs if cost is not None]
        return sum(known) / len(known) if len(known) == len(costs) else None

    def figures(self) -> dict[str, Any]:
        """The side in numbers: plain JSON data."""
        return {
            "seconds_per_step": self.seconds.as_dict(),
            "usd_per_step": self.usd,
            "right": {name: float(right.mean()) for name, right in self.right.items()},
            "right_numbers": float(self.numbers.mean()),
            "near_numbers": float(self.near.mean()),
            "near_reward": float(self.near_reward.mean()),
            "unusable": sum(bool(one.foretold.problem) for one in self.answers),
        }


@dataclass(frozen=True)
class Speed:
    """Both sides of one environment; ``still`` is what is right by saying that nothing moves and nothing is won."""

    subject: Subject
    llm: Side
    program: Side
    still: Side
    models: tuple[str, ...] = field(default=())

    def record(self) -> dict[str, Any]:
        """All of it as plain JSON data, a transition after the other."""
        buffer = self.subject.buffer
        steps = []
        for row in range(len(buffer)):
            sides = {"llm": self.llm, "program": self.program}
            steps.append(
                {**buffer.row(row), **{name: _step(side, row) for name, side in sides.items()}}
            )
        return {
            "env": buffer.env_id,
            "n_transitions": len(buffer),
            "program": {
                "source": self.subject.source,
                "sha256": hashlib.sha256(self.subject.program.encode()).hexdigest(),
            },
            "models": list(self.models),
            "llm": self.llm.figures(),
            "code": self.program.figures(),
            "still": self.still.figures(),
            "transitions": steps,
        }


def _step(side: Side, row: int) -> dict[str, Any]:
    one = side.answers[row]
    return {
        "said": one.foretold.as_dict,
        "seconds": one.seconds,
        "usd": one.usd,
        "right": {name: bool(right[row]) for name, right in side.right.items()},
        "right_numbers": float(side.numbers[row]),
        **({"question": one.asked} if one.asked else {}),
    }


def measure_speed(
    subject: Subject,
    simulator: Callable[[int], VLM],
    *,
    reply_tokens: int,
    seed: int = 0,
    deadline_s: float = 2.0,
    stop: threading.Event | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Speed:
    """Ask for every transition, compute every transition, compare both with what happened.

    ``simulator(row)`` answers row ``row``. A reply that foretells nothing is wrong in everything, and so is a step at which the
    program raises. Raises what the simulator raises, ``StoppedError`` and ``SandboxUnavailableError``.
    """
    buffer = subject.buffer
    sampling = sampling_for(buffer, reply_tokens, seed)
    answers, models = [], []
    for row in range(len(buffer)):
        if stop is not None and stop.is_set():
            raise StoppedError("stopped between two transitions")
        question = question_about(buffer, row, subject.description)
        reply = simulator(row).complete(question, sampling=sampling)
        digest = hashlib.sha256("\n".join(part.text for part in question).encode()).hexdigest()
        answers.append(Answered(foretold_by(reply), reply.latency_s, reply.cost_usd, digest))
        models.append(reply.model)
        on_step()
    return Speed(
        subject,
        _side(buffer, answers),
        computed_side(subject, deadline_s=deadline_s),
        still_side(buffer),
        tuple(dict.fromkeys(models)),
    )


def still_side(buffer: TransitionBuffer) -> Side:
    """What is right by saying that nothing moves and nothing is won."""
    return _side(buffer, [Answered(Foretold(state, 0.0, False), 0.0) for state in buffer.states()])


def computed_side(subject: Subject, *, deadline_s: float) -> Side:
    """The program's side alone. Raises ``SandboxUnavailableError``."""
    return _side(subject.buffer, _computed(subject, deadline_s))


def _computed(subject: Subject, deadline_s: float) -> list[Answered]:
    """The program's steps, each timed with its crossing to the sandbox and back."""
    states, actions = subject.buffer.states(), subject.buffer.actions
    try:
        with Sandbox(subject.program, deadline_s=deadline_s) as sandbox:
            return [_timed(sandbox, *pair) for pair in zip(states, actions, strict=True)]
    except SandboxUnavailableError:
        raise
    except SandboxError as error:  # it does not load
        return [Answered(Foretold(problem=str(error)), 0.0)] * len(states)


def _timed(sandbox: Sandbox, state: Any, action: Any) -> Answered:
    """A step, and the shortest time of a few: what else the machine does at that moment is not the program's."""
    times = []
    for _ in range(_REPEATED):
        begun = time.perf_counter()
        try:
            after, reward, done = sandbox.step(state, action)
        except SandboxUnavailableError:
            raise
        except SandboxError as error:
            return Answered(Foretold(problem=str(error)), time.perf_counter() - begun)
        times.append(time.perf_counter() - begun)
    seconds = min(times)
    told = after.tolist() if isinstance(after, np.ndarray) else after
    return Answered(Foretold(told, reward, done), seconds)


def _side(buffer: TransitionBuffer, answers: Sequence[Answered]) -> Side:
    """What of the answers is right, by the tolerant scorer."""
    said = [one.foretold for one in answers]
    usable = np.array([not one.problem for one in said])
    states = [one.next_state for one in said]
    steps = RowSteps(
        states,
        np.array([one.reward if math.isfinite(one.reward) else -np.inf for one in said]),
        np.array([bool(one.done) for one in said]),
        {},
    )
    found = compare(steps, buffer, "tolerant").right
    right = {name: np.asarray(found[name]) & usable for name in FIELDS}
    right["all"] = np.logical_and.reduce([right[name] for name in FIELDS])
    parts = matches(buffer.observation_space, states, buffer.next_observations)
    numbers = np.concatenate([part for _, part in parts], axis=1)
    far = np.abs(steps.rewards - buffer.rewards) > _NEAR * buffer.rewards.std()
    return Side(
        tuple(answers),
        right,
        numbers.mean(1),
        (numbers | _near(buffer, states, numbers.shape)).mean(1),
        right["reward"] | (usable & ~far),
    )


def _near(buffer: TransitionBuffer, states: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Which numbers are off by less than a tenth of their usual change, bool of ``shape``; only floats of one array are."""
    true = buffer.next_observations
    if not isinstance(buffer.observation_space, Box) or true.dtype.kind != "f":
        return np.zeros(shape, bool)
    usual = np.sqrt(np.mean((true - buffer.observations.astype(float)) ** 2, axis=0))
    with np.errstate(invalid="ignore"):
        near: np.ndarray = np.abs(numbers_in(states, true.shape) - true) <= _NEAR * usual
    return near.reshape(shape)
