"""The same program in this very process: for code of your own, without any protection (``--unsafe-local-code``)."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from atari_vlm.errors import ConfigError, MismatchError, SandboxProgramError
from atari_vlm.world_models.code import wire
from atari_vlm.world_models.code.sandbox import check_text
from atari_vlm.world_models.code.sandbox_rows import RowSteps, fault_error, no_steps
from atari_vlm.world_models.code.worker_answers import copied, fault, triple
from atari_vlm.world_models.code.worker_program import Program, Rows


class LocalProgram:
    """What :class:`~atari_vlm.world_models.code.sandbox.Sandbox` offers, in this process, **with all its rights**.

    The program can do whatever you can: read keys and files, start processes, never come back. ``deadline_s`` and ``memory_mb``
    are taken and not kept. States and actions are copied before the program sees them; calls raise what the sandbox's raise, as
    far as there is anything to notice. A seed is that of this process's ``random`` and ``numpy.random``, for programs that name
    either.
    """

    def __init__(self, program: str, *, deadline_s: float = 2.0, memory_mb: int = 1024):
        self.program, self.deadline_s, self.memory_mb = check_text(program), deadline_s, memory_mb
        try:
            self._program = Program(self.program)
        except Exception as error:
            self._raise(error)
        self.contract, self.methods = self._program.contract, frozenset(self._program.methods())

    def call(self, method: str, *args: Any, seed: int = 0, arrays: bool = False) -> Any:
        """As :meth:`Sandbox.call`."""
        given = [as_sent(value) for value in args]
        answer = self._run(seed, self._program.call, method, *given)
        return as_sent(answer, answered=True, plain=not arrays)

    def step(self, state: Any, action: Any, *, seed: int = 0) -> tuple[Any, float, bool]:
        """As :meth:`Sandbox.step`."""
        program, is_array = self._program, type(state) is np.ndarray
        given = state.copy() if is_array else copied(state)
        try:
            if program.draws:
                program.seed(seed)
            after, reward, done = program.step_alike(given, copied(action))
        except Exception as error:
            self._raise(error)
        return (after if is_array else copied(after)), reward, done

    def step_vector(self, state: np.ndarray, action: Any) -> tuple[np.ndarray, float, bool]:
        """:meth:`step` of contract 1 from an array, without a seed: the shortest way that there is."""
        program = self._program
        try:
            program.set_state(state.copy())  # type: ignore[misc]
            after, reward, done = triple(program.step_on(action))  # type: ignore[misc]
            return np.array(after), reward, done
        except Exception as error:
            self._raise(error)

    def step_rows(self, states: Any, actions: Any, *, seed: int = 0) -> RowSteps:
        """As :meth:`Sandbox.step_rows`."""
        return self._rows(seed, self._program.step_rows, states, np.array(actions))

    def rollout(self, states: Any, plans: Any, *, seed: int = 0) -> RowSteps:
        """As :meth:`Sandbox.rollout`."""
        return self._rows(seed, self._program.rollout, states, np.array(plans))

    def close(self) -> None:
        """Nothing is to be ended."""

    def __enter__(self) -> LocalProgram:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(self, seed: int, run: Any, states: Any, actions: np.ndarray) -> RowSteps:
        if len(states) != len(actions):
            raise MismatchError(f"{len(states)} states and actions for {len(actions)}")
        if not actions.size:
            return no_steps(states, actions.shape[: 1 if run == self._program.step_rows else 2])
        found: Rows = self._run(seed, run, copied(states), actions)
        errors = {row: fault_error(list(what), self.program) for row, what in found[3]}
        return RowSteps(*found[:3], errors)

    def _run(self, seed: int, function: Any, *arguments: Any) -> Any:
        try:
            if self._program.draws:
                self._program.seed(seed)
            return function(*arguments)
        except Exception as error:
            self._raise(error)

    def _raise(self, error: Exception) -> NoReturn:
        raise fault_error(list(fault(error)), self.program) from error


def as_sent(value: Any, *, answered: bool = False, plain: bool = False) -> Any:
    """A value as it would arrive on the other side. Raises ``ConfigError``, of an answer ``SandboxProgramError``."""
    try:
        return wire.unpack(wire.pack(value), plain=plain)
    except wire.WireError as error:
        if answered:
            raise SandboxProgramError(f"the program's answer cannot be taken: {error}") from error
        raise ConfigError(f"what a program is given is plain data: {error}") from error
