"""Play a game with plans: a vision-language model proposes them, a world model judges them, a buffer remembers them.

The defaults play a small run of Breakout (3 episodes of 200 steps) with the bundled offline player's plans and the emulator as
an exact world model. --ablation plays the same seeds without plans, with plans alone, with model, with buffer, and with both.

The same command again continues its run where it stopped, whatever stopped it; --resume RUN continues any run. Once a run is
finished, the same command makes a new one. Ctrl-C ends a run cleanly after the current step, a second Ctrl-C at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from atari_vlm.agents.plan_judge import PlanOptions
from atari_vlm.ending import program
from atari_vlm.errors import AtariVLMError, StoppedError
from atari_vlm.evaluation.plan_results import COLUMNS, VariantResult, cells
from atari_vlm.evaluation.plan_run import PlanExecution, PlanRun
from atari_vlm.evaluation.plan_settings import PlanSettings, PlansOptions, WorldOptions
from atari_vlm.evaluation.plan_work import PlanWork, WorkerLimits
from atari_vlm.reporting.live.page import live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.answered import one_line
from atari_vlm.runs.cluster.options import ExecutorOptions
from atari_vlm.runs.cluster.session import Session, check_ray, session
from atari_vlm.runs.command_line import command_line, command_of, parse, resume_hint
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.fallbacks import verdict
from atari_vlm.runs.options import (
    AnswerOptions,
    AskOptions,
    EpisodeOptions,
    FileOptions,
    FolderOptions,
    GameOptions,
    KeyOptions,
    LogOptions,
    ModelOptions,
    Options,
    PlayOptions,
    SeedOptions,
    pairs,
    shared,
)
from atari_vlm.runs.progress import Progress
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.settings import with_changes
from atari_vlm.vlm.base import VLM, closing
from atari_vlm.vlm.load import load_vlm


@dataclass(frozen=True)
class FollowOptions(Options):
    """How plans are judged and followed."""

    follow: Literal["first", "whole"] | int = "whole"
    """how much of a plan is executed before plans are judged anew (with the buffer)"""
    discount: float = 1.0
    """of predicted rewards"""
    num_futures: int = 1
    """futures sampled per plan"""
    pessimism: float = 0.0
    """standard deviations over the futures that are subtracted from a plan's score"""
    reward_tolerance: float = 0.5
    """a real reward this far from the prediction is a surprise and clears the buffer"""
    picture_tolerance: float | None = None
    """likewise a mean pixel difference (0 to 255); not compared if not given"""


@dataclass(frozen=True)
class PlanConfig(
    FileOptions, FolderOptions, ServeOptions, LogOptions,
    ExecutorOptions, PlayOptions, KeyOptions, ModelOptions, AskOptions, AnswerOptions,
    SeedOptions, EpisodeOptions, FollowOptions, PlansOptions, WorldOptions, GameOptions,
):  # fmt: skip
    """What to play, with what, and how much of it; the game may also be Catch, whose exact model is ``catch``."""

    program = "plan"
    game: str = "Breakout-v5"
    num_episodes: int = 3


def run(config: PlanConfig) -> int:
    """Do what the configuration says; returns the exit code."""
    console = messages()
    with (
        stop_on_signals() as stop,
        live_page(config) as page,
        ProgressDisplay(console) as display,
        closing(load(config)) as vlm,
        workers(config) as dealt,
        make_run(config, vlm, (stop, page.beside(display))) as planned,
    ):
        path, episodes = planned.run.path, planned.num_episodes
        display.expect(episodes, planned.budget)
        page.expect(Expected(episodes, "episodes", path.name, planned.budget, planned.run.journal))
        console.print(f"run {path} ({'continued' if planned.run.resumed else 'new'})")
        try:
            played = planned.play(dealt)
            page.finish()
            said, code = verdict(planned.run.journal, planned.run.journal.episodes())
            answer = one_line(planned.answered())
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, path)}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code in (74, 75):  # a full disk, a limit, a vendor that is down
                console.print(f"not finished; {resume_hint(config, path, error)}")
            raise
    out = results(180)
    out.print(results_table(f"{config.game}, {config.vlm}, {config.world_model}", played))
    out.print(
        f"{display.totals.decisions} decisions made now, {display.totals.rate:.1f} per second"
    )
    out.print(answer)
    out.print(f"report: {path / 'report.html'}")
    if said:
        console.print(said, style="bold")
    return code


def load(config: PlanConfig) -> VLM:
    """The model that is asked."""
    return load_vlm(config.vlm, api_key=config.key(), **vlm_options(config))


def vlm_options(config: PlanConfig) -> dict[str, Any]:
    """What it is loaded with, but for the key."""
    return {
        "model": config.model,
        "adapter": config.adapter,
        "base_url": config.base_url,
        "timeout_s": config.timeout_s,
        **pairs(config.vlm_option, "--vlm-option"),
    }


@contextmanager
def workers(config: PlanConfig) -> Iterator[tuple[Session, PlanWork] | None]:
    """A session with workers and what they are sent, where the options ask for one."""
    if config.executor == "local":
        yield None
        return
    check_ray()
    cache = None if config.cache is None else str(config.cache)
    limits = WorkerLimits(**{**shared(config, WorkerLimits), "cache": cache})
    options, variable = vlm_options(config), config.api_key_env
    work = PlanWork(settings_of(config), limits, config.vlm, options, variable)
    with session(config) as opened:
        yield opened, work


def make_run(config: PlanConfig, vlm: VLM, watching: tuple[Stop, Progress]) -> PlanRun:
    """A new run, or the one that is to be continued."""
    more, (stop, progress) = pairs(config.vlm_option, "--vlm-option"), watching
    execution = PlanExecution(
        **shared(config, PlanExecution),
        command=command_of(config),
        command_line=command_line(config),
        progress=progress,
        stop=stop,
    )
    identity: dict[str, Any] = {
        "vlm_type": config.vlm,
        "model": config.model,
        "base_url": config.base_url,
    }
    if config.adapter is not None:
        identity["adapter"] = config.adapter
    identity |= {"endpoint": vlm.name, **({"vlm_options": more} if more else {})}
    return PlanRun(settings_of(config), vlm, execution, identity, api_key=config.key())


def settings_of(config: PlanConfig) -> PlanSettings:
    """What the results depend on."""
    options = PlanOptions(**{**shared(config, PlanOptions), "max_tokens": config.reply_tokens})
    options = with_changes(options, pairs(config.agent_option, "--agent-option"), "--agent-option")
    return PlanSettings(**shared(config, PlanSettings), options=options)


def results_table(title: str, rows: Sequence[VariantResult]) -> Table:
    """One row per variant."""
    table = Table(*COLUMNS, title=title)
    for result in rows:
        table.add_row(*cells(result))
    return table


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(parse(PlanConfig, argv, __doc__))


if __name__ == "__main__":
    sys.exit(main())
