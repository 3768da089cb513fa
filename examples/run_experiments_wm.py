"""The VLM World Model system's command, on this package: plans by a VLM, judged by a world model, kept in an action buffer.

    python examples/run_experiments_wm.py --env "ALE/Breakout-v5" --model gpt4o --use_action_buffer True --action_buffer_size 10
    python examples/run_experiments_wm.py --env "ALE/Breakout-v5" --model rand          # offline: the bundled player

--model is rand, gpt4, gpt4o, gemini, claude, qwen, or any name that --vlm of ``python -m atari_vlm.plan`` takes; that program
does the work, and any further option of its own is passed on.
"""

from __future__ import annotations

import argparse
import sys

from atari_vlm import plan
from atari_vlm.agents.compat import SOURCE_MODELS


def truth(word: str) -> bool:
    """``True`` or ``False`` as the source system writes them."""
    if word.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"True or False, not {word!r}")
    return word.lower() in ("true", "1", "yes")


def arguments_of(argv: list[str]) -> list[str]:
    """The same wishes as arguments of ``atari_vlm.plan``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="ALE/Breakout-v5")
    parser.add_argument("--model", default="rand")
    parser.add_argument("--use_world_model", type=truth, default=True)
    parser.add_argument("--use_action_buffer", type=truth, default=True)
    parser.add_argument("--action_buffer_size", type=int, default=10)
    parser.add_argument("--action_buffer_threshold", type=float, default=0.0)
    parser.add_argument("--plan_horizon", type=int, default=5)
    parser.add_argument("--num_plans", type=int, default=3)
    parser.add_argument("--num_timesteps", type=int, default=100)
    parser.add_argument("--output_dir", default="experiments")
    known, rest = parser.parse_known_args(argv)
    options = {
        "game": known.env,
        "vlm": SOURCE_MODELS.get(known.model, known.model),
        "action-buffer-size": known.action_buffer_size,
        "action-buffer-threshold": known.action_buffer_threshold,
        "plan-horizon": known.plan_horizon,
        "num-plans": known.num_plans,
        "max-steps": known.num_timesteps,
        "num-episodes": 1,
        "save-dir": known.output_dir,
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    arguments.append("--use-world-model" if known.use_world_model else "--no-use-world-model")
    arguments.append("--use-action-buffer" if known.use_action_buffer else "--no-use-action-buffer")
    return [*arguments, *rest]


if __name__ == "__main__":
    sys.exit(plan.main(arguments_of(sys.argv[1:])))
