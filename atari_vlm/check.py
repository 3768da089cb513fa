"""Know before you pay: what can this endpoint do, and with which options does it play?

    python -m atari_vlm.check --vlm gpt-4o --budget-usd 0.10
    python -m atari_vlm.check --vlm qwen-vl --base-url http://127.0.0.1:8000/v1 --model MODEL --json found.json

It is asked a few short questions whose right answers are known: is a picture read, and how many of several? Are a JSON schema and
a list of choices kept to? Does it think aloud, or only think? Are tokens counted, can the price be true, how long does it take?
Then a question of a game is asked with the options that this endpoint needs; they are printed as a word for --agents.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from atari_vlm.ending import program
from atari_vlm.evaluation.checkup.checkup import checkup, rows
from atari_vlm.evaluation.checkup.desk import CheckConfig
from atari_vlm.files import atomic_write
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.terminal import results


def run(config: CheckConfig) -> int:
    """Ask, print and write what was found; 0 whatever that is."""
    if config.json is not None:  # found out before anything is paid for
        Path(config.json).parent.mkdir(parents=True, exist_ok=True)
    found = checkup(config)
    if config.json is not None:
        text = json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write(config.json, text + "\n")
    out = results()
    for name, value in rows(config, found):
        out.print(f"{name:20} {value}")
    return 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(parse(CheckConfig, argv, __doc__))


if __name__ == "__main__":
    sys.exit(main())
