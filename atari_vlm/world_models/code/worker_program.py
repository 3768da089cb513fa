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
from atari_vlm.world_models.code.worker_answers import (
    FILENAME,
    AnswerError,
    Fault,
    batch_of,
    chosen,
    copied,
    fault,
    number_row,
    numbers,
    placed,
    rows_of,
    together,
    triple,
)

Rows = tuple[Any, np.ndarray, np.ndarray, list[tuple[int, Fault]]]
CONTRACTS = {1: ("set_state", "step"), 2: ("reset", "step", "observe")}


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
        return (numbers(after, state.shape) if type(state) is np.ndarray else after), reward, done

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
                return *batch_of(self.call("step_batch", copied(states), actions), states), []
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
        for state, action in zip(states.copy(), rows_of(actions), strict=True):
            set_state(state)  # type: ignore[misc]
            moved, reward, done = triple(step(action))  # type: ignore[misc]
            after.append(moved.copy() if type(moved) is list else np.array(moved))
            rewards.append(reward)
            dones.append(done)
        return numbers(after, states.shape), np.array(rewards), np.array(dones)

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
            states, earned, ended = batch_of(self.call("step_batch", states, given), states)
            rewards[going, t], dones[going, t] = earned, ended
            over = np.flatnonzero(ended)
            if len(over):
                last = placed(last, going[over], chosen(states, over))
                on = np.flatnonzero(~ended)
                states, going = chosen(states, on), going[on]
                if not len(on):
                    break
        return placed(last, going, states), rewards, dones, []

    def rollout_rows(self, states: Any, plans: np.ndarray) -> Rows:
        """The same, a row after the other."""
        rewards, dones = np.full(plans.shape[:2], -np.inf), np.ones(plans.shape[:2], bool)
        after, faults = [], []
        shape = states.shape[1:] if isinstance(states, np.ndarray) else None
        for row, (state, actions) in enumerate(
            zip(rows_of(states), map(rows_of, plans), strict=True)
        ):
            earned: list[float] = []
            done = False
            try:
                for action in actions:
                    answer, reward, ended = self.step(state, action)
                    state = answer if shape is None else number_row(answer, shape)
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
        return together(after, states), rewards, dones, faults
