"""A program as it runs: one contract or the other, one step, many rows, whole plans. Used on both sides of the boundary.

Contract 1 is ``class Environment`` with ``set_state(state)`` and ``step(action) -> (state, reward, done)``. Contract 2:
``reset(observations, actions) -> state``, ``step(state, action) -> (state, reward, done)``, ``observe(state)`` and, where it
likes, ``render(state)``. Either may have ``step_batch(states, actions) -> (states, rewards, dones)``.

This file imports numpy and the standard library only: the worker reads it before it locks itself.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from atari_vlm.world_models.code.wire import WireError, pack, unpack

FILENAME = "<program>"
Fault = tuple[
    str, str, int
]  # type, text and line of an error, 0 where no line of the program is known
Rows = tuple[Any, np.ndarray, np.ndarray, list[tuple[int, Fault]]]


CONTRACTS = {1: ("set_state", "step"), 2: ("reset", "step", "observe")}


class AnswerError(TypeError):
    """The program answered with something that the contract does not know."""


class Program:
    """A loaded program. ``builtins`` are those that its code sees; loading runs it, and may raise whatever it raises."""

    def __init__(self, text: str, builtins: dict[str, Any] | None = None):
        module = ModuleType("program")
        if builtins is not None:
            module.__dict__["__builtins__"] = builtins
        sys.modules["program"] = module  # where dataclasses and pickles look their module up
        self.draws = "random" in text
        exec(compile(text, FILENAME, "exec", dont_inherit=True), module.__dict__)
        environment = module.__dict__.get("Environment")
        self._home: Any = environment() if isinstance(environment, type) else module
        fitting = (n for n, names in CONTRACTS.items() if all(map(self.has, names)))
        self.contract = next(fitting, 0)
        self._methods: dict[str, Callable[..., Any]] = {}
        self.step_on = getattr(self._home, "step", None)
        self.set_state = getattr(self._home, "set_state", None)

    def seed(self, seed: int) -> None:
        """What ``random`` and ``numpy.random`` draw from here on; of use where ``draws``: the program names one of them."""
        random.seed(seed)
        np.random.seed(seed)

    def call(self, method: str, *args: Any) -> Any:
        """What a method answers, as the program gave it."""
        function = self._methods.get(method)
        if function is None:
            function = self._methods[method] = self._method(method)
        return function(*args)

    def _method(self, name: str) -> Callable[..., Any]:
        found = None if name.startswith("_") else getattr(self._home, name, None)
        if not callable(found):
            raise AnswerError(f"the program has no method {name!r}")
        return found  # type: ignore[no-any-return]

    def methods(self) -> list[str]:
        """The names of what can be called."""
        names = [name for name in dir(self._home) if not name.startswith("_")]
        return [name for name in names if callable(getattr(self._home, name, None))][:200]

    def has(self, method: str) -> bool:
        """Whether the program has this method."""
        return callable(getattr(self._home, method, None))

    def step(self, state: Any, action: Any) -> tuple[Any, float, bool]:
        """One step from a state, in either contract."""
        if self.contract == 1:
            self.set_state(state)  # type: ignore[misc]
            return triple(self.step_on(action))  # type: ignore[misc]
        return triple(self.call("step", state, action))

    def step_alike(self, state: Any, action: Any) -> tuple[Any, float, bool]:
        """:meth:`step`; a state that was given as an array comes back as a fresh one of its shape."""
        after, reward, done = self.step(state, action)
        return (_numbers(after, state.shape) if type(state) is np.ndarray else after), reward, done

    def audit(self, state: Any, action: Any) -> tuple[bool, Any, Any]:
        """For :mod:`checking`: whether a step changed the state it was given or one it gave, that step, and a second after it.

        The second goes on from what the program itself has: nothing is put back in between. No first step where its state is no
        plain data.
        """
        before = pack(state)
        first = self.step(state, action)
        changed = pack(state) != before
        try:
            kept, answer = pack(first[0]), unpack(pack(first))
        except WireError:
            return changed, None, None
        if first[2]:
            return changed, answer, None
        again = self.call("step", *([action] if self.contract == 1 else [first[0], action]))
        return changed or pack(first[0]) != kept, answer, triple(again)

    def step_rows(self, states: Any, actions: np.ndarray) -> Rows:
        """One step for every row: states, rewards ``(B,)``, ends ``(B,)``, and the rows that raised.

        States come back as they were given: an array ``(B, ...)`` or a list. A row that raised keeps its state, at minus infinity
        and ended.
        """
        try:
            if self.has("step_batch"):
                return *_batch(self.call("step_batch", copied(states), actions), states), []
            if self.contract == 1 and isinstance(states, np.ndarray) and states.ndim == 2:
                return *self._step_vectors(states, actions), []
        except BaseException:  # row by row it is seen which one it was
            pass
        after, rewards, dones, faults = self.rollout_rows(states, actions[:, None])
        return after, rewards[:, 0], dones[:, 0], faults

    def _step_vectors(
        self, states: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A step of every row, as long as nothing is wrong with any of them."""
        after, rewards, dones = [], [], []
        set_state, step = self.set_state, self.step_on
        for state, action in zip(states.copy(), _rows(actions), strict=True):
            set_state(state)  # type: ignore[misc]
            moved, reward, done = triple(step(action))  # type: ignore[misc]
            after.append(moved.copy() if type(moved) is list else np.array(moved))
            rewards.append(reward)
            dones.append(done)
        return _numbers(after, states.shape), np.array(rewards), np.array(dones)

    def rollout(self, states: Any, plans: np.ndarray) -> Rows:
        """Follow plans ``(B, H, ...)``: the last states, rewards and ends of all steps ``(B, H)``.

        A row that is done stays there: reward 0, and done.
        """
        if self.has("step_batch"):
            try:
                return self._rollout_batch(states, plans)
            except Exception:
                pass
        return self.rollout_rows(states, plans)

    def _rollout_batch(self, states: Any, plans: np.ndarray) -> Rows:
        rewards, dones = np.zeros(plans.shape[:2]), np.ones(plans.shape[:2], bool)
        last, states, going = copied(states), copied(states), np.arange(len(plans))
        columns = np.ascontiguousarray(np.moveaxis(plans, 1, 0))  # (H, B, ...)
        for t, actions in enumerate(columns):
            given = actions if len(going) == len(plans) else actions.take(going, 0)
            states, earned, ended = _batch(self.call("step_batch", states, given), states)
            rewards[going, t], dones[going, t] = earned, ended
            over = np.flatnonzero(ended)
            if len(over):
                last = _placed(last, going[over], _chosen(states, over))
                on = np.flatnonzero(~ended)
                states, going = _chosen(states, on), going[on]
                if not len(on):
                    break
        return _placed(last, going, states), rewards, dones, []

    def rollout_rows(self, states: Any, plans: np.ndarray) -> Rows:
        """The same, a row after the other."""
        rewards, dones = np.full(plans.shape[:2], -np.inf), np.ones(plans.shape[:2], bool)
        after, faults = [], []
        shape = states.shape[1:] if isinstance(states, np.ndarray) else None
        for row, (state, actions) in enumerate(zip(_rows(states), map(_rows, plans), strict=True)):
            earned: list[float] = []
            done = False
            try:
                for action in actions:
                    answer, reward, ended = self.step(state, action)
                    state = answer if shape is None else _number_row(answer, shape)
                    earned.append(reward)
                    if done := ended:
                        break
            except BaseException as error:
                faults.append((row, fault(error)))
            after.append(copied(state) if shape is None else state)
            rewards[row, : len(earned)] = earned
            dones[row, : len(earned) - done] = False
            if done:
                rewards[row, len(earned) :] = 0.0
        return _together(after, states), rewards, dones, faults


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


