"""``python -m atari_vlm.proofs.changed_rules``: rules that change in the middle of a game. Writes changed_rules.md.

A small game of falling balls (`atari_vlm/proofs/changing_catch.py`): after 200 steps as it was learned its actions are mirrored,
or its ball is twice as fast, or both. Each model has to notice within the steps that a hand computation gives, and to stay quiet
where nothing changes: a program, the game itself, the same with planted errors, and a REM that learned it from pictures. And
Pong of ALE, whose difficulty switches halve paddles in the middle of a game, against the program that was written for it by hand.
Both programs are mended by their counterexamples until they replay what was met since.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Literal

import tyro

from atari_vlm.conditions import machine
from atari_vlm.ending import program
from atari_vlm.files import atomic_write
from atari_vlm.proofs import changed_rules_rows as played
from atari_vlm.proofs.changed_rules_page import to_markdown
from atari_vlm.proofs.changing_catch import CHANGES, CatchWriter
from atari_vlm.proofs.changing_learned import trained
from atari_vlm.proofs.mending_pong import PongWriter
from atari_vlm.runs.options import TYPED_ONLY, AskOptions, KeyOptions, ModelOptions
from atari_vlm.synthesis.writers import load_asked
from atari_vlm.vlm.base import closing
from atari_vlm.vlm.layers.stack import limited

LEARNED: tuple[Literal["REM", "Dreamer"], ...] = ("REM",)
_SCRIPTED = (
    "Writers: scripted ones, one a game, in the place of a language model. Each sees the question that a language model is asked,"
    " remembers nothing, and answers with the next program of its own list that explains the step it is shown (Pong: 328 edits "
    "of paddles, knob and opponent). The search, its judge and the held-out play decide whether that is right. "
    "What they write is ours and runs without a sandbox. `--model ID` (with `--base-url`, `--budget-usd` and the like) asks a "
    "language model instead, whose programs run in it."
)


@dataclass(frozen=True)
class ChangedRulesConfig(KeyOptions, ModelOptions, AskOptions):
    """What to play, and who mends programs."""

    vlm: str | None = field(default=None, metadata=TYPED_ONLY)
    """family of the language model that mends (or --model alone); without both the scripted writers do"""
    seeds: list[int] = field(default_factory=lambda: list(range(5)))
    pong: bool = True
    """Pong too, which takes some minutes"""
    learned: tuple[Literal["REM", "Dreamer"], ...] = LEARNED
    """models that learned it too, which are trained at first; none: nothing after the option"""
    save_dir: Path = Path("runs/changed_rules")
    """where these are kept, and every row that was played: neither is made again"""
    out: Path = Path("docs/results")
    """where changed_rules.md and .json go"""


@contextlib.contextmanager
def _writers(config: ChangedRulesConfig) -> Iterator[tuple[played.Mending, str]]:
    """Who mends, and what the page says of it."""
    if config.vlm is config.model is config.base_url is None:
        yield played.Mending(CatchWriter(), PongWriter(), local=True), _SCRIPTED
        return
    with (
        closing(load_asked(config)) as vlm,
        contextlib.closing(limited(vlm, config, api_key=config.key())) as asked,
    ):
        yield played.Mending(asked, asked, budget=20), f"Writer: {vlm.name}."


def prove(config: ChangedRulesConfig, say: Callable[[str], None]) -> int:
    """Play everything that is not kept yet and write the page; 0 when all was shown, 3 when not."""
    with _writers(config) as (mending, told):
        rows = _rows(config, mending, say)
    words = f"--seeds {' '.join(map(str, config.seeds))}"
    if config.learned != LEARNED:
        words += f" --learned {' '.join(config.learned)}"
    about = (__doc__ or "").rpartition("\n\n")[2].replace("\n", " ").strip()
    page = to_markdown(words, about, told, rows)
    config.out.mkdir(parents=True, exist_ok=True)
    atomic_write(config.out / "changed_rules.md", page)
    content = {"seeds": config.seeds, "machine": machine(), "rows": rows}
    atomic_write(config.out / "changed_rules.json", json.dumps(content, indent=1) + "\n")
    print(page)
    return 0 if all(map(played.is_shown, rows)) else 3


def _rows(
    config: ChangedRulesConfig, mending: played.Mending, say: Callable[[str], None]
) -> list[played.Row]:
    """Of every seed the rows of every part, read where they are kept; by game and change."""
    learned = cache(partial(_learned, config))
    writer = re.sub(r"[^A-Za-z0-9.-]+", "-", mending.catch.name)
    rows: list[played.Row] = []
    for seed in config.seeds:
        parts: dict[str, Callable[[], Iterable[played.Row]]] = {
            "own": partial(_own_rows, seed, mending)
        }
        for kind in config.learned:
            parts[kind] = partial(_learned_rows, learned, kind, seed, mending)
        if config.pong:
            parts["pong"] = partial(played.pong_rows, seed, mending)
        for name, make in parts.items():
            rows += _kept(config.save_dir / f"seed-{seed}" / f"{name}-{writer}.json", make)
        say(f"seed {seed}: {sum(map(played.is_shown, rows))} of {len(rows)} as they have to be")
    order = list(CHANGES)
    return sorted(
        rows, key=lambda row: order.index(row["change"]) if row["change"] in order else len(order)
    )


def _learned(config: ChangedRulesConfig, kind: str) -> played.Watched:
    return played.learned_model(kind, *trained(kind, config.save_dir / kind, 0))


def _learned_rows(
    learned: Callable[[str], played.Watched], kind: str, seed: int, mending: played.Mending
) -> list[played.Row]:
    return list(played.catch_rows(seed, [learned(kind)], mending))


def _own_rows(seed: int, mending: played.Mending) -> list[played.Row]:
    models = played.own_models(mending)
    try:
        return list(played.catch_rows(seed, models, mending))
    finally:
        models[0].model.close()


def _kept(file: Path, make: Callable[[], Iterable[played.Row]]) -> list[played.Row]:
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, json.dumps(list(make())))
    rows: list[played.Row] = json.loads(file.read_text(encoding="utf-8"))
    return rows


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    name = "python -m atari_vlm.proofs.changed_rules"
    config = tyro.cli(ChangedRulesConfig, args=argv, prog=name, description=__doc__)
    return prove(config, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
