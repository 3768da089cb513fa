"""Play a game with a vision-language model, learning from its own best moments in context.

The defaults play a small run of Pong (6 training episodes, 3 evaluation episodes, 200 steps each) that the bundled offline player
finishes in well under a minute; raise --num-episodes, --num-eval-episodes and --max-steps for results that mean something.

The same command again continues its run where it stopped, whatever stopped it; --resume RUN continues any run. Once a run is
finished, the same command makes a new one; if the run is named (--run-name, --resume), its results are shown again instead.
Ctrl-C ends a run cleanly after the current step, a second Ctrl-C at once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from rich.table import Table

from atari_vlm._lazy import load
from atari_vlm.agents.in_context.examples import STRATEGIES, InContextOptions
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.ending import program
from atari_vlm.errors import AtariVLMError, ConfigError, StoppedError
from atari_vlm.reporting.live.page import live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs import outputs
from atari_vlm.runs.answered import one_line
from atari_vlm.runs.command_line import command_line, command_of, parse, resume_hint
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.fallbacks import verdict
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.learning_options import AnswerFormOptions, LearningOptions, LocalOptions
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
    PlayOptions,
    SeedOptions,
    pairs,
    shared,
)
from atari_vlm.runs.progress import Progress
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.scores.statistics import aggregate
from atari_vlm.settings import with_changes
from atari_vlm.training.in_context.ablation import AblationRow, ablation_table, run_ablation
from atari_vlm.training.in_context.option_groups import PhaseOptions, ShowOptions
from atari_vlm.training.in_context.options import TrainerOptions
from atari_vlm.training.in_context.trainer import VLMTrainer

PLAN = ("num_episodes", "num_eval_episodes", "eval_only", "eval_interval", "icl_ablation")


@dataclass(frozen=True)
class TrainConfig(
    ShowOptions, FileOptions, FolderOptions, ServeOptions, LogOptions,
    PlayOptions, KeyOptions, LocalOptions, ModelOptions,
    AskOptions, AnswerFormOptions, AnswerOptions, LearningOptions, SeedOptions, EpisodeOptions,
    PhaseOptions, GameOptions,
):  # fmt: skip
    """What to play, with what, and how much of it."""

    program = "train"

    def __post_init__(self) -> None:
        if self.num_eval_episodes == 0 and self.icl_ablation:
            raise ConfigError(
                "without evaluation episodes there is nothing to compare: raise --num-eval-episodes"
            )
        super().__post_init__()


def run(config: TrainConfig) -> int:
    """Do what the configuration says; returns the exit code."""
    if config.show_recommendations:
        results().print(load("atari_vlm.vlm.catalogue:recommendations_table")())
        return 0
    console = messages()
    with (
        stop_on_signals() as stop,
        live_page(config) as page,
        ProgressDisplay(console) as display,
        make_trainer(config, stop, page.beside(display)) as trainer,
    ):
        display.expect(num_episodes(config), trainer.budget)
        run, episodes = trainer.run, num_episodes(config)
        page.expect(Expected(episodes, "episodes", run.path.name, trainer.budget, run.journal))
        console.print(f"run {trainer.run.path} ({'continued' if trainer.run.resumed else 'new'})")
        try:
            tables = play(config, trainer)
            page.finish()
            said, code = verdict(trainer.run.journal, trainer.run.journal.episodes())
            answer = one_line(trainer.answered())
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, trainer.run.path)}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code in (74, 75):  # a full disk, a limit, a vendor that is down
                console.print(f"not finished; {resume_hint(config, trainer.run.path, error)}")
            raise
    out = results()
    for table in tables:
        out.print(table)
    out.print(
        f"{display.totals.decisions} decisions made now, {display.totals.rate:.1f} per second"
    )
    out.print(answer)
    out.print(f"report: {trainer.run.path / 'report.html'}")
    if said:
        console.print(said, style="bold")
    return code


def make_trainer(config: TrainConfig, stop: Stop, progress: Progress) -> VLMTrainer:
    """The trainer of a run, or of the run that is to be continued."""
    asked = VLMAgentOptions(
        frames=config.frames,
        answer=config.answer,
        temperature=config.temperature,
        max_tokens=config.reply_tokens,
    )
    in_context = InContextOptions(
        strategy=config.icl_strategy,
        max_examples=config.icl_examples,
        max_images=config.icl_images,
        max_tokens=config.icl_tokens,
        seed=config.seed,
    )
    options: dict[str, Any] = {
        **shared(config, TrainerOptions),
        "agent": with_changes(
            asked, pairs(config.agent_option, "--agent-option"), "--agent-option"
        ),
        "env": pairs(config.env_option, "--env-option"),
        "in_context": in_context,
        "latency": "measured" if config.real_time else None,
        "plan": {name: getattr(config, name) for name in PLAN},
        "vlm_options": vlm_options(config),
        "command": command_of(config),
        "command_line": command_line(config),
        "progress": progress,
        "stop": stop,
    }
    return VLMTrainer(
        config.game,
        config.vlm,
        api_key=config.key(),
        prompt_type=config.prompt_type,
        use_in_context_learning=config.use_icl,
        **options,
    )


def vlm_options(config: TrainConfig) -> dict[str, Any]:
    """Further keywords of ``load_vlm``."""
    local = {item.name: getattr(config, item.name) for item in fields(LocalOptions)}
    return {
        **{name: value for name, value in local.items() if value},
        **pairs(config.vlm_option, "--vlm-option"),
    }


def num_episodes(config: TrainConfig) -> int:
    """Episodes that a run plays, those of its evaluations included."""
    evaluated = config.num_eval_episodes * (1 + len(STRATEGIES) * config.icl_ablation)
    if config.eval_only:
        return evaluated
    within = (config.num_episodes - 1) // config.eval_interval if config.eval_interval else 0
    return config.num_episodes + within * TrainerOptions().eval_episodes + evaluated


def play(config: TrainConfig, trainer: VLMTrainer) -> list[Table]:
    """Train, evaluate, compare, save; returns the tables that the program ends with.

    A run that was extended is played as it was asked for each time, one part after the other.
    """
    asked = [
        {name.removeprefix("plan."): value for name, value in part.items()}
        for part in trainer.run.parts
    ]
    parts = [dataclasses.replace(config, **part) for part in asked]
    trained = 0
    evaluation: list[EpisodeRow] = []
    ablation: list[AblationRow] = []
    for part in (*parts, config):
        new = 0 if part.eval_only else part.num_episodes - trained
        if new > 0:
            trainer.train(new, part.eval_interval, part.save_interval)
            trained, evaluation = trained + new, []  # what was learned since needs evaluating anew
        if part.num_eval_episodes > len(evaluation):
            trainer.evaluate(part.num_eval_episodes - len(evaluation), first=len(evaluation))
            evaluation += trainer.last_played
        ablation = run_ablation(trainer, part.num_eval_episodes) if part.icl_ablation else []
    trainer.save_results()
    training = [row for row in outputs.done_episodes(trainer.run.journal) if row.phase == "train"]
    phases = [
        (name, outputs.summarise(rows))
        for name, rows in (("training", training), ("evaluation", evaluation))
    ]
    title = f"{trainer.game}, {trainer.vlm_type}, {config.prompt_type}"
    tables = [results_table(title, [(name, summary) for name, summary in phases if summary])]
    if ablation:
        tables.append(
            Table(
                "examples",
                "mean return",
                "against none",
                "fallback",
                "cost",
                title="in-context ablation",
            )
        )
        for cells in ablation_table(ablation):
            tables[-1].add_row(*cells)
    return tables


def results_table(title: str, summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """One row per phase: mean return with its 95 % bootstrap interval, and the conditions beside it."""
    table = Table(
        "phase",
        "episodes",
        "mean return [95 %]",
        "lowest",
        "highest",
        "steps",
        "fallback",
        "cost",
        title=title,
    )
    for phase, summary in summaries:
        estimate = aggregate(np.array(summary["episode_rewards"])[:, None], "mean")
        cost = summary["cost_usd"]
        table.add_row(
            phase,
            str(summary["episodes"]),
            str(estimate),
            f"{summary['min_reward']:g}",
            f"{summary['max_reward']:g}",
            f"{summary['mean_length']:.0f}",
            f"{summary['fallback_rate']:.1%}",
            "unknown" if cost is None else f"${cost:.4f}",
        )
    return table


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(parse(TrainConfig, argv, __doc__))


if __name__ == "__main__":
    sys.exit(main())
