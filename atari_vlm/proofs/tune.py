"""A small vision-language model learns to play from nothing, by imitation: ``python -m atari_vlm.proofs.tune --game catch``.

Each seed runs ``atari_vlm.tune sft --base tiny --model new`` on one CPU thread with the bundled player as teacher, and is then
measured on episodes that were never learned from: the share of decisions that are the teacher's, whole games played through
``load_vlm`` with the adapter, and the same games with every picture blacked out, which shows whether it looks. A seed that was
measured is not trained again; one that was stopped begins anew, because its CPU time is part of what is shown.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.ending import program
from atari_vlm.errors import RunError
from atari_vlm.files import atomic_write
from atari_vlm.proofs.pages import conditions, interval, measured_on, shown
from atari_vlm.proofs.seeing import Blind
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.rollout import play_episode
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.scores.tables import table_lines
from atari_vlm.tune import main as tune
from atari_vlm.vlm.base import VLM, closing
from atari_vlm.vlm.load import load_vlm

GOAL, CPU_SECONDS, GAMES = 0.95, 600.0, 40
_ROOM = 5_000  # seeds of played games lie beyond those of the held-out episodes


@dataclass(frozen=True)
class Lesson:
    """What is learned: a game's name, its best return, and the words that are not ``tune``'s defaults."""

    title: str
    game: str
    optimum: float
    words: tuple[str, ...]
    looked_at: tuple[int, ...] = (0, 1)


LESSONS = {
    "catch": Lesson("pixel Catch", "Catch", 1.0, ("--updates", "600", "--episodes", "512")),
    "solo-pong": Lesson(
        "one-paddle Pong", "SoloPong", 3.0, ("--updates", "1000", "--episodes", "200")
    ),
}


@dataclass(frozen=True)
class ProofConfig:
    """What to train and where to write."""

    game: Literal["catch", "solo-pong"] = "catch"
    seeds: list[int] = field(default_factory=lambda: [2, 3, 4, 5, 6])
    save_dir: Path = Path("runs/tune_proof")
    """each run is <save-dir>/<game>-seed-<seed>"""
    out: Path = Path("docs/results")


def prove_one(config: ProofConfig, seed: int) -> dict[str, Any]:
    """Train and measure one seed, or read what was measured."""
    lesson, name = LESSONS[config.game], f"{config.game}-seed-{seed}"
    folder = config.save_dir / name
    done = folder / "proof.json"
    if done.is_file():
        measured: dict[str, Any] = json.loads(done.read_text())
        return measured
    shutil.rmtree(folder, ignore_errors=True)
    words = ["--base", "tiny", "--model", "new", "--game", lesson.game, "--from", "scripted"]
    words += [*lesson.words, "--seed", str(seed), "--threads", "1", "--device", "cpu"]
    began = time.process_time()
    if code := tune(["sft", *words, "--save-dir", str(config.save_dir), "--run-name", name]):
        raise RunError(f"training of {folder} ended with exit code {code}")
    seconds = time.process_time() - began
    results = json.loads((folder / "results.json").read_text())
    with closing(load_vlm("tiny", adapter=folder / "adapter", device="cpu")) as vlm:
        returns, blind = (float(np.mean(play(who, lesson.game, seed))) for who in (vlm, Blind(vlm)))
    measured = {
        "seed": seed,
        "cpu_seconds": seconds,
        "return": returns,
        "return_blind": blind,
        **conditions(),
        **results,
    }
    atomic_write(done, json.dumps(measured, indent=1) + "\n")
    return measured


def play(vlm: VLM, game: str, seed: int) -> list[float]:
    """Returns of whole games on seeds that were neither learned from nor measured on."""
    env = make_env({"game_name": game})
    options = VLMAgentOptions(answer="scores")
    try:
        return [
            play_episode(
                env,
                VLMAgent(vlm, prompt_type="basic", options=options),
                seed=eval_seed(seed, _ROOM + n),
            ).episode_return
            for n in range(GAMES)
        ]
    finally:
        env.close()


def to_markdown(config: ProofConfig, rows: list[dict[str, Any]]) -> tuple[str, bool]:
    """The results page, and whether every seed reached the goal."""
    lesson, seeds = LESSONS[config.game], " ".join(str(row["seed"]) for row in rows)
    reached = [r["held_out_accuracy"] >= GOAL and r["cpu_seconds"] <= CPU_SECONDS for r in rows]
    accuracies = np.array([row["held_out_accuracy"] for row in rows])
    page = (
        f"# A small vision-language model learns {lesson.title} by imitation\n\n"
        f"`atari_vlm.tune sft --base tiny --model new` ({rows[0]['trained_parameters']:,} parameters, from random weights), "
        f"the bundled player as\nteacher, {' '.join(lesson.words)}, one CPU thread, made by\n"
        f"`python -m atari_vlm.proofs.tune --game {config.game} --seeds {seeds}`.\n\n"
        f"Mean held-out accuracy over {len(rows)} seed(s): **{accuracies.mean():.4f}**{_interval(accuracies)}. The goal is "
        f"{GOAL:g} within {CPU_SECONDS:.0f} CPU seconds:\n{sum(reached)} of {len(rows)} seed(s) reached it. Settings were chosen "
        f"while looking at seed {', '.join(map(str, lesson.looked_at))}.\n\n"
        + "\n".join(table_lines(_HEAD, [_row(row) for row in rows]))
        + "\n\n`held out`: share of the teacher's decisions in whole held-out episodes (a fifth of whose actions are random) "
        "that the model takes\ntoo; `new` counts only requests that never occurred in what was learned from, `commonest` is "
        f"what always taking the commonest\naction would reach. `return`: mean of {GAMES} whole games on further seeds (optimum "
        f"{lesson.optimum:g}), played through `load_vlm` with\nthe adapter; `blind` the same with every picture blacked out. CPU "
        f"seconds count everything from the start of the command to\nthe written adapter.\n\n{measured_on(rows)}\n"
    )
    return page, all(reached)


_HEAD = ("seed", "held out", "new", "commonest", "return", "blind", "CPU seconds")


def _row(row: dict[str, Any]) -> list[str]:
    new = row["accuracy_on_these"]
    return [
        str(row["seed"]),
        f"{row['held_out_accuracy']:.4f} of {row['held_out_decisions']}",
        "-" if new is None else f"{new:.4f} of {row['held_out_requests_never_learned_from']}",
        f"{row['accuracy_of_the_commonest_action']:.3f}",
        f"{row['return']:.2f}",
        f"{row['return_blind']:.2f}",
        f"{row['cpu_seconds']:.0f}",
    ]


def _interval(accuracies: np.ndarray) -> str:
    found = interval(accuracies, 4)
    return f" {found} (95 %, bootstrap over seeds)" if found else " (too few seeds for an interval)"


def run(config: ProofConfig) -> int:
    """Prove every seed and write the page; 0 when all reach the goal, else 3."""
    torch.set_num_threads(1)
    rows = [prove_one(config, seed) for seed in config.seeds]
    page, passed = to_markdown(config, rows)
    name = f"tune_{config.game.replace('-', '_')}"
    return shown(config.out, name, page, rows, passed)


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(
        tyro.cli(
            ProofConfig, args=argv, prog="python -m atari_vlm.proofs.tune", description=__doc__
        )
    )


if __name__ == "__main__":
    sys.exit(main())
