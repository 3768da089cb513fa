"""Generated code, held: a program in a worker process that can do nothing but answer.

``docs/security.md`` says what is promised and what is not.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from atari_vlm.errors import (
    ConfigError,
    MismatchError,
    SandboxError,
    SandboxViolationError,
    check_count,
    check_positive,
)
from atari_vlm.world_models.code import wire
from atari_vlm.world_models.code.sandbox_rows import (
    RowSteps,
    fault_error,
    joined,
    no_steps,
    read_rows,
    rows_at_once,
    unavailable,
)
from atari_vlm.world_models.code.wire import (
    AUDIT,
    CALL,
    DONE,
    LOAD,
    REPLY,
    ROLLOUT,
    STEP,
    STEP_ROWS,
)

if TYPE_CHECKING:
    from atari_vlm.world_models.code.sandbox_process import Worker

PROGRAM_BYTES = 256 << 10
_STEPS = 1000  # that one deadline is for
_LONGEST_S = 1e6  # that can be waited for


def check_text(program: object) -> str:
    """``program`` where it can be one: text of at most 256 KiB in UTF-8, no NUL. Raises ``ConfigError``."""
    if not isinstance(program, str):
        raise ConfigError(f"a program is text, got {type(program).__name__}")
    try:
        size = len(program.encode())
    except UnicodeEncodeError:
        raise ConfigError("a program is text that UTF-8 can hold") from None
    if size > PROGRAM_BYTES or "\0" in program:
        raise ConfigError(
            f"a program has at most {PROGRAM_BYTES >> 10} KiB and no NUL, got {size:,} bytes"
            + (" with NUL" if "\0" in program else "")
        )
    return program


class Sandbox:
    """A program in a process of its own that can read our requests, answer them, compute, and nothing else.

    A context manager around one worker; :meth:`close` ends it. ``deadline_s`` is for loading the program and for every call;
    rows and plans of more than 1,000 steps have as many times longer. ``memory_mb`` is what the program may take beyond the
    interpreter and numpy. ``contract`` is 1 (``class Environment``), 2 (functions) or 0 (neither); ``methods`` names what can be
    called. What a program draws from ``random`` and ``numpy.random`` in a call is a function of the call's ``seed``.

    With ``script`` the program is run between an input and an output instead, anew for every call: ``call("run", text)`` gives
    what it prints, ``call("apply", name, arguments)`` what its function gives, both as JSON, and ``call("find", name)`` tells
    whether it has that function.

    A program that was stopped is loaded again for the next call, without what it kept. One thread at a time is served.

    Raises ``ConfigError`` for a program that is no text of 256 KiB, ``SandboxUnavailableError`` where this machine cannot hold
    generated code, and, here as in every method, ``SandboxProgramError`` (it raised, or what it answered cannot be taken),
    ``SandboxViolationError`` (it tried something forbidden), ``SandboxTimeoutError``, ``SandboxCrashError`` (its process died).
    """

    def __init__(
        self,
        program: str,
        *,
        deadline_s: float = 2.0,
        memory_mb: int = 1024,
        script: bool = False,
    ):
        check_positive(deadline_s=deadline_s)
        check_count(memory_mb=memory_mb)
        self.program, self.memory_mb, self._script = check_text(program), memory_mb, script
        self.deadline_s = min(deadline_s, _LONGEST_S)
        self.contract, self.methods = 0, frozenset[str]()
        self._lock = threading.RLock()
        self._closed = False
        self._worker: Worker | None = None
        self._worker = self._start()

    def call(self, method: str, *args: Any, seed: int = 0, arrays: bool = False) -> Any:
        """What a method answers as plain data: numbers, text, lists, dicts. ``call("step", a)`` gives ``[state, reward, done]``.

        Arguments are plain data or numeric arrays, which arrive as arrays; in the answer arrays are lists, or with ``arrays``
        what they are.
        """
        return self._ask(CALL, [method, *args], seed, self.deadline_s, not arrays)

    def step(self, state: Any, action: Any, *, seed: int = 0) -> tuple[Any, float, bool]:
        """One step from a state in either contract, in one crossing: the lean way for one row.

        A state that is given as an array comes back as one.
        """
        answer = self._ask(STEP, [state, action], seed, self.deadline_s)
        if type(answer) is not list or [type(item) for item in answer[1:]] != [float, bool]:
            self._refuse("a step is (state, reward, done)")
        if type(state) is np.ndarray and type(answer[0]) is not np.ndarray:
            self._refuse("a state comes back as it was given")
        return tuple(answer)  # type: ignore[return-value]

    def step_rows(self, states: Any, actions: Any, *, seed: int = 0) -> RowSteps:
        """One step of B rows: ``states`` an array ``(B, ...)`` or a list of B, ``actions`` ``(B,)`` or ``(B, A)``.

        Crosses once; the program's ``step_batch`` does all rows where it has one.
        """
        return self._rows(STEP_ROWS, states, np.asarray(actions), 1, seed)

    def rollout(self, states: Any, plans: Any, *, seed: int = 0) -> RowSteps:
        """The last states of B rows that follow ``plans`` ``(B, H)`` or ``(B, H, A)``, with every reward and end ``(B, H)``.

        A row that is done stays there: reward 0, and done. Crosses once as long as the answer has less than 1 MiB.
        """
        plans = np.asarray(plans)
        return self._rows(ROLLOUT, states, plans, plans.shape[1], seed)

    def audit(self, state: Any, action: Any) -> tuple[bool, list[Any] | None, list[Any] | None]:
        """For :func:`check_program`: whether a step changes states, that step, and a second after it without a crossing."""
        answer = self._ask(AUDIT, [state, action], 1, self.deadline_s)
        steps: list[Any] = answer[1:] if isinstance(answer, list) and len(answer) == 3 else [0]
        if any(step is not None and (type(step) is not list or len(step) != 3) for step in steps):
            self._refuse("an audit is a word and two steps")
        return bool(answer[0]), steps[0], steps[1]

    @property
    def pid(self) -> int:
        """The process of the worker; it changes when one was ended and the next call made another."""
        return self._worker.pid if self._worker is not None else 0

    def close(self) -> None:
        """End the worker. Any later call is refused."""
        with self._lock:
            self._closed = True
            self._drop()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(
        self, operation: int, states: Any, actions: np.ndarray, horizon: int, seed: int
    ) -> RowSteps:
        rows = len(actions)
        if len(states) != rows:
            raise MismatchError(f"{len(states)} states and actions for {rows}")
        if not actions.size:
            return no_steps(states, actions.shape[: 1 if operation == STEP_ROWS else 2])
        most = rows_at_once(states, rows, horizon)
        parts = [
            self._few_rows(
                operation, states[at : at + most], actions[at : at + most], horizon, seed
            )
            for at in range(0, rows, most)
        ]
        return parts[0] if len(parts) == 1 else joined(parts)

    def _few_rows(
        self, operation: int, states: Any, actions: np.ndarray, horizon: int, seed: int
    ) -> RowSteps:
        longer = max(1.0, len(actions) * horizon / _STEPS)
        deadline_s = min(self.deadline_s * longer, _LONGEST_S)
        answer = self._ask(operation, [states, actions], seed, deadline_s)
        shape = actions.shape[:1] if operation == STEP_ROWS else actions.shape[:2]
        try:
            return read_rows(answer, states, shape, self.program)
        except wire.WireError as error:
            self._refuse(str(error))

    def _ask(
        self, operation: int, value: list[Any], seed: int, deadline_s: float, plain: bool = False
    ) -> Any:
        try:
            body = wire.pack(value)
        except wire.WireError as error:
            raise ConfigError(f"what a program is given is plain data: {error}") from error
        with self._lock:
            worker = self._worker
            if worker is None or worker.is_over:
                worker = self._worker = self._again()
            try:
                outcome, frame = worker.ask(operation, body, seed, deadline_s)
            except BaseException:  # an interrupt too: what it still answers is to nobody's question
                worker.kill()
                raise
        return self._read(outcome, frame, plain)

    def _read(self, outcome: int, frame: bytes, plain: bool = False) -> Any:
        try:
            value = wire.unpack(frame, REPLY.size, plain)
            if outcome == DONE:
                return value
            error = fault_error(value, self.program)
        except wire.WireError as wrong:
            self._refuse(str(wrong))
        raise error

    def _refuse(self, what: str) -> NoReturn:
        """End a worker that does not speak as ours does: the program got at it."""
        with self._lock:
            self._drop()
        raise SandboxViolationError(f"the program's answer is none: {wire.clean(what)}")

    def _again(self) -> Worker:
        """A new worker for one that was stopped, or that belongs to the process we were forked from."""
        if self._closed:
            raise SandboxError("this sandbox is closed")
        return self._start()

    def _start(self) -> Worker:
        if sys.platform != "linux" or not sys.executable:
            raise unavailable("generated code is held on Linux only")
        from atari_vlm.world_models.code.sandbox_process import Worker  # has modules of Linux

        worker = Worker(self.memory_mb)
        try:
            outcome, body = worker.ask(
                LOAD, wire.pack([self.program, self._script]), 0, self.deadline_s
            )
            self.contract, self.methods = _loaded(self._read(outcome, body))
        except wire.WireError as error:
            worker.kill()
            self._refuse(str(error))
        except BaseException:
            worker.kill()
            raise
        return worker

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = None


def _loaded(answer: Any) -> tuple[int, frozenset[str]]:
    """Contract and methods, as a worker says that by now belongs to the program."""
    try:
        contract, methods = answer
    except (TypeError, ValueError):
        raise wire.WireError("a program has a contract and methods") from None
    if contract not in (0, 1, 2) or not isinstance(methods, list):
        raise wire.WireError("a contract is 0, 1 or 2 beside a list of methods")
    names = (name for name in methods if isinstance(name, str) and name.isidentifier())
    return int(contract), frozenset(names)
