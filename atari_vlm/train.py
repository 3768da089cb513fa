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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from atari_vlm._lazy import load
from atari_vlm.agents.vlm_agent import AnswerMode, VLMAgentOptions
from atari_vlm.ending import end_with
from atari_vlm.errors import AtariVLMError, ConfigError, StoppedError, check_positive
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.option_files import with_files
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.scores.statistics import aggregate
from atari_vlm.training.in_context.ablation import ablation_table, run_ablation
from atari_vlm.training.in_context.examples import InContextOptions, Strategy
from atari_vlm.training.in_context.trainer import VLMTrainer
from atari_vlm.vlm.layers.cache import CacheMode

_SAME_NAMES = (
    *("model", "base_url", "timeout_s", "seed", "max_steps", "round_size", "parallel", "budget_usd", "max_calls"),
    *("max_tokens", "cache", "cache_mode", "videos", "demonstrations", "run_name", "resume"),
)
_LOCAL = ("load_in", "device", "trust_remote_code", "revision")
_PLAN = ("num_episodes", "num_eval_episodes", "eval_only", "eval_interval", "icl_ablation")
_NOT_RECORDED = ("api_key", "resume", "config", "run_name", "save_dir", "show_recommendations")


@dataclass(frozen=True)
class TrainConfig:
    """What to play, with what, and how much of it."""

    vlm: str = "scripted"
    """gpt-4o, claude, gemini, qwen-vl, llava, cogvlm2, video-llava, idefics2, scripted, nearest-example or replay"""
    game: str = "Pong-v5"
    """any of the games of ALE"""
    prompt_type: Literal["basic", "cot", "expert"] = "cot"
    """what the instructions say"""
    use_icl: bool = False
    """learn in context: show examples from the best moments of earlier episodes"""
    num_episodes: int = 6
    """training episodes"""
    num_eval_episodes: int = 3
    """evaluation episodes at the end, memory frozen, on seeds that are never trained on"""
    eval_only: bool = False
    """no training episodes"""
    max_steps: int | None = 200
    """steps per episode, 4 emulator frames each; None: the whole game"""
    model: str | None = None
    """model id of the vendor or on the hub, or the path of a folder; default: the catalogue's"""
    api_key: str | None = None
    """default: the vendor's environment variable, for example OPENAI_API_KEY; it is written nowhere"""
    base_url: str | None = None
    """an OpenAI-compatible server (vLLM, Ollama, llama.cpp, LM Studio, OpenRouter), or the vendor's other address"""
    load_in: Literal["4bit", "8bit"] | None = None
    """in-process models: quantise the weights with bitsandbytes"""
    device: str | None = None
    """in-process models: cpu, cuda, cuda:1 ...; default: a GPU if there is one"""
    trust_remote_code: bool = False
    """in-process models: run the Python code that comes with the weights (CogVLM2); needs --revision for a hub id"""
    revision: str | None = None
    """in-process models: the commit of the hub repository"""
    timeout_s: float = 60.0
    """seconds that one request may take"""
    parallel: int = 1
    """episodes at once; results do not depend on it"""
    round_size: int = 4
    """episodes between two times of learning; training runs at most so many at once"""
    seed: int = 0
    """0 to 100000"""
    save_dir: Path = Path("atari_vlm_results")
    """where runs lie"""
    run_name: str | None = None
    """name of the run folder; default: made from game, vlm and prompt type"""
    resume: str | None = None
    """name (in --save-dir) or path of a run to continue; what it was started with holds"""
    config: Path | None = None
    """YAML file with any of these options; the command line goes before it"""
    budget_usd: float | None = None
    """stop (exit code 75) when the run has cost so many dollars; raise it to continue"""
    max_calls: int | None = None
    """likewise, calls"""
    max_tokens: int | None = None
    """likewise, tokens"""
    reply_tokens: int = 512
    """longest reply"""
    temperature: float | None = None
    """of the model; default: the vendor's"""
    answer: AnswerMode = "auto"
    """how the answer is had, see VLMAgentOptions"""
    frames: int = 2
    """pictures in a question: the last so many steps"""
    icl_strategy: Strategy = "reward-centred"
    """which examples are shown"""
    icl_examples: int = 8
    """most examples in a prompt"""
    icl_images: int = 16
    """most pictures in them"""
    icl_tokens: int = 6000
    """about how many tokens they may cost"""
    icl_ablation: bool = False
    """at the end evaluate every strategy against none on the same seeds"""
    demonstrations: str | None = None
    """id of a local Minari dataset to begin the library with"""
    real_time: bool = False
    """the game goes on while a reply is awaited"""
    cache: Path | None = None
    """reply cache shared between runs (SQLite)"""
    cache_mode: CacheMode = "readwrite"
    """read: store nothing; replay-only: ask nothing, a reply that the cache does not hold is an error"""
    eval_interval: int = 10
    """evaluate 2 episodes after every so many training episodes; 0: never"""
    save_interval: int = 20
    """write results.json after every so many training episodes; 0: only at the end"""
    videos: int = 2
    """mp4s at the end, if imageio-ffmpeg is installed"""
    show_recommendations: bool = False
    """print the catalogue of models and end"""


