"""Train world models and the players that learn inside them.

    python -m atari_vlm.dream rem --game Breakout-v5 --device cuda --precision bf16
    python -m atari_vlm.dream resume Breakout-rem-001                # or: dream rem --resume Breakout-rem-001
    python -m atari_vlm.dream resume Breakout-rem-001 --epochs 900   # a finished run goes on
    python -m atari_vlm.dream llm-dreamer-v3 --game CartPole-v1 --preset tiny algo.replay_ratio=0.5
    python -m atari_vlm.dream rem --game my_package:MyGame-v0 --preset tiny
    python -m atari_vlm.dream rem --dataset steps.npz --preset tiny  # offline: no game is played
    python -m atari_vlm.dream eval atari_vlm_results/Breakout-rem-001/model --episodes 100 --temperature 0.5
    python -m atari_vlm.dream export Breakout-rem-001 --out steps.npz   # or: --minari breakout/rem-v0
    python -m atari_vlm.dream collect --game Breakout-v5 --agent scripted --num-episodes 100 --out steps.npz
    torchrun --nproc-per-node=4 -m atari_vlm.dream rem --game Breakout-v5 --device cuda

The first word is a family of world models, ours or that of an installed package. ``--config FILE.yaml`` holds options of this
program; its group ``settings`` changes single constants of the preset, as ``--settings NAME=VALUE`` does. The same command
continues a run that was stopped.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from inspect import getdoc
from pathlib import Path

from atari_vlm._lazy import require
from atari_vlm.ending import program
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.options import FolderOptions
from atari_vlm.runs.run_folder import existing_run, read_config
from atari_vlm.world_models.families import family, kinds_in, load_part, with_part

_COMMANDS = ("collect", "eval", "export", "resume")


def commands() -> list[str]:
    """What can be asked for: every family that learns, and what is done with a run or a model."""
    return [*with_part("learner"), *_COMMANDS]


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = ", ".join(commands())
        print(f"{__doc__}\ncommands: {listed}; `dream COMMAND --help` lists the options of one")
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in commands():
        raise UnknownNameError("command", command, commands())
    if command == "resume":
        command, rest = _family_of(rest), ["--resume", *rest]
    return run(command, rest)


def run(command: str, arguments: Sequence[str], files: Mapping[str, str] | None = None) -> int:
    """Run one command; ``files`` are texts that are kept in the folder of a training run, by name."""
    extra = family(command).extra or "train" if command not in _COMMANDS else "train"
    for library in ("torch", "safetensors"):  # before anything is played
        require(library, extra)
    from atari_vlm.training.imagination import collect_program, eval_program, options, program

    if command == "eval":
        evaluate = eval_program.evaluate
        return evaluate(parse(options.EvalOptions, arguments, evaluate.__doc__))
    if command == "collect":
        collect = collect_program.collect
        return collect(parse(options.CollectOptions, arguments, getdoc(collect)))
    if command == "export":
        return program.export(parse(options.ExportOptions, arguments, program.export.__doc__))
    if family(command).words is not None:
        experiment = load_part(command, "words")(arguments)
        arguments, files = experiment.arguments, {**experiment.files, **(files or {})}
    kind = options.train_options(command)
    text = f"Train a world model of the family {command}."
    return program.train(parse(kind, arguments, text), files or {})


def _family_of(arguments: Sequence[str]) -> str:
    """What the run that is named first was made by: a family, or ``collect``; ``ConfigError`` for none."""
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError(
            "dream resume RUN: name the run to continue first, its name or its folder"
        )
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--save-dir", "--save_dir", type=Path, default=FolderOptions.save_dir)
    path = existing_run(first.parse_known_args(arguments)[0].save_dir, arguments[0])
    settings = read_config(path)["settings"]
    kind = "collect" if "collect" in settings else next(kinds_in(settings), None)
    if kind is None:
        raise ConfigError(
            f"{path} is not a run of `dream`; families that learn: {', '.join(with_part('learner'))}"
        )
    return kind


if __name__ == "__main__":
    sys.exit(main())
