"""How well a program predicts transitions: three scorers, and what lies beside their one number.

==============  ==========================================================================================================
``"tolerant"``  a third each for next state, reward and end, mean over transitions; rewards by ``isclose`` (1e-5 relative,
                1e-8 absolute). Where an episode was cut (truncated, not terminated) the end is not compared, and state and
                reward are a half each: a model without a clock cannot foretell a cut.
``"paper"``     as the paper defines it (arXiv 2405.15383, section 4): thirds for every transition; rewards are equal or not;
                a cut counts as an end.
``"code"``      as the paper's code computes it: of a transition that ends, by itself or by a cut, the state is not compared;
                of others each part of the state counts; every distinct reward has the same weight, however rare; true
                rewards are rounded to float32, as they were stored, and compared with the prediction as float64.
==============  ==========================================================================================================

Only ``"tolerant"`` gives the true dynamics 1.0 everywhere. Under ``"code"`` an environment with real-valued rewards is capped
near 2/3, unless the program itself returns ``np.float32``. Next states are compared as ``matching.py`` says. A program that
raises anywhere has the score 0, as in the source. It never sees the true values (``predicting.py``): they stay in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from atari_vlm.errors import SandboxError, UnknownNameError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.world_models.code.matching import Parts, matches
from atari_vlm.world_models.code.predicting import RowWorker, predict
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_local import LocalProgram
from atari_vlm.world_models.code.sandbox_rows import RowSteps

Scorer = Literal["tolerant", "paper", "code"]
SCORERS: tuple[Scorer, ...] = ("tolerant", "paper", "code")
_MOST_CLASSES = 20  # distinct rewards that are told apart in a report


@dataclass(frozen=True)
class EventScore:
    """How many transitions show an event, and the share of them that the program foretold."""

    count: int
    recall: float


@dataclass(frozen=True, eq=False)
class ProgramScore:
    """How a program did on N transitions.

    ``score`` is the ``scorer``'s number, ``next_state``, ``reward`` and ``done`` its parts: means over the transitions where each
    is compared; all four are 0 to 1. ``bug`` says that the program raised, was stopped or could not be loaded, ``error`` what it
    was; the score is then 0. ``failing`` is the first row that is not all right (where it raised, if it did).

    ``fields`` are shares of right values by name (``next_state/0`` ..., ``reward``, ``done``). ``events`` are what is rare or
    decides: ``reward=R`` for each true reward (where they are few), ``terminated``, and ``going on`` for what did not end.
    ``right`` holds bool ``(N,)`` under ``next_state``, ``reward`` and ``done``, true as well where something is not compared.
    """

    scorer: Scorer
    score: float
    next_state: float
    reward: float
    done: float
    bug: bool = False
    error: str | None = None
    failing: int | None = None
    fields: Mapping[str, float] = field(default_factory=dict)
    events: Mapping[str, EventScore] = field(default_factory=dict)
    right: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    predicted: RowSteps | None = field(default=None, repr=False)

    def prediction(self, row: int) -> dict[str, Any]:
        """What the program foretold of a row as plain data: ``next_state``, ``reward``, ``done``; empty after a bug."""
        if self.predicted is None:
            return {}
        steps = self.predicted
        return {
            "next_state": _plain(steps.states[row]),
            "reward": float(steps.rewards[row]),
            "done": bool(steps.dones[row]),
        }


def score_program(
    program: str,
    buffer: TransitionBuffer,
    *,
    scorer: Scorer = "tolerant",
    deadline_s: float = 2.0,
    unsafe_local_code: bool = False,
) -> ProgramScore:
    """Let a program predict every transition of ``buffer``, in a sandbox, and compare.

    ``deadline_s`` as in :class:`~atari_vlm.world_models.code.sandbox.Sandbox`; ``unsafe_local_code`` runs the program in this
    process instead, for code of your own. Raises ``UnknownNameError`` for the scorer and
    ``ConfigError`` for what is no text of a program; whatever the program does becomes part of the result.
    """
    rows = (np.arange(len(buffer)),)
    make = worker_for(unsafe_local_code)
    return score_groups(program, buffer, rows, scorer=scorer, deadline_s=deadline_s, make=make)[0]


def worker_for(unsafe_local_code: bool) -> Callable[..., RowWorker]:
    """What runs a program: a sandbox, or this process."""
    return LocalProgram if unsafe_local_code else Sandbox


def score_groups(
    program: str,
    buffer: TransitionBuffer,
    groups: Sequence[np.ndarray],
    *,
    scorer: Scorer,
    deadline_s: float,
    make: Callable[..., RowWorker] = Sandbox,
) -> list[ProgramScore]:
    """:func:`score_program` of several groups of a buffer's rows, none empty; ``failing`` counts within a group."""
    if scorer not in SCORERS:
        raise UnknownNameError("scorer", scorer, SCORERS)
    predicted = predict(program, buffer, groups, deadline_s=deadline_s, make=make)
    return [
        _scored(steps, buffer.take(rows), scorer)
        for steps, rows in zip(predicted, groups, strict=True)
    ]