def run(config: TrainConfig) -> int:
    """Do what the configuration says; returns the exit code."""
    if config.show_recommendations:
        print(load("atari_vlm.vlm.catalogue:recommendations_table")())
        return 0
    check(config)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with stop_on_signals() as stop, ProgressDisplay(console) as display, make_trainer(config, stop, display) as trainer:
        console.print(f"run {trainer.run.path} ({'continued' if trainer.run.resumed else 'new'})")
        try:
            tables = play(config, trainer)
        except StoppedError:
            console.print(f"stopped; {resume_hint(trainer)}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code == 75:
                console.print(f"not finished; {resume_hint(trainer)}")
            raise
    out = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for table in tables:
        out.print(table)
    print(f"{display.totals.decisions} decisions made now, {display.totals.rate:.1f} per second")
    print(f"report: {trainer.run.path / 'report.html'}")
    return 0


def check(config: TrainConfig) -> None:
    """Refuse amounts that make no sense before a run is made."""
    check_positive(num_episodes=config.num_episodes)
    if config.num_eval_episodes < 0 or config.eval_interval < 0 or config.save_interval < 0 or config.videos < 0:
        raise ConfigError("num_eval_episodes, eval_interval, save_interval and videos must be 0 or more")
    if config.num_eval_episodes == 0 and (config.icl_ablation or config.eval_only):
        raise ConfigError(
            "without evaluation episodes there is nothing to compare or evaluate: raise --num-eval-episodes"
        )


def make_trainer(config: TrainConfig, stop: Stop, display: ProgressDisplay) -> VLMTrainer:
    """The trainer of a run, or of the run that is to be continued."""
    agent = VLMAgentOptions(
        frames=config.frames, answer=config.answer, temperature=config.temperature, max_tokens=config.reply_tokens
    )
    in_context = InContextOptions(
        strategy=config.icl_strategy,
        max_examples=config.icl_examples,
        max_images=config.icl_images,
        max_tokens=config.icl_tokens,
        seed=config.seed,
    )
    return VLMTrainer(
        config.game,
        config.vlm,
        api_key=config.api_key,
        prompt_type=config.prompt_type,
        use_in_context_learning=config.use_icl,
        save_dir=config.save_dir,
        agent=agent,
        in_context=in_context,
        latency="measured" if config.real_time else None,
        plan={name: getattr(config, name) for name in _PLAN},
        vlm_options={name: getattr(config, name) for name in _LOCAL if getattr(config, name)},
        command=command_of(config),
        progress=display,
        stop=stop,
        **{name: getattr(config, name) for name in _SAME_NAMES},
    )


def play(config: TrainConfig, trainer: VLMTrainer) -> list[Table]:
    """Train, evaluate, compare, save; returns the tables that the program ends with."""
    summaries: list[tuple[str, dict[str, Any]]] = []
    if not config.eval_only:
        trained = trainer.train(config.num_episodes, config.eval_interval, config.save_interval)
        summaries.append(("training", trained))
    if config.num_eval_episodes:
        summaries.append(("evaluation", trainer.evaluate(config.num_eval_episodes)))
    ablation = run_ablation(trainer, config.num_eval_episodes) if config.icl_ablation else []
    trainer.save_results()
    tables = [results_table(f"{trainer.game}, {trainer.vlm_type}, {config.prompt_type}", summaries)]
    if ablation:
        tables.append(Table("examples", "mean return", "against none", "fallback", "cost", title="in-context ablation"))
        for cells in ablation_table(ablation):
            tables[-1].add_row(*cells)
    return tables


def results_table(title: str, summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """One row per phase: mean return with its 95 % bootstrap interval, and the conditions beside it."""
    table = Table(
        "phase", "episodes", "mean return [95 %]", "lowest", "highest", "steps", "fallback", "cost", title=title
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


def command_of(config: TrainConfig) -> dict[str, Any]:
    """The options as plain data, without the key and without what names the run."""
    values = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_RECORDED}
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def resume_hint(trainer: VLMTrainer) -> str:
    """How to go on."""
    return f"continue with: python -m atari_vlm.train --resume {trainer.run.path}"


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return run(
            tyro.cli(
                TrainConfig,
                args=with_files(arguments, TrainConfig),
                prog="python -m atari_vlm.train",
                description=__doc__,
            )
        )
    except (AtariVLMError, OSError) as error:
        return end_with(error)


if __name__ == "__main__":
    sys.exit(main())
