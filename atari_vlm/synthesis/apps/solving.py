"""Problem after problem: a search for each, in a run that can be stopped anywhere and pays nothing twice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from atari_vlm.errors import (
    BudgetExhaustedError,
    StoppedError,
    UnknownNameError,
    VLMError,
)
from atari_vlm.files import atomic_write
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.journal_vlm import Heard
from atari_vlm.runs.progress import Quiet, Task, running
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.settings import plain
from atari_vlm.synthesis.apps.judging import AppsJudge
from atari_vlm.synthesis.apps.problems import Problem, ProblemSet
from atari_vlm.synthesis.apps.questions import Strategy, apps_questions
from atari_vlm.synthesis.apps.running import RunLimits
from atari_vlm.synthesis.apps.saving import (
    PROBLEMS,
    RESULTS,
    Solved,
    write_codes,
    write_solved,
)
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.outputs import write_tables
from atari_vlm.synthesis.recording import JournalRecord, bytes_of
from atari_vlm.synthesis.records import SearchResult
from atari_vlm.synthesis.run_search import Place
from atari_vlm.synthesis.searching import QUIETLY, Manner, Searching, task_of
from atari_vlm.types import Reply
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import LimitedVLM, limited


@dataclass(frozen=True)
class AppsConfig:
    """How problems are solved: the search, the manner of asking, and what programs may take.

    With the method ``zero-shot`` the budget is the number of samples of every problem; the searches end a problem with the first
    program that passes all tests.
    """

    search: SearchConfig = field(default_factory=SearchConfig)
    strategy: Strategy = "vanilla-zero-shot"
    limits: RunLimits = field(default_factory=RunLimits)

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise UnknownNameError("strategy", self.strategy, get_args(Strategy))

    def settings(self) -> dict[str, Any]:
        """What the programs depend on, as plain data."""
        return {
            "method": self.search.method,
            "strategy": self.strategy,
            "limits": plain(dataclasses.asdict(self.limits)),
            "search": plain(self.search.settings()),
        }


def solve(
    place: Place,
    writer: VLM,
    problems: ProblemSet,
    config: AppsConfig,
    *,
    manner: Manner = QUIETLY,
    on_run: Callable[[RunFolder, Budget], None] = lambda run, budget: None,
) -> list[Solved]:
    """Solve problems in a run folder, new or continued; ``on_run`` is told which one, and its budget, before anything is asked.

    Raises what :func:`~atari_vlm.synthesis.run_search.search` raises; what is done by then is written.
    """
    request = _request(place, writer, problems, config)
    asked = limited(writer, config.search, api_key=manner.api_key)
    solved: dict[str, Solved] = {}
    with (
        contextlib.closing(asked),
        contextlib.closing(RunFolder.open(request, journal=False)) as run,
        running(manner.progress, Task("problems", len(problems.names), "problems")) as advanced,
    ):
        on_run(run, asked.budget)
        try:
            for problem in problems.read():
                solved[problem.name] = _solve_one(run, asked, problem, config, manner)
                advanced()
        finally:
            write_codes(run.path, solved)
        _write_results(run.path, list(solved.values()), config, writer.name)
        run.finish()
    return list(solved.values())


def _request(place: Place, writer: VLM, problems: ProblemSet, config: AppsConfig) -> RunRequest:
    own = {"task": "apps", "problems": list(problems.names), "tests": problems.digest()}
    return RunRequest(
        save_dir=place.save_dir,
        label=f"apps-{config.search.method}",
        settings={**own, "endpoint": writer.name, **config.settings()},
        execution=plain(config.search.execution()),
        run_name=place.run_name,
        resume=place.resume,
        command=place.command,
        command_line=place.command_line,
        rules=_rules(),
    )


def _rules() -> ResumeRules:
    return ResumeRules(
        amounts=("search.budget",), defaults={"search": plain(SearchConfig().settings())}
    )


def _solve_one(
    run: RunFolder, asked: LimitedVLM, problem: Problem, config: AppsConfig, manner: Manner
) -> Solved:
    """The search of one problem, in a run folder of its own below the run's."""
    request = RunRequest(
        save_dir=run.path / PROBLEMS,
        label=problem.name,
        settings={"problem": problem.name, "digest": problem.digest, **config.settings()},
        execution={},
        run_name=problem.name,
        rules=_rules(),
    )
    heard = Heard.by(manner.progress, task_of(config.search, problem.name))
    watched = manner if heard else dataclasses.replace(manner, progress=Quiet())
    with contextlib.closing(RunFolder.open(request)) as inner:
        for reply in inner.journal.replies(paid=True):  # beside what the problems before cost
            asked.budget.recover(Reply.from_dict(reply))
        searching = Searching(
            config.search,
            apps_questions(problem, config.strategy, config.search),
            AppsJudge(problem, config.limits, config.search.seed),
            JournalRecord(inner.journal, asked, heard),
            to_the_end=config.search.method == "zero-shot",
        )
        try:
            result = searching.run(watched)
        except (BudgetExhaustedError, StoppedError, VLMError):
            write_tables(inner)
            raise
        write_tables(inner)
        solved = _solved(problem, inner, result)
        if solved.best is not None:
            atomic_write(inner.path / "best.py", bytes_of(solved.best))
        write_solved(inner.path, solved)
        inner.finish()
    return solved


def _solved(problem: Problem, inner: RunFolder, result: SearchResult) -> Solved:
    shas = [row.outcome["program"] for row in inner.journal.simulations()]
    programs = tuple(
        None if sha is None else inner.journal.blob(sha).decode("utf-8", "surrogatepass")
        for sha in shas
    )
    return Solved(
        problem=problem.name,
        programs=programs,
        chosen=None if result.program is None else programs.index(result.program),
        score=result.score,
        calls=result.calls,
        cost_usd=result.cost_usd,
        failures=result.failures,
    )


def _write_results(folder: Path, solved: Sequence[Solved], config: AppsConfig, writer: str) -> None:
    """What was found, as it was judged on the way; no clocks."""
    costs = [one.cost_usd for one in solved]
    content = {
        "task": "apps",
        **config.settings(),
        "writer": writer,
        "problems": len(solved),
        "strict_accuracy": sum(one.score == 1.0 for one in solved) / len(solved),
        "test_case_average": sum(one.score for one in solved) / len(solved),
        "calls": sum(one.calls for one in solved),
        "cost_usd": None if None in costs else sum(cost or 0.0 for cost in costs),
    }
    atomic_write(folder / RESULTS, json.dumps(content, indent=1) + "\n")
