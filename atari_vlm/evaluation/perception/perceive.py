"""A run of questions: agents x games x seeds, every reply journalled, continued after any stop."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.agents.specs import AgentSpec, parse_agents
from atari_vlm.errors import ConfigError, StoppedError, UnknownNameError, check_count
from atari_vlm.evaluation.perception.asked import Asked, AskingLimits, asked_of
from atari_vlm.evaluation.perception.questions import Question, questions
from atari_vlm.evaluation.perception.scores import (
    Answered,
    row_of,
    to_csv,
    to_markdown,
)
from atari_vlm.evaluation.perception.wording import SYSTEM, schema
from atari_vlm.evaluation.study_options import reaches_outside
from atari_vlm.files import atomic_write
from atari_vlm.games import game
from atari_vlm.objects.tables import TABLES
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_vlm import Heard, JournalVLM
from atari_vlm.runs.options import (
    FileOptions,
    FolderOptions,
    Options,
    ParallelOptions,
    execution_of,
)
from atari_vlm.runs.progress import Label, Progress, Quiet, Task, running
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.settings import plain
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import budget_of

_VERSION = 1  # of the questions: a run is not continued with others


@dataclass(frozen=True)
class QuestionOptions(Options):
    """What is asked of whom."""

    agents: list[str] = field(default_factory=list, metadata={"typed only": reaches_outside})
    """LABEL=NAME,OPTION=VALUE...: what train's --vlm takes, or module:Class with complete()"""
    games: list[str] = field(default_factory=lambda: sorted(TABLES))
    """games whose memory is read"""
    seeds: list[int] = field(default_factory=lambda: [0])
    """of the play that the pictures come from"""
    questions: int = 10
    """of each kind, per game and seed; each is asked plainly, once more, and beside a wrong example"""


@dataclass(frozen=True)
class PerceiveConfig(
    FileOptions, FolderOptions, ServeOptions, ParallelOptions, AskingLimits, QuestionOptions
):
    """What is asked of whom, and what it may cost."""

    program = "perceive"

    @property
    def specs(self) -> list[AgentSpec]:
        """The agents."""
        return parse_agents(self.agents)

    @property
    def game_names(self) -> list[str]:
        """Plain names, each once."""
        return list(dict.fromkeys(game(name).name for name in self.games))


@dataclass(frozen=True)
class Watching:
    """Who is told what goes on, and what ends the run early."""

    stop: threading.Event | None = None
    began: Callable[[Path, int, Budget], object] = lambda run, series, budget: None
    ended: Callable[[str, str, int], object] = lambda agent, game, seed: None
    conditions: Sequence[tuple[str, str]] = ()
    progress: Progress = field(default_factory=Quiet)
    opened: Callable[[Journal, int], object] = lambda journal, questions: None
    scored: Callable[[dict[str, Any]], object] = lambda row: None


@dataclass(frozen=True)
class _Series:
    """The questions of one game and seed to one agent: a task of the journal."""

    task: int
    agent: str
    game: str
    seed: int


def check(config: PerceiveConfig) -> None:
    """Raise ``ConfigError`` (or its ``UnknownNameError``) for what cannot be asked, before anything is."""
    check_count(questions=config.questions)
    if not config.specs or not config.game_names or not config.seeds:
        raise ConfigError(
            "give at least one agent, one game and one seed (--agents, --games, --seeds)"
        )
    for name in config.game_names:
        if name not in TABLES:
            raise UnknownNameError("game whose memory is read", name, TABLES)
    if len(set(config.seeds)) < len(config.seeds) or not all(
        0 <= seed <= 100_000 for seed in config.seeds
    ):
        raise ConfigError(f"seeds must be different numbers from 0 to 100000, got {config.seeds}")
    if config.cache_mode == "replay-only":
        raise ConfigError(
            "cache_mode replay-only cannot be kept: every question is asked once more, never from the cache"
        )


