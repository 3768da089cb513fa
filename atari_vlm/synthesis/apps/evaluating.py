"""What runs of problems are worth: every program against every test once more, and what follows from that.

Strict accuracy is the share of the problems that some written program solves, passing all tests. The test-case average is the
mean over problems of the share of tests that the *chosen* program passes (0 where none was). pass@k is the mean over problems of
1 - C(n-c, k) / C(n, k) with n samples of which c are right (arXiv 2107.03374, equation 1): unbiased for independent samples
(``zero-shot``); of a search it is only the same formula over what it wrote. A reply without a program is a wrong sample. A search
that ended early has fewer programs than its budget: for k above n it is 1 where one of them is right, else 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, check_count
from atari_vlm.files import atomic_write
from atari_vlm.scores.statistics import Estimate, aggregate
from atari_vlm.synthesis.apps.problems import Problem, problem_names, read_problem
from atari_vlm.synthesis.apps.running import RunLimits, Verdict, run_program
from atari_vlm.synthesis.apps.saving import SavedRun, Solved, read_runs

APPS_RESULTS, APPS_TESTS = "apps_results.json", "apps_tests.json"


@dataclass(frozen=True)
class ProblemResult:
    """One problem: a verdict for every sample (``None`` where there was no program), and the place of the chosen one."""

    problem: str
    difficulty: str
    verdicts: tuple[Verdict | None, ...]
    chosen: int | None

    @property
    def right(self) -> int:
        """How many samples pass all tests."""
        return sum(verdict is not None and verdict.right for verdict in self.verdicts)

    @property
    def chosen_share(self) -> float:
        """The share of the tests that the chosen program passes."""
        verdict = None if self.chosen is None else self.verdicts[self.chosen]
        return 0.0 if verdict is None else verdict.share


@dataclass(frozen=True)
class AppsResults:
    """What was measured of some problems; ``pass_at_k`` by k, for every k up to the samples of a problem."""

    each: tuple[ProblemResult, ...]

    @property
    def strict_accuracy(self) -> float:
        """The share of the problems that some program solves."""
        return sum(one.right > 0 for one in self.each) / len(self.each)

    @property
    def test_case_average(self) -> float:
        """The mean share of the tests that the chosen programs pass."""
        return sum(one.chosen_share for one in self.each) / len(self.each)

    @property
    def pass_at_k(self) -> dict[int, float]:
        """pass@k by k."""
        most = max(len(one.verdicts) for one in self.each)
        counts = [(len(one.verdicts), one.right) for one in self.each]
        return {
            k: sum(pass_at(k, n, c) for n, c in counts) / len(counts) for k in range(1, most + 1)
        }

    def interval(self) -> Estimate:
        """Strict accuracy with an interval over the problems."""
        return aggregate({"apps": [float(one.right > 0) for one in self.each]}, "mean")

    def by_difficulty(self) -> dict[str, dict[str, float]]:
        """The figures of the problems of each difficulty."""
        words = sorted({one.difficulty for one in self.each})
        parts = {w: AppsResults(tuple(o for o in self.each if o.difficulty == w)) for w in words}
        return {word: part.figures() for word, part in parts.items()}

    def figures(self) -> dict[str, float]:
        """The three numbers."""
        return {
            "problems": len(self.each),
            "strict_accuracy": self.strict_accuracy,
            "test_case_average": self.test_case_average,
        }


def pass_at(k: int, samples: int, right: int) -> float:
    """The chance that one of k samples is right, drawn from ``samples`` of which ``right`` are, without putting back.

    With fewer samples than k it is 1 where one is right, else 0. Raises ``ConfigError`` for numbers that cannot be.
    """
    check_count(k=k)
    if not 0 <= right <= samples:
        raise ConfigError(f"of {samples} samples {right} cannot be right")
    if right == 0:
        return 0.0
    return 1.0 if samples - right < k else 1.0 - comb(samples - right, k) / comb(samples, k)


def evaluate(
    folder: Path,
    problems: Path,
    limits: RunLimits | None = None,
    *,
    on_problem: Callable[[str], None] = lambda name: None,
) -> tuple[SavedRun, AppsResults]:
    """Run what a run (or the runs in a folder) wrote on the tests of the problems in another, and write ``apps_results.json``.

    Beside it lies ``apps_tests.json``: for every problem and program what became of each test, numbered as
    :class:`~atari_vlm.synthesis.apps.running.Mark` does.

    Raises ``ConfigError`` for a folder that holds no such run, or a problem that the other folder has not, and
    ``SandboxUnavailableError``.
    """
    saved = read_runs(folder)
    if not saved.solved:
        raise ConfigError(f"{folder} holds no problem that is done yet: let its run go on first")
    missing = sorted(saved.solved.keys() - set(problem_names(problems)))
    if missing:
        raise ConfigError(
            f"{problems} has no problem {missing[0]}, for which {folder} holds programs: --test-loc names the problems of the run"
        )
    limits = limits or RunLimits()
    each = []
    for name, solved in saved.solved.items():
        on_problem(name)
        each.append(measured(solved, read_problem(problems, name), limits))
    results = AppsResults(tuple(each))
    tests = {one.problem: [_marks(verdict) for verdict in one.verdicts] for one in each}
    atomic_write(folder / APPS_TESTS, json.dumps(tests) + "\n")
    content = results_of(saved, results, limits)
    atomic_write(folder / APPS_RESULTS, json.dumps(content, indent=1) + "\n")
    return saved, results


def measured(solved: Solved, problem: Problem, limits: RunLimits) -> ProblemResult:
    """Every program of a problem on its tests; equal programs are run once."""
    known: dict[str, Verdict] = {}
    for program in solved.programs:
        if program is not None and program not in known:
            known[program] = run_program(program, problem, limits)
    verdicts = tuple(None if program is None else known[program] for program in solved.programs)
    return ProblemResult(problem.name, problem.difficulty, verdicts, solved.chosen)


def results_of(saved: SavedRun, results: AppsResults, limits: RunLimits) -> dict[str, Any]:
    """What ``apps_results.json`` holds."""
    settings = saved.settings
    return {
        **results.figures(),
        "pass_at_k": {str(k): value for k, value in results.pass_at_k.items()},
        "strict_accuracy_interval": results.interval().as_dict(),
        "problems_asked_for": saved.asked,
        "by_difficulty": results.by_difficulty(),
        "method": settings.get("method"),
        "strategy": settings.get("strategy"),
        "writer": settings.get("endpoint"),
        "budget": (settings.get("search") or {}).get("budget"),
        "calls": sum(one.calls for one in saved.solved.values()),
        "cost_usd": _sum(one.cost_usd for one in saved.solved.values()),
        "limits": {"deadline_s": limits.deadline_s, "total_s": limits.total_s, "memory_mb": limits.memory_mb},
    }  # fmt: skip


def _marks(verdict: Verdict | None) -> list[int]:
    return [] if verdict is None else [int(run.mark) for run in verdict.runs]


def _sum(costs: Iterable[float | None]) -> float | None:
    known: Sequence[float | None] = list(costs)
    return None if None in known else sum(cost or 0.0 for cost in known)
