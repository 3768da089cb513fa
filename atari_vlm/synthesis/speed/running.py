"""``codewm speed`` in a run folder: every reply is journalled, so nothing is paid twice; the result is a file and a table."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.conditions import versions
from atari_vlm.errors import check_count, check_positive
from atari_vlm.files import atomic_write
from atari_vlm.runs.journal_vlm import Heard, JournalVLM
from atari_vlm.runs.progress import Task, running
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.settings import plain
from atari_vlm.synthesis.run_search import Place, digest_of
from atari_vlm.synthesis.searching import QUIETLY, Manner
from atari_vlm.synthesis.speed.measuring import Speed, Subject, measure_speed
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.layers.cache import CacheMode
from atari_vlm.vlm.layers.stack import limited

SPEED, TABLE = "speed.json", "speed.md"
COLUMNS = (
    "environment", "side", "seconds a step", "dollars a step", "state right", "numbers right", "numbers near", "reward right",
    "reward near", "end right", "all right", "no answer",
)  # fmt: skip


@dataclass(frozen=True)
class SpeedConfig:
    """How both sides are measured: longest reply, seed of its drawing, seconds a program may take, and the limits of the run."""

    reply_tokens: int = 8192
    seed: int = 0
    deadline_s: float = 2.0
    budget_usd: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    cache: Path | None = None
    cache_mode: CacheMode = "readwrite"

    def __post_init__(self) -> None:
        check_count(reply_tokens=self.reply_tokens)
        check_positive(deadline_s=self.deadline_s)


def run_speed(
    place: Place,
    simulator: VLM,
    subjects: Sequence[Subject],
    config: SpeedConfig,
    *,
    manner: Manner = QUIETLY,
    on_run: Callable[[RunFolder], None] = lambda run: None,
) -> list[Speed]:
    """Measure some environments in a run, new or continued; writes ``speed.json`` and ``speed.md``.

    Raises what :func:`measure_speed` raises, and ``BudgetExhaustedError`` at a limit; the same call goes on.
    """
    asked = limited(simulator, config, api_key=manner.api_key)
    total = sum(len(subject.buffer) for subject in subjects)
    work = Task("steps", total, "transitions")
    found: list[Speed] = []
    with (
        contextlib.closing(asked),
        contextlib.closing(RunFolder.open(_request(place, simulator, subjects, config))) as run,
        running(manner.progress, work) as advanced,
    ):
        on_run(run)
        asked.restore(run.journal.replies(paid=True))
        manner.began(run.journal, asked.budget)
        heard = Heard.by(manner.progress, work)
        before = 0
        for subject in subjects:
            first = before
            found.append(
                measure_speed(
                    subject,
                    lambda row, first=first: JournalVLM(asked, run.journal, first + row, heard),  # type: ignore[misc]
                    reply_tokens=config.reply_tokens,
                    seed=config.seed,
                    deadline_s=config.deadline_s,
                    stop=manner.stop,
                    on_step=advanced,
                )
            )
            before += len(subject.buffer)
        _write(run.path, found, simulator.name)
        run.finish()
    return found


def _request(
    place: Place, simulator: VLM, subjects: Sequence[Subject], config: SpeedConfig
) -> RunRequest:
    values = plain(dataclasses.asdict(config))
    own = ("reply_tokens", "seed", "deadline_s")
    about = [
        {
            "env": subject.buffer.env_id,
            "transitions": digest_of(subject.buffer),
            "program": hashlib.sha256(subject.program.encode()).hexdigest(),
            "description": hashlib.sha256(subject.description.encode()).hexdigest(),
        }
        for subject in subjects
    ]
    return RunRequest(
        save_dir=place.save_dir,
        label="speed",
        settings={
            "task": "speed",
            "endpoint": simulator.name,
            "subjects": about,
            **{name: values[name] for name in own},
        },
        execution={name: value for name, value in values.items() if name not in own},
        run_name=place.run_name,
        resume=place.resume,
        command=place.command,
        command_line=place.command_line,
    )


def rows_of(found: Sequence[Speed]) -> list[tuple[str, ...]]:
    """The rows of the table under :data:`COLUMNS`: both sides of an environment, and what saying that nothing moves is worth."""
    return [
        _row(speed.subject.buffer.env_id, name, side.figures(), len(side.answers))
        for speed in found
        for name, side in (
            ("language model", speed.llm),
            ("program", speed.program),
            ("nothing moves", speed.still),
        )
    ]


def _row(env_id: str, name: str, figures: Mapping[str, Any], steps: int) -> tuple[str, ...]:
    seconds, usd, right = figures["seconds_per_step"], figures["usd_per_step"], figures["right"]
    interval = "" if seconds["low"] is None else f" [{seconds['low']:.2g}, {seconds['high']:.2g}]"
    return (
        env_id,
        name,
        f"{seconds['value']:.2g}{interval}",
        "unknown" if usd is None else f"{usd:.2g}",
        f"{right['next_state']:.0%}",
        f"{figures['right_numbers']:.0%}",
        f"{figures['near_numbers']:.0%}",
        f"{right['reward']:.0%}",
        f"{figures['near_reward']:.0%}",
        f"{right['done']:.0%}",
        f"{right['all']:.0%}",
        f"{figures['unusable']} of {steps}",
    )


def _write(folder: Path, found: Sequence[Speed], writer: str) -> None:
    content = {
        "task": "speed",
        "simulator": writer,
        "versions": versions(("gymnasium", "mujoco", "numpy")),
        "environments": {one.subject.buffer.env_id: one.record() for one in found},
    }
    atomic_write(folder / SPEED, json.dumps(content, indent=1) + "\n")
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows_of(found)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    told = (
        f"Steps simulated by {writer}, and by programs in the sandbox (with their crossing to it and back). Right: within "
        "1e-5; near: within a tenth of what a number usually changes by in a step, of the rewards' standard deviation."
    )
    atomic_write(folder / TABLE, f"{told}\n\n{table}\n")
