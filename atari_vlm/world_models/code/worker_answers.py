"""What a program gives, held to what its contract says: steps, batches, states, and what it raises.

This file imports numpy and the standard library only: the worker reads it before it locks itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FILENAME = "<program>"
Fault = tuple[
    str, str, int
]  # type, text and line of an error, 0 where no line of the program is known


class AnswerError(TypeError):
    """The program answered with something that the contract does not know."""


def fault(error: BaseException) -> Fault:
    """Type, text and line of what a program raised."""
    line, at = getattr(error, "lineno", None) or 0, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == FILENAME:
            line = at.tb_lineno
        at = at.tb_next
    try:
        text = str(error)
    except BaseException:
        text = "an error whose words cannot be had"
    return type(error).__name__, text[:2000], line if isinstance(line, int) else 0


def copied(value: Any) -> Any:
    """Plain data and arrays anew, as deep as they go; numpy's scalars as Python numbers."""
    if isinstance(value, np.ndarray):
        return value.copy() if value.ndim else value.item()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [copied(item) for item in value]
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def triple(answer: Any) -> tuple[Any, float, bool]:
    """What a step answered."""
    try:
        state, reward, done = answer
    except (TypeError, ValueError):
        raise AnswerError("step gives (state, reward, done)") from None
    if type(reward) is float and type(done) is bool:
        return state, reward, done
    return state, _number(reward, "a reward"), bool(_number(done, "done"))


def _number(value: Any, what: str) -> float:
    if not isinstance(value, (int, float, np.generic, np.ndarray)) or np.ndim(value) != 0:
        raise AnswerError(f"{what} is a number, got {type(value).__name__}")
    return float(value)


def rows_of(values: Any) -> list[Any]:
    """The rows of an array or a list; those of an array ``(B,)`` as Python numbers."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values.tolist()  # type: ignore[no-any-return]
    return list(values)


def number_row(state: Any, shape: tuple[int, ...]) -> Any:
    """A row's next state as the first was given: an array, or a number."""
    return numbers(state, shape) if shape else numbers(state, shape).item()


def numbers(state: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A state as a fresh array."""
    try:
        array = np.array(state)
    except ValueError:
        array = np.array(None)
    if array.shape != shape or array.dtype.kind not in "biuf":
        raise AnswerError(
            f"a state is numbers of the shape {shape}, the program gave {state!r:.80}"
        )
    return array


def chosen(rows: Any, which: np.ndarray) -> Any:
    """Some of the rows of an array or a list."""
    return (
        rows.take(which, 0) if isinstance(rows, np.ndarray) else [rows[i] for i in which.tolist()]
    )


def placed(rows: Any, at: np.ndarray, values: Any) -> Any:
    """``rows`` with ``values`` in the places ``at``."""
    if isinstance(rows, np.ndarray):
        rows = rows.astype(np.result_type(rows, values), copy=False)
        rows[at] = values
        return rows
    for i, value in zip(at.tolist(), values, strict=True):
        rows[i] = value
    return rows


def together(rows: list[Any], given: Any) -> Any:
    """The rows in the form in which they were given: one array, or a list."""
    if not isinstance(given, np.ndarray):
        return rows
    try:
        array = np.array(rows)
    except ValueError:
        raise AnswerError("the states of one batch have one shape") from None
    if array.dtype.kind not in "biuf":
        raise AnswerError("states that were given as numbers come back as numbers")
    return array


def batch_of(answer: Any, given: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """What ``step_batch`` answered, with as many rows as were given."""
    try:
        states, rewards, dones = answer
    except (TypeError, ValueError):
        raise AnswerError("step_batch gives (states, rewards, dones)") from None
    rewards, dones = np.asarray(rewards, np.float64), np.asarray(dones, bool)
    states = together(list(states), given) if not isinstance(states, np.ndarray) else states
    if not (rewards.shape == dones.shape == (len(given),)) or len(states) != len(given):
        raise AnswerError("step_batch gives as many states, rewards and dones as it was given")
    if isinstance(given, np.ndarray) and states.shape != given.shape:
        raise AnswerError(f"step_batch gives states {given.shape}, got {states.shape}")
    return (states if isinstance(given, np.ndarray) else list(states)), rewards, dones
