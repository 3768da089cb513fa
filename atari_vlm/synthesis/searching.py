"""One search: choose, ask, judge, put in, and so on until a program is right or the budget is spent."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from atari_vlm.runs.journal import Journal
from atari_vlm.runs.progress import Label, Progress, Quiet, Task, running
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.gif_mcts import GifMcts
from atari_vlm.synthesis.independent_draws import IndependentDraws
from atari_vlm.synthesis.judged_once import Judge, JudgedOnce
from atari_vlm.synthesis.pipeline import Steps, run_in_order
from atari_vlm.synthesis.questions import Question, Questions
from atari_vlm.synthesis.records import (
    Choice,
    Outcome,
    SearchMethod,
    SearchNode,
    SearchResult,
)
from atari_vlm.synthesis.replies import program_in
from atari_vlm.synthesis.worldcoder import WorldCoder
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.layers.budget import Budget


class Record(Protocol):
    """Where a search is kept while it goes on, so that it can go on after it was stopped."""

    def writer(self, call: int) -> VLM:
        """Who answers call number ``call``: the record, else the writer behind it."""
        ...

    def outcome(self, call: int) -> Outcome | None:
        """What became of a call earlier, if it did."""
        ...

    def keep(self, choice: Choice, outcome: Outcome) -> None:
        """What became of a call."""
        ...

    def keep_nodes(self, nodes: Sequence[SearchNode]) -> None:
        """All programs as they stand."""
        ...


class NoRecord:
    """Nothing is kept."""

    def __init__(self, writer: VLM):
        self._writer = writer

    def writer(self, call: int) -> VLM:
        """The writer."""
        return self._writer

    def outcome(self, call: int) -> None:
        """Nothing."""

    def keep(self, choice: Choice, outcome: Outcome) -> None:
        """Nothing."""

    def keep_nodes(self, nodes: Sequence[SearchNode]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Manner:
    """How a search is carried out, which its result does not depend on.

    ``stop`` is set by whoever wants it to end; ``api_key`` is kept out of everything that is written. ``began`` is told of
    the run's journal and budget before anything is asked. ``placed`` takes the judge of the search somewhere else to work.
    """

    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None
    api_key: str | None = field(default=None, repr=False)
    began: Callable[[Journal, Budget], object] = lambda journal, budget: None
    placed: Callable[[Judge], Judge] = lambda judge: judge


QUIETLY = Manner()


class Searching:
    """A search that goes on; ``to_the_end``: the whole budget is spent, whatever is found."""

    def __init__(
        self,
        config: SearchConfig,
        questions: Questions,
        judge: Judge,
        record: Record,
        *,
        to_the_end: bool = False,
    ):
        self._config, self._questions, self._record = config, questions, record
        self._to_the_end = to_the_end
        self._judge = JudgedOnce(judge)
        self._method = method_of(config)
        self._outcomes: list[Outcome] = []
        self._start: Outcome | None = None
        self._shorter: Outcome | None = None
        self._costs: list[float | None] = []

    def run(self, manner: Manner = QUIETLY) -> SearchResult:
        """Search until a program is right or the budget is spent.

        Raises what the writer raises (``BudgetExhaustedError`` and other ``VLMError`` among them), and ``StoppedError``.
        """
        config = self._config
        if config.start is not None:
            self._begin(config.start)
        if self._start is not None and self._start.solved:
            return self._result(0)
        with running(manner.progress, task_of(config, self._questions.subject)) as advanced:

            def put_in(question: Question, outcome: Outcome) -> bool:
                self._put_in(question.choice, outcome)
                advanced()
                return outcome.solved and not self._to_the_end

            steps = Steps(self._choose, self._answer, put_in)
            calls = run_in_order(steps, config.budget, config.parallel, manner.stop)
            calls += self._simplify(calls, manner)
        return self._result(calls)

    def _begin(self, program: str) -> None:
        """Judge the program that the search begins with, once: it is recorded as simulation 0, which made no call."""
        known = self._record.outcome(0)
        self._start = known or self._judge(program)
        if known is None:
            self._record.keep(Choice(0, "root"), self._start)
        self._method.begin(self._start)
        self._record.keep_nodes(self._method.nodes())

    def _choose(self, call: int) -> Question | None:
        choice = self._method.select(call)
        return None if choice is None else self._questions.ask(choice)

    def _answer(self, question: Question) -> Outcome:
        """Ask, and judge what was answered; on a thread of its own. What is recorded is not judged again."""
        choice = question.choice
        reply = self._record.writer(choice.call).complete(
            question.messages, sampling=question.sampling
        )
        known = self._record.outcome(choice.call)
        if known is not None:
            return known
        program, failure = program_in(reply, choice.kind)
        judged = Outcome(failure=failure) if program is None else self._judge(program)
        outcome = dataclasses.replace(judged, cost_usd=reply.paid_usd)
        self._record.keep(choice, outcome)
        return outcome

    def _put_in(self, choice: Choice, outcome: Outcome) -> None:
        self._method.apply(choice, outcome)
        self._outcomes.append(outcome)
        self._costs.append(outcome.cost_usd)
        self._record.keep_nodes(self._method.nodes())

    def _simplify(self, calls: int, manner: Manner) -> int:
        """Ask for shorter programs that are as right as the right one that was found; returns how often."""
        most = min(self._config.simplify, self._config.budget - calls)
        if most < 1 or not self._is_right(self._best()):
            return 0
        asked = Steps(
            lambda number: self._ask_shorter(calls + number), self._answer, self._keep_shorter
        )
        return run_in_order(asked, most, 1, manner.stop)

    def _ask_shorter(self, call: int) -> Question:
        return self._questions.ask_shorter(call, self._best())

    def _keep_shorter(self, _: Question, outcome: Outcome) -> bool:
        best = self._best()
        if self._is_right(outcome) and len(outcome.program or "") < len(best.program or ""):
            self._shorter = outcome
        self._costs.append(outcome.cost_usd)
        return False

    def _is_right(self, outcome: Outcome) -> bool:
        """Whether every transition, held-out ones too, is predicted: two such programs are equal as far as anybody can tell."""
        return outcome.solved and outcome.held_out in (None, 1.0)

    def _best(self) -> Outcome:
        """The first of those with the highest score, accepted ones before others; a shorter equal one in its place."""
        begun = [] if self._start is None else [self._start]
        written = [one for one in (*begun, *self._outcomes) if one.program is not None]
        ranks = [(outcome.solved, outcome.score) for outcome in written]
        best = written[ranks.index(max(ranks))] if written else Outcome()
        return best if self._shorter is None else self._shorter

    def _result(self, calls: int) -> SearchResult:
        best = self._best()
        failures = Counter(outcome.failure for outcome in self._outcomes if outcome.failure)
        return SearchResult(
            nodes=self._method.nodes(),
            program=best.program,
            score=best.score,
            held_out_score=best.held_out,
            calls=calls,
            weights=self._method.weights(),
            failures=dict(sorted(failures.items())),
            cost_usd=_sum(self._costs),
            verified=best.verified,
        )


def task_of(config: SearchConfig, subject: str) -> Task:
    """The search as progress shows it."""
    label = Label(subject, config.method, None, None, "search")
    return Task("search", config.budget, "calls", label=label)


def method_of(config: SearchConfig) -> SearchMethod:
    """The method of a search, with nothing chosen yet."""
    if config.method == "gif-mcts":
        return GifMcts(config)
    return WorldCoder(config) if config.method == "worldcoder" else IndependentDraws()


def _sum(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
