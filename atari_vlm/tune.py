"""Tune a vision-language model: it learns to play, by the turn.

    python -m atari_vlm.tune sft --base qwen-vl --model FOLDER --game Pong-v5 --from RUN --prompt-type basic
    python -m atari_vlm.tune sft --base tiny --model new --game Catch --from scripted --updates 600
    python -m atari_vlm.tune sft --resume tiny-Catch-sft-001
    torchrun --nproc-per-node=4 -m atari_vlm.tune sft --base qwen-vl --model FOLDER --game Pong-v5 --from RUN
    python -m atari_vlm.tune rl --base tiny --model new --adapter RUN/adapter --game Catch
    python -m atari_vlm.tune merge atari_vlm_results/tiny-Catch-sft-001/adapter --model new --out catch-player
    python -m atari_vlm.tune onnx catch-player      # the form that plays without torch

A teacher plays (the bundled player, or a run that was played before), the model learns its choices among the legal answers,
and held-out episodes say how well; or it learns from the rewards of the game (`rl`). What comes out is an adapter:
`--vlm qwen-vl --model FOLDER --adapter RUN/adapter` plays with it everywhere.
"""

from __future__ import annotations

import sys

from atari_vlm._lazy import require
from atari_vlm.ending import program
from atari_vlm.errors import UnknownNameError
from atari_vlm.runs.command_line import parse

COMMANDS = ("sft", "rl", "merge", "onnx")


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            f"{__doc__}\ncommands: {', '.join(COMMANDS)}; `tune COMMAND --help` lists the options of one"
        )
        return 0 if arguments else 2
    command, rest = arguments[0], [_own_flag(word) for word in arguments[1:]]
    if command not in COMMANDS:
        raise UnknownNameError("command", command, COMMANDS)
    from atari_vlm.training.tuning import options

    if command == "merge":
        merging = parse(options.MergeOptions, rest, options.MergeOptions.__doc__)
        _require_all()
        from atari_vlm.training.tuning.merging import merge

        return merge(merging)
    if command == "onnx":
        from atari_vlm.training.tuning.onnx_form import OnnxOptions, write_onnx

        return write_onnx(parse(OnnxOptions, rest, OnnxOptions.__doc__))
    if command == "rl":
        reinforcing = parse(options.ReinforceOptions, rest, options.ReinforceOptions.__doc__)
        _require_all()
        from atari_vlm.training.tuning.rl_program import reinforce

        return reinforce(reinforcing)
    tuning = parse(options.TuneOptions, rest, options.TuneOptions.__doc__)
    _require_all()
    from atari_vlm.training.tuning.program import tune

    return tune(tuning)


def _own_flag(word: str) -> str:
    """``--from``, which can name no field in Python, under the name of its field."""
    flag, equals, value = word.partition("=")
    return f"--source{equals}{value}" if flag == "--from" else word


def _require_all() -> None:
    from atari_vlm.vlm.local.adapter import require_peft

    for library in ("torch", "transformers"):  # before anything is played
        require(library, "tune")
    require_peft()


if __name__ == "__main__":
    sys.exit(main())
