"""What many rows of a program come to when they cross the boundary at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import (
    SandboxError,
    SandboxProgramError,
    SandboxUnavailableError,
    SandboxViolationError,
)
from atari_vlm.world_models.code.wire import LIMIT, WireError, clean, pack
from atari_vlm.world_models.code.worker_answers import copied


@dataclass(frozen=True)
class RowSteps:
    """One step of B rows, or H of them.

    ``states`` as they were given: an array ``(B, ...)`` of the program's own numbers, or a list of plain data and arrays;
    ``rewards`` float64 and ``dones`` bool, ``(B,)`` or ``(B, H)``. ``errors`` says of the rows that raised what it was: such a
    row keeps the state it had, with a reward of minus infinity and ``done`` from that step on.
    """

    states: Any
    rewards: np.ndarray
    dones: np.ndarray
    errors: Mapping[int, SandboxError]


def rows_at_once(states: Any, rows: int, horizon: int) -> int:
    """How many rows cross at once so that their answer stays below the limit, each state at most twice as long as it was."""
    if rows == 1:
        return 1
    size = states[0].nbytes if isinstance(states, np.ndarray) else len(pack([states[0]]))
    return max(1, LIMIT * 4 // 5 // (2 * size + 64 + 9 * horizon))


def no_steps(states: Any, shape: tuple[int, ...]) -> RowSteps:
    """What no rows come to, or no steps of any."""
    return RowSteps(copied(states), np.zeros(shape), np.zeros(shape, bool), {})


def read_rows(answer: Any, states: Any, shape: tuple[int, ...], program: str) -> RowSteps:
    """What a worker answered, held to what was asked. Raises ``WireError``."""
    if not isinstance(answer, list) or len(answer) not in (3, 4):
        raise WireError("rows are states, rewards and dones")
    after, rewards, dones = answer[:3]
    _check_array(rewards, np.float64, shape)
    _check_array(dones, np.bool_, shape)
    if type(after) is not (np.ndarray if isinstance(states, np.ndarray) else list):
        raise WireError("states come back as they were given")
    if len(after) != len(states):
        raise WireError("as many states come back as were given")
    return RowSteps(
        after, rewards, dones, _errors(answer[3], shape[0], program) if answer[3:] else {}
    )


def _check_array(value: Any, dtype: type, shape: tuple[int, ...]) -> None:
    if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
        raise WireError("rewards are float64 and dones bool, one for each step")


def _errors(faults: Any, rows: int, program: str) -> dict[int, SandboxError]:
    if not isinstance(faults, list):
        raise WireError("faults are a list")
    errors = {}
    for entry in faults:
        if not isinstance(entry, list) or len(entry) != 2 or type(entry[0]) is not int:
            raise WireError("a fault is a row and what it was")
        if not 0 <= entry[0] < rows:
            raise WireError("a fault is of a row that was asked for")
        errors[entry[0]] = fault_error(entry[1], program)
    return errors


def fault_error(fault: Any, program: str) -> SandboxError:
    """The error for what a worker said that the program raised. Raises ``WireError`` for what is no such word."""
    if isinstance(fault, list) and len(fault) == 1 and isinstance(fault[0], str):
        return SandboxProgramError(f"the program's answer cannot be taken: {clean(fault[0])}")
    if not isinstance(fault, list) or [type(part) for part in fault] != [str, str, int]:
        raise WireError("a fault is type, text and line")
    kind, text, line = clean(fault[0], 80), clean(fault[1]), fault[2]
    words = ": ".join(part for part in (kind, text) if part)
    lines = program.splitlines()
    if 0 < line <= len(lines):
        words += f" (line {line}: {clean(lines[line - 1], 120)})"
    known = line if 0 < line <= len(lines) else None
    if kind == "PermissionError":
        return SandboxViolationError(f"the program tried something forbidden: {words}")
    return SandboxProgramError(words, line=known)


def joined(parts: Sequence[RowSteps]) -> RowSteps:
    """Several crossings as one."""
    states: Any
    if isinstance(parts[0].states, np.ndarray):
        states = np.concatenate([part.states for part in parts])
    else:
        states = [state for part in parts for state in part.states]
    errors, before = {}, 0
    for part in parts:
        errors.update({before + row: error for row, error in part.errors.items()})
        before += len(part.rewards)
    rewards = np.concatenate([part.rewards for part in parts])
    return RowSteps(states, rewards, np.concatenate([part.dones for part in parts]), errors)


def unavailable(reason: str) -> SandboxUnavailableError:
    """That no program is run here, and the way that is left."""
    return SandboxUnavailableError(
        f"{reason}; --unsafe-local-code runs programs in this process, without any protection"
    )
