"""Train world models and the players that learn inside them.

    python -m atari_vlm.dream rem --game Breakout-v5 --device cuda --precision bf16
    python -m atari_vlm.dream rem --resume Breakout-rem-001          # or: dream resume Breakout-rem-001
    python -m atari_vlm.dream rem --game my_package:MyGame-v0 --preset tiny
    python -m atari_vlm.dream rem --dataset steps.npz --preset tiny  # offline: no game is played
    python -m atari_vlm.dream eval runs/Breakout-rem-001/model --episodes 100 --temperature 0.5
    python -m atari_vlm.dream export Breakout-rem-001 --out steps.npz   # or: --minari breakout/rem-v0
    torchrun --nproc-per-node=4 -m atari_vlm.dream rem --game Breakout-v5 --device cuda

``--game`` is an Atari game or any gymnasium id that shows RGB pictures. ``--config FILE.yaml`` holds options of this program;
its group ``settings`` changes single constants of the preset. The same command continues a run that was stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from atari_vlm._lazy import require
from atari_vlm.ending import end_with
from atari_vlm.errors import AtariVLMError, UnknownNameError
from atari_vlm.yaml_files import read_yaml


@dataclass(frozen=True)
class RemConfigLine:
    """Train REM."""

    game: str = ""
    """an Atari game, or a gymnasium id with RGB observations; empty when --dataset or --resume says what to learn from"""
    preset: str = "rem"
    """rem, rem-plus or tiny"""
    config: Path | None = None
    """YAML: options of this program; a group `settings` changes constants of the preset"""
    resume: str | None = None
    """name in --save-dir, or path, of a run to continue"""
    dataset: str | None = None
    """npz file or Minari dataset id to learn from, without playing"""
    warm_start: str | None = None
    """checkpoint folder whose weights are the beginning"""
    warm_parts: tuple[str, ...] = ("tokenizer", "world_model", "actor_critic")
    """which of its networks"""
    epochs: int | None = None
    """instead of the preset's"""
    seed: int = 0
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps"""
    precision: str = "f32"
    """f32 or bf16"""
    threads: int | None = None
    """CPU threads of torch"""
    log: tuple[str, ...] = ()
    """where metrics go besides metrics.jsonl and, where it is installed, TensorBoard: wandb, trackio, tensorboard"""
    save_dir: Path = Path("runs")
    run_name: str | None = None


@dataclass(frozen=True)
class EvalLine:
    """Play real games with a trained REM."""

    model: Annotated[str, tyro.conf.Positional]
    """checkpoint folder (RUN/model)"""
    game: str = ""
    """default: the game it was trained on"""
    episodes: int = 100
    temperature: float = 0.5
    """of the player; 0 takes the likeliest action"""
    imagine_temperature: float = 1.0
    """of the world model's draws, for the imagined return; 0 takes the likeliest"""
    imagine_steps: int = 100
    """length of dreams, at most"""
    max_steps: int = 27_000
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class ExportLine:
    """Write what a run has played as a data set."""

    run: Annotated[str, tyro.conf.Positional]
    """name in --save-dir, or path, of a run of `dream rem`"""
    out: Path | None = None
    """npz file to write"""
    minari: str | None = None
    """id of a local Minari dataset to write"""
    save_dir: Path = Path("runs")


Lines = {"rem": RemConfigLine, "eval": EvalLine, "export": ExportLine}


def run(command: str, line: Any) -> int:
    """Run one command."""
    require("torch", "train")
    from atari_vlm.training.imagination import program

    programs = {"rem": program.train, "eval": program.evaluate, "export": program.export}
    return programs[command](line)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\ncommands: {', '.join([*Lines, 'resume'])}; `dream COMMAND --help` lists the options of one")
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command == "resume" and rest[:1] not in ([], ["--help"]):
        command, rest = "rem", ["--resume", *rest]
    try:
        if command not in Lines:
            raise UnknownNameError("command", command, [*Lines, "resume"])
        line: Any = tyro.cli(Lines[command], args=rest, prog=f"python -m atari_vlm.dream {command}")
        if command == "rem" and line.config is not None:
            line = _with_file(line, rest)
        return run(command, line)
    except (AtariVLMError, OSError) as error:
        return end_with(error)


def _with_file(line: RemConfigLine, arguments: list[str]) -> RemConfigLine:
    """Options of ``--config`` below those of the command line; the group ``settings`` is read when the run begins."""
    assert line.config is not None
    content = read_yaml(line.config, what=f"--config {line.config}")
    options = {name: value for name, value in content.items() if name != "settings"}
    known = [item.name for item in dataclasses.fields(RemConfigLine) if item.name != "config"]
    words: list[str] = []
    for name, value in options.items():
        if name not in known:
            raise UnknownNameError(f"option in {line.config}", name, known)
        words += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
    return tyro.cli(RemConfigLine, args=[*words, *arguments], prog="python -m atari_vlm.dream rem")


if __name__ == "__main__":
    sys.exit(main())