def _rows(values: Any) -> list[Any]:
    """The rows of an array or a list; those of an array ``(B,)`` as Python numbers."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values.tolist()  # type: ignore[no-any-return]
    return list(values)


def _number_row(state: Any, shape: tuple[int, ...]) -> Any:
    """A row's next state as the first was given: an array, or a number."""
    return _numbers(state, shape) if shape else _numbers(state, shape).item()


def _numbers(state: Any, shape: tuple[int, ...]) -> np.ndarray:
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


def _chosen(rows: Any, which: np.ndarray) -> Any:
    """Some of the rows of an array or a list."""
    return (
        rows.take(which, 0) if isinstance(rows, np.ndarray) else [rows[i] for i in which.tolist()]
    )


def _placed(rows: Any, at: np.ndarray, values: Any) -> Any:
    """``rows`` with ``values`` in the places ``at``."""
    if isinstance(rows, np.ndarray):
        rows = rows.astype(np.result_type(rows, values), copy=False)
        rows[at] = values
        return rows
    for i, value in zip(at.tolist(), values, strict=True):
        rows[i] = value
    return rows


def _together(rows: list[Any], given: Any) -> Any:
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


def _batch(answer: Any, given: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """What ``step_batch`` answered, with as many rows as were given."""
    try:
        states, rewards, dones = answer
    except (TypeError, ValueError):
        raise AnswerError("step_batch gives (states, rewards, dones)") from None
    rewards, dones = np.asarray(rewards, np.float64), np.asarray(dones, bool)
    states = _together(list(states), given) if not isinstance(states, np.ndarray) else states
    if not (rewards.shape == dones.shape == (len(given),)) or len(states) != len(given):
        raise AnswerError("step_batch gives as many states, rewards and dones as it was given")
    if isinstance(given, np.ndarray) and states.shape != given.shape:
        raise AnswerError(f"step_batch gives states {given.shape}, got {states.shape}")
    return (states if isinstance(given, np.ndarray) else list(states)), rewards, dones
