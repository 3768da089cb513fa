"""Play a game with plans: a vision-language model proposes them, a world model judges them, a buffer remembers them.

The defaults play a small run of Breakout (3 episodes of 200 steps) with the bundled offline player's plans and the emulator as
an exact world model. --ablation plays the same seeds without plans, with plans alone, with model, with buffer, and with both.

The same command again continues its run where it stopped, whatever stopped it; --resume RUN continues any run. Once a run is
finished, the same command makes a new one. Ctrl-C ends a run cleanly after the current step, a second Ctrl-C at once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from atari_vlm.agents.plan_judge import PlanOptions
from atari_vlm.ending import end_with
from atari_vlm.errors import AtariVLMError, StoppedError
from atari_vlm.evaluation.plan_run import COLUMNS, PlanExecution, PlanRun, VariantResult, cells
from atari_vlm.evaluation.plan_settings import PlanSettings
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.option_files import with_files
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.vlm.layers.keyless import KeylessVLM, known_keys
from atari_vlm.vlm.load import load_vlm

_SETTINGS = tuple(field.name for field in dataclasses.fields(PlanSettings) if field.name != "options")
_EXECUTION = ("save_dir", "run_name", "resume", "parallel", "budget_usd", "max_calls", "max_tokens", "cache", "videos")
_NOT_RECORDED = ("api_key", "resume", "config", "run_name", "save_dir")


@dataclass(frozen=True)
class PlanConfig:
    """What to play, with what, and how much of it."""

    vlm: str = "scripted"
    """gpt-4o, claude, gemini, qwen-vl, llava, cogvlm2, video-llava, idefics2, scripted, nearest-example or replay"""
    game: str = "Breakout-v5"
    """any of the games of ALE, or Catch (the toy whose exact model is --world-model catch)"""
    world_model: str = "emulator"
    """emulator, catch, or the checkpoint folder of a world model"""
    use_world_model: bool = True
    """without it the VLM's first plan is followed"""
    dream: str | None = None
    """checkpoint folder of a world model to play in, instead of the real game"""
    plan_horizon: int = 5
    """actions in a plan"""
    num_plans: int = 3
    """plans per request"""
    use_action_buffer: bool = False
    """follow plans instead of asking at every step"""
    action_buffer_size: int = 10
    """most plans that wait in the buffer"""
    action_buffer_threshold: float = 0.0
    """lowest score with which a plan enters it"""
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
    end_on_life_loss: bool = True
    """the emulator as a model takes a lost life for the end"""
    sticky: float | None = None
    """chance that the game repeats an action; default: 0 with the emulator as the model, else 0.25"""
    prompt_type: Literal["basic", "cot", "expert"] = "cot"
    """what the instructions say"""
    num_episodes: int = 3
    """episodes, of each variant"""
    max_steps: int | None = 200
    """steps per episode, 4 emulator frames each; None: the whole game"""
    ablation: bool = False
    """compare no plan, plan, plan with model, with buffer, with both, on the same seeds"""
    model: str | None = None
    """model id of the vendor or on the hub, or the path of a folder; default: the catalogue's"""
    api_key: str | None = None
    """default: the vendor's environment variable, for example OPENAI_API_KEY; it is written nowhere"""
    base_url: str | None = None
    """an OpenAI-compatible server (vLLM, Ollama, llama.cpp, LM Studio, OpenRouter), or the vendor's other address"""
    timeout_s: float = 60.0
    """seconds that one request may take"""
    parallel: int = 1
    """episodes at once; results do not depend on it"""
    seed: int = 0
    """0 to 100000"""
    save_dir: Path = Path("atari_vlm_results")
    """where runs lie"""
    run_name: str | None = None
    """name of the run folder; default: made from game and vlm"""
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
    frames: int = 2
    """pictures in a question: the last so many steps"""
    cache: Path | None = None
    """reply cache shared between runs (SQLite)"""
    videos: int = 2
    """mp4s at the end, if imageio-ffmpeg is installed"""


def run(config: PlanConfig) -> int:
    """Do what the configuration says; returns the exit code."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with stop_on_signals() as stop, ProgressDisplay(console) as display, make_run(config, stop, display) as planned:
        path = planned.run.path
        console.print(f"run {path} ({'continued' if planned.run.resumed else 'new'})")
        try:
            results = planned.play()
        except StoppedError:
            console.print(f"stopped; {resume_hint(path)}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code == 75:
                console.print(f"not finished; {resume_hint(path)}")
            raise
    out = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    out.print(results_table(f"{config.game}, {config.vlm}, {config.world_model}", results))
    print(f"{display.totals.decisions} decisions made now, {display.totals.rate:.1f} per second")
    print(f"report: {path / 'report.html'}")
    return 0


def make_run(config: PlanConfig, stop: Stop, display: ProgressDisplay) -> PlanRun:
    """A new run, or the one that is to be continued."""
    vlm = load_vlm(
        config.vlm, model=config.model, api_key=config.api_key, base_url=config.base_url, timeout_s=config.timeout_s
    )
    execution = PlanExecution(
        **{name: getattr(config, name) for name in _EXECUTION}, command=command_of(config), progress=display, stop=stop
    )
    identity = {"vlm_type": config.vlm, "model": config.model, "base_url": config.base_url, "endpoint": vlm.name}
    return PlanRun(settings_of(config), KeylessVLM(vlm, known_keys(config.api_key)), execution, identity)


def settings_of(config: PlanConfig) -> PlanSettings:
    """What the results depend on."""
    options = PlanOptions(
        frames=config.frames,
        temperature=config.temperature,
        max_tokens=config.reply_tokens,
        follow=config.follow,
        discount=config.discount,
        num_futures=config.num_futures,
        pessimism=config.pessimism,
        reward_tolerance=config.reward_tolerance,
        picture_tolerance=config.picture_tolerance,
    )
    return PlanSettings(**{name: getattr(config, name) for name in _SETTINGS}, options=options)


def command_of(config: PlanConfig) -> dict[str, Any]:
    """The options as plain data, without the key and without what names the run."""
    values = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_RECORDED}
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def results_table(title: str, results: Sequence[VariantResult]) -> Table:
    """One row per variant."""
    table = Table(*COLUMNS, title=title)
    for result in results:
        table.add_row(*cells(result))
    return table


def resume_hint(path: Path) -> str:
    """How to go on."""
    return f"continue with: python -m atari_vlm.plan --resume {path}"


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        options = with_files(arguments, PlanConfig)
        return run(tyro.cli(PlanConfig, args=options, prog="python -m atari_vlm.plan", description=__doc__))
    except (AtariVLMError, OSError) as error:
        return end_with(error)


if __name__ == "__main__":
    sys.exit(main())
