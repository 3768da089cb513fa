"""A program's tests as the outcome of a call of a search, with what its writer is shown of those that failed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from atari_vlm.errors import ConfigError
from atari_vlm.synthesis.apps.problems import Problem
from atari_vlm.synthesis.apps.running import Mark, RunLimits, TestRun, Verdict, run_program
from atari_vlm.synthesis.records import Outcome
from atari_vlm.world_models.code.sandbox import check_text
from atari_vlm.world_models.code.wire import clean

_MOST_EXAMPLES = 12  # kept of one program
_LONGEST = 1500  # characters of an input, an output or an error that a writer is shown


class AppsJudge:
    """Scores programs by the share of a problem's tests that they pass.

    A failed test is shown to the writer only from the first half of the tests, drawn by ``seed``: so no search can end by writing
    the answers of all tests down. A program that cannot be begun, or that lacks the function, is a bug; one that raises in a
    test fails that test.
    """

    def __init__(self, problem: Problem, limits: RunLimits, seed: int = 0):
        self._problem, self._limits, self._seed = problem, limits, seed

    def __call__(self, program: str) -> Outcome:
        """The outcome. Raises ``SandboxUnavailableError`` where programs cannot be held."""
        try:
            check_text(program)
        except ConfigError as error:
            return Outcome(failure="no-code", error=str(error))
        verdict = run_program(program, self._problem, self._limits)
        if verdict.error:
            return Outcome(program, failure="bug", error=verdict.error)
        examples = json.loads(json.dumps(list(self._examples(verdict))))
        return Outcome(
            program=program,
            score=verdict.share,
            fields={"tests": verdict.share},
            examples=tuple(examples),
        )

    def _examples(self, verdict: Verdict) -> Iterator[dict[str, Any]]:
        """Failed tests that may be shown, in a drawn order."""
        shown = (len(verdict.runs) + 1) // 2
        failed = [at for at in range(shown) if not verdict.runs[at].passed]
        random.Random(self._seed).shuffle(failed)
        for at in failed[:_MOST_EXAMPLES]:
            yield self._example(at, verdict.runs[at])

    def _example(self, at: int, run: TestRun) -> dict[str, Any]:
        test = self._problem.tests[at]
        is_call = self._problem.fn_name is not None
        raised = run.mark is Mark.RAISED
        return {
            "test": at,
            "given": cut(json.dumps(test.given) if is_call else test.given),
            "wanted": cut(json.dumps(test.wanted) if is_call else test.wanted),
            "said": clean(run.said) if raised else cut(run.said),
            "raised": raised,
        }


def cut(text: str) -> str:
    """A text, or its beginning where it is long."""
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} ... ({more:,} more characters)"
