"""``search``: from a buffer of transitions and a writer to a program that predicts them, with or without a run folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import BudgetExhaustedError, StoppedError, VLMError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.journal_vlm import Heard
from atari_vlm.runs.options import FolderOptions
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.settings import plain
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.describing import description_of
from atari_vlm.synthesis.judging import ProgramJudge
from atari_vlm.synthesis.outputs import write_results, write_tables
from atari_vlm.synthesis.questions import questions_about
from atari_vlm.synthesis.recording import JournalRecord
from atari_vlm.synthesis.records import SearchResult
from atari_vlm.synthesis.searching import QUIETLY, Manner, NoRecord, Record, Searching, task_of
from atari_vlm.trees import leaves
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.layers.stack import LimitedVLM, limited


@dataclass(frozen=True)
class Place:
    """Where a search is kept: a run in ``save_dir``, new or continued, see :class:`~atari_vlm.runs.run_folder.RunRequest`.

    ``settings`` are those of the program that runs it, beyond the search's own.
    """

    save_dir: Path
    run_name: str | None = None
    resume: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: Mapping[str, Any] = field(default_factory=dict)
    command_line: str = ""

    @classmethod
    def asked_for(cls, config: FolderOptions) -> Place:
        """The place that a command line names, and the command that asks for it again."""
        return cls(
            save_dir=config.save_dir,
            run_name=config.run_name,
            resume=config.resume,
            command=command_of(config),
            command_line=command_line(config),
        )


def search(
    writer: VLM, buffer: TransitionBuffer, config: SearchConfig, *, folder: str | Path | None = None
) -> SearchResult:
    """Search for a program that predicts the buffer's transitions, written by ``writer``.

    With ``folder``, a run that lies there: it is continued, whatever stopped it, by the same call, without asking anything twice;
    see :class:`~atari_vlm.runs.run_folder.RunFolder`. Without, nothing is written.

    Raises ``ConfigError`` for options that do not fit, ``BudgetExhaustedError`` at a limit, ``RunError`` where the folder holds
    another run, a ``VLMError`` where the writer cannot be asked, and ``SandboxUnavailableError`` where programs cannot be held.
    """
    if folder is not None:
        path = Path(folder)
        return search_in(Place(path.parent, path.name), writer, buffer, config)
    with _within_limits(writer, config) as asked:
        return _searching(buffer, config, NoRecord(asked), QUIETLY).run()


def search_in(
    place: Place,
    writer: VLM,
    buffer: TransitionBuffer,
    config: SearchConfig,
    *,
    manner: Manner = QUIETLY,
    on_run: Callable[[RunFolder], None] = lambda run: None,
) -> SearchResult:
    """:func:`search` in a run folder; ``on_run`` is told which one before anything is asked.

    What is there so far is written too when a limit, the writer or somebody stops the search.
    """
    request = request_for(place, writer, buffer, config)
    with (
        _within_limits(writer, config, manner.api_key) as asked,
        contextlib.closing(RunFolder.open(request)) as run,
    ):
        on_run(run)
        asked.restore(run.journal.replies(paid=True))
        manner.began(run.journal, asked.budget)
        heard = Heard.by(manner.progress, task_of(config, buffer.env_id))
        try:
            record = JournalRecord(run.journal, asked, heard)
            result = _searching(buffer, config, record, manner).run(manner)
        except (BudgetExhaustedError, StoppedError, VLMError):
            write_tables(run)
            raise
        write_results(run, result, buffer, config, writer.name)
        run.finish()
    return result


def request_for(
    place: Place, writer: VLM, buffer: TransitionBuffer, config: SearchConfig
) -> RunRequest:
    """The run that is wanted: what its result depends on is the search's settings, the buffer and the writer."""
    settings = {
        **place.settings,
        "env": buffer.env_id,
        "buffer": digest_of(buffer),
        "endpoint": writer.name,
        "search": plain(config.settings()),
    }
    defaults = {"search": plain(SearchConfig().settings())}
    return RunRequest(
        save_dir=place.save_dir,
        label=f"{buffer.env_id.rpartition('/')[2]}-{config.method}",
        settings=settings,
        execution=plain(config.execution()),
        run_name=place.run_name,
        resume=place.resume,
        command=place.command,
        command_line=place.command_line,
        rules=ResumeRules(amounts=("search.budget",), defaults=defaults),
    )


def digest_of(buffer: TransitionBuffer) -> str:
    """SHA-256 (hex) of a buffer's transitions."""
    sha = hashlib.sha256(buffer.env_id.encode())
    columns = (buffer.observations, buffer.actions, buffer.rewards, buffer.next_observations)
    for leaf in (*leaves(columns), buffer.terminated, buffer.truncated, buffer.trajectory_starts):
        sha.update(f"{leaf.dtype} {leaf.shape}".encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()


def _searching(
    buffer: TransitionBuffer, config: SearchConfig, record: Record, manner: Manner
) -> Searching:
    description = config.description or description_of(buffer)
    questions = questions_about(buffer.env_id, description, config)
    return Searching(config, questions, manner.placed(ProgramJudge(buffer, config)), record)


@contextlib.contextmanager
def _within_limits(
    writer: VLM, config: SearchConfig, api_key: str | None = None
) -> Iterator[LimitedVLM]:
    asked = limited(writer, config, api_key=api_key)
    try:
        yield asked
    finally:
        asked.close()