def _scored(steps: RowSteps | SandboxError, part: TransitionBuffer, scorer: Scorer) -> ProgramScore:
    if isinstance(steps, SandboxError):
        return _bug(scorer, str(steps), None)
    if steps.errors:
        row = min(steps.errors)
        return _bug(scorer, str(steps.errors[row]), row)
    return compare(steps, part, scorer)


def compare(steps: RowSteps, buffer: TransitionBuffer, scorer: Scorer) -> ProgramScore:
    """The score of what was predicted of every row of ``buffer``."""
    parts = matches(buffer.observation_space, steps.states, buffer.next_observations)
    right = {
        "next_state": _all(np.concatenate([part for _, part in parts], axis=1)),
        "reward": _rewards(steps, buffer, scorer),
        "done": _ends(steps, buffer, scorer),
    }
    compared = _compared(buffer, scorer)
    credits = {**right, "next_state": _state_credit(parts, right["next_state"], scorer)}
    shares = {name: _mean(credits[name], compared[name]) for name in credits}
    counted = {name: right[name] | ~compared[name] for name in right}
    wrong = ~_all(np.stack(list(counted.values()), axis=1))
    return ProgramScore(
        scorer,
        _total(credits, compared, buffer, scorer),
        shares["next_state"],
        shares["reward"],
        shares["done"],
        failing=int(wrong.argmax()) if wrong.any() else None,
        fields={
            **{
                f"next_state/{name}".rstrip("/"): _mean(_all(part), compared["next_state"])
                for name, part in parts
            },
            "reward": shares["reward"],
            "done": shares["done"],
        },
        events=_events(steps, buffer, right["reward"]),
        right=counted,
        predicted=steps,
    )


def _all(right: np.ndarray) -> np.ndarray:
    """Where all numbers of a row are right, bool ``(N,)``."""
    return np.asarray(right.all(axis=1))


def _state_credit(parts: Parts, state: np.ndarray, scorer: Scorer) -> np.ndarray:
    if scorer != "code":
        return state
    return np.asarray(np.mean([_all(part) for _, part in parts], axis=0))


def _bug(scorer: Scorer, error: str, row: int | None) -> ProgramScore:
    return ProgramScore(scorer, 0.0, 0.0, 0.0, 0.0, bug=True, error=error, failing=row)


def _rewards(steps: RowSteps, buffer: TransitionBuffer, scorer: Scorer) -> np.ndarray:
    if scorer == "tolerant":
        return np.isclose(steps.rewards, buffer.rewards)
    return np.asarray(steps.rewards == _true_rewards(buffer, scorer))


def _true_rewards(buffer: TransitionBuffer, scorer: Scorer) -> np.ndarray:
    if scorer != "code":
        return buffer.rewards
    with np.errstate(over="ignore"):
        return buffer.rewards.astype(np.float32).astype(np.float64)


def _ends(steps: RowSteps, buffer: TransitionBuffer, scorer: Scorer) -> np.ndarray:
    true = buffer.terminated if scorer == "tolerant" else buffer.terminated | buffer.truncated
    return np.asarray(steps.dones == true)


def _compared(buffer: TransitionBuffer, scorer: Scorer) -> dict[str, np.ndarray]:
    """Where next state, reward and end are compared, bool ``(N,)``."""
    all_of_them = np.ones(len(buffer), bool)
    compared = dict.fromkeys(("next_state", "reward", "done"), all_of_them)
    if scorer == "code":
        compared["next_state"] = ~(buffer.terminated | buffer.truncated)
    elif scorer == "tolerant":
        compared["done"] = buffer.terminated | ~buffer.truncated
    return compared


def _total(
    credits: Mapping[str, np.ndarray],
    compared: Mapping[str, np.ndarray],
    buffer: TransitionBuffer,
    scorer: Scorer,
) -> float:
    """The scorer's number: what is compared of a transition counts alike, and so do transitions, or in ``"code"`` rewards."""
    earned = np.sum([credits[name] * compared[name] for name in credits], axis=0)
    each = earned / np.sum(list(compared.values()), axis=0)  # (N,)
    if scorer != "code":
        return float(each.mean())
    _, classes = np.unique(_true_rewards(buffer, scorer), return_inverse=True)
    return float((np.bincount(classes, each) / np.bincount(classes)).mean())


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    """The mean over the rows where something is compared; 1 where it nowhere is."""
    return float(values[where].mean()) if where.any() else 1.0


def _events(steps: RowSteps, buffer: TransitionBuffer, reward: np.ndarray) -> dict[str, EventScore]:
    rewards = np.unique(buffer.rewards)
    wanted = rewards.tolist() if len(rewards) <= _MOST_CLASSES else []
    events = {f"reward={value:g}": (buffer.rewards == value, reward) for value in wanted}
    events["terminated"] = (buffer.terminated, steps.dones)
    events["going on"] = (~(buffer.terminated | buffer.truncated), ~steps.dones)
    return {
        name: EventScore(int(where.sum()), float(foretold[where].mean()))
        for name, (where, foretold) in events.items()
        if where.any()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
