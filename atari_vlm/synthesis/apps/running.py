"""A program against the tests of a problem, in the sandbox. It is given what it has to read, never what it has to answer."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from enum import IntEnum

from atari_vlm.errors import (
    ConfigError,
    SandboxError,
    SandboxUnavailableError,
    check_count,
    check_positive,
)
from atari_vlm.synthesis.apps.comparing import same_text, same_value
from atari_vlm.synthesis.apps.problems import Problem, Test
from atari_vlm.world_models.code.sandbox import Sandbox, check_text


class Mark(IntEnum):
    """What became of a test, by the numbers of the public harness."""

    NO_PROGRAM = -2
    RAISED = -1
    WRONG = 0
    PASSED = 1


@dataclass(frozen=True)
class RunLimits:
    """What a program may take: seconds a test, seconds for all tests of a problem, MiB beyond the interpreter and numpy."""

    deadline_s: float = 4.0
    total_s: float = 60.0
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        check_positive(deadline_s=self.deadline_s, total_s=self.total_s)
        check_count(memory_mb=self.memory_mb)


@dataclass(frozen=True)
class TestRun:
    """One test: its mark, and what the program answered (a text, or JSON), or what it raised."""

    mark: Mark
    said: str = ""

    @property
    def passed(self) -> bool:
        """Whether the answer is the wanted one."""
        return self.mark is Mark.PASSED


@dataclass(frozen=True)
class Verdict:
    """All tests of a problem, in their order. ``error`` says why the program could not even be begun."""

    runs: tuple[TestRun, ...]
    error: str = ""

    @property
    def share(self) -> float:
        """The share of the tests that were passed."""
        return sum(run.passed for run in self.runs) / len(self.runs)

    @property
    def right(self) -> bool:
        """Whether all tests were passed."""
        return all(run.passed for run in self.runs)


def run_program(program: str, problem: Problem, limits: RunLimits) -> Verdict:
    """Run a program on every test of a problem.

    A program that is cut short is begun anew for the next test, until ``total_s`` is over: what is left then counts as not
    passed. Raises ``SandboxUnavailableError`` where programs cannot be held; whatever the program does is part of the verdict.
    """
    begun = time.monotonic()
    try:
        check_text(program)
        with Sandbox(
            program, deadline_s=limits.deadline_s, memory_mb=limits.memory_mb, script=True
        ) as sandbox:
            if problem.fn_name is not None:
                sandbox.call("find", problem.fn_name)
            runs = [
                _run(sandbox, problem, test)
                if time.monotonic() - begun < limits.total_s
                else TestRun(Mark.RAISED, f"not run: {limits.total_s:g} s were over")
                for test in problem.tests
            ]
            return Verdict(tuple(runs))
    except SandboxUnavailableError as error:  # there is no other way here
        raise SandboxUnavailableError(str(error).partition("; --unsafe")[0]) from error
    except (SandboxError, ConfigError) as error:
        none = TestRun(Mark.NO_PROGRAM, str(error))
        return Verdict((none,) * len(problem.tests), str(error))


def _run(sandbox: Sandbox, problem: Problem, test: Test) -> TestRun:
    try:
        if problem.fn_name is None:
            said = sandbox.call("run", test.given)
            passed = isinstance(said, str) and same_text(said, test.wanted)
        else:
            said = sandbox.call("apply", problem.fn_name, json.dumps(test.given))
            passed = isinstance(said, str) and same_value(said, test.wanted)
    except SandboxUnavailableError:
        raise
    except SandboxError as error:
        return TestRun(Mark.RAISED, str(error))
    return TestRun(Mark.PASSED if passed else Mark.WRONG, str(said))