def perceive(
    config: PerceiveConfig, watching: Watching | None = None
) -> tuple[Path, list[dict[str, Any]]]:
    """Ask everything that is not answered yet and write the files; the run folder and the rows of ``perception.csv``.

    Raises what the VLMs raise; the run can then be continued with the same configuration.
    """
    check(config)
    watching = watching or Watching()
    budget = budget_of(config)
    put = {
        (name, seed): list(questions(name, seed, config.questions))
        for name in config.game_names
        for seed in config.seeds
    }
    with ExitStack() as opened:
        asked = {spec.label: asked_of(spec, config, budget, opened) for spec in config.specs}
        run = RunFolder.open(_request(config))
        opened.callback(run.close)
        budget.restore_from(run.journal.replies(paid=True))
        series = list(_series(config))
        watching.began(run.path, len(series), budget)
        watching.opened(run.journal, sum(len(put[one.game, one.seed]) for one in series))
        rows, lines = [], []
        for name in config.game_names:
            here = [one for one in series if one.game == name]
            for found in _answers(config, put, here, asked, run, watching):
                rows.append(row_of(found))
                watching.scored(rows[-1])
                lines += [one.as_dict(_digests(one.question)) for one in found]
        _write(run.path, config, rows, lines, watching.conditions)
        run.finish()
        return run.path, rows


def _answers(
    config: PerceiveConfig,
    put: Mapping[tuple[str, int], Sequence[Question]],
    here: Sequence[_Series],
    asked: dict[str, Asked],
    run: RunFolder,
    watching: Watching,
) -> Iterator[list[Answered]]:
    """The answers of each agent on one game."""

    def ask(one: _Series) -> list[Answered]:
        listed = put[one.game, one.seed]
        label = Label(one.game, one.agent, one.seed, one.task, "questions")
        task = Task(f"questions {one.task}", len(listed), "questions", label=label)
        vlm = JournalVLM(
            asked[one.agent].vlm, run.journal, one.task, Heard.by(watching.progress, task)
        )
        found = []
        with running(watching.progress, task) as advanced:
            for question in listed:
                found.append(_answer(vlm, asked[one.agent], question, watching))
                advanced()
        watching.ended(one.agent, one.game, one.seed)
        return found

    with ThreadPoolExecutor(config.parallel) as pool:
        waiting = [pool.submit(ask, one) for one in here]
        try:
            answered = [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for label in asked:
        yield [
            answer
            for one, found in zip(here, answered, strict=True)
            if one.agent == label
            for answer in found
        ]


def _answer(vlm: JournalVLM, asked: Asked, question: Question, watching: Watching) -> Answered:
    if watching.stop is not None and watching.stop.is_set():
        raise StoppedError("stopped")
    sampling = dataclasses.replace(
        asked.sampling,
        schema=schema(question.kind, question.names, question.choices),
        sample=int(question.variant == "again"),
    )
    messages = [
        Message.of("system", SYSTEM),
        Message.of("user", *question.images, question.prompt),
    ]
    reply: Reply = vlm.complete(messages, sampling=sampling)
    return Answered.of(asked.label, question, reply)


def _series(config: PerceiveConfig) -> Iterator[_Series]:
    parts = [
        (label, name, seed)
        for name in config.game_names
        for label in (spec.label for spec in config.specs)
        for seed in config.seeds
    ]
    return (_Series(task, *part) for task, part in enumerate(parts))


def _request(config: PerceiveConfig) -> RunRequest:
    settings = {
        "program": config.program,
        "version": _VERSION,
        "agents": [spec.text for spec in config.specs],
        "games": config.game_names,
        "seeds": list(config.seeds),
        "questions": config.questions,
    }
    return RunRequest(
        save_dir=config.save_dir,
        label=f"perceive-{'-'.join(config.game_names)}",
        settings=settings,
        execution=execution_of(config),
        run_name=config.run_name,
        resume=config.resume,
        command=command_of(config),
        command_line=command_line(config),
    )


def _digests(question: Question) -> list[str]:
    """SHA-256 of each picture's bytes as they are sent."""
    return [hashlib.sha256(image.png).hexdigest() for image in question.images]


def _write(
    folder: Path,
    config: PerceiveConfig,
    rows: Sequence[dict[str, Any]],
    lines: Sequence[dict[str, Any]],
    conditions: Sequence[tuple[str, str]],
) -> None:
    asked = (
        ("questions", f"{config.questions} of each kind, per game and seed, in three variants"),
        ("seeds", ", ".join(map(str, config.seeds))),
        ("pictures", "the emulator's last frame, three times as large"),
        *conditions,
    )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    atomic_write(folder / "questions.jsonl", text)
    if lines:
        atomic_write(folder / "questions.csv", to_csv(lines, tuple(lines[0])))
    atomic_write(folder / "perception.csv", to_csv(rows))
    facts = {"rows": rows, "conditions": dict(asked), "settings": plain(_request(config).settings)}
    atomic_write(folder / "perception.json", json.dumps(facts, indent=1) + "\n")
    atomic_write(folder / "perception.md", to_markdown(rows, asked))
