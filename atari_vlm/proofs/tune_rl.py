"""A small vision-language model learns from rewards: ``python -m atari_vlm.proofs.tune_rl --game catch``.

A copy is first trained by imitation of the bundled player and stopped where its whole games return half of the optimum.
``atari_vlm.tune rl`` goes on from it (or, with ``--from-nothing``, from random weights) on one CPU thread, and again from what
it left, until all evaluations of a round reach 0.95 of the optimum or there is no time for another round. What comes out plays
whole games through ``load_vlm`` on seeds that nothing was trained, stopped or evaluated on; with every picture blacked out too.
No world model has a part in any of it. What was measured is not trained again.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from atari_vlm.ending import program
from atari_vlm.errors import RunError
from atari_vlm.files import atomic_write
from atari_vlm.proofs.pages import conditions, interval, measured_on, shown
from atari_vlm.proofs.seeing import Blind
from atari_vlm.proofs.tune import GAMES, play
from atari_vlm.proofs.tune_copy import HalfWay, copied
from atari_vlm.scores.tables import table_lines
from atari_vlm.tune import main as tune
from atari_vlm.vlm.base import closing
from atari_vlm.vlm.load import load_vlm

GOAL, CPU_SECONDS = 0.9, 1200.0  # share of the optimum; of one thread
ENOUGH = 0.95  # of the optimum in a round's own evaluations: then there is no further one
_NEAR = 0.1  # of the optimum
_HEAD = ("seed", "copy", "rounds", "return", "95 % of games", "blind", "decisions", "CPU seconds")


@dataclass(frozen=True)
class Reward:
    """What is learned: a game's name, its best return, after how many updates each a copy is looked at, and the words that are
    not ``tune rl``'s defaults.
    """

    title: str
    game: str
    optimum: float
    look_every: int
    words: tuple[str, ...]
    from_nothing: tuple[str, ...]
    looked_at: str


_COMMON = ("--envs", "32", "--steps", "16", "--minibatch", "128")
REWARDS = {
    "catch": Reward(
        "pixel Catch",
        "Catch",
        1.0,
        5,
        (*_COMMON, "--iterations", "10", "--learning-rate", "1e-4"),
        (*_COMMON, "--iterations", "60", "--learning-rate", "3e-4"),
        "seeds 0 and 2 to 8",
    ),
    "solo-pong": Reward(
        "one-paddle Pong",
        "SoloPong",
        3.0,
        20,
        (*_COMMON, "--iterations", "20", "--learning-rate", "1e-4"),
        (*_COMMON, "--iterations", "100", "--learning-rate", "3e-4"),
        "Catch, and when to stop at seed 10,\nwhich had stopped at 2.60 after one good evaluation",
    ),
}


@dataclass(frozen=True)
class ProofConfig:
    """What to train and where to write."""

    game: Literal["catch", "solo-pong"] = "catch"
    from_nothing: bool = False
    """without the copy"""
    seeds: list[int] = field(default_factory=lambda: [9, 10, 11, 12, 13])
    save_dir: Path = Path("runs/tune_rl_proof")
    """runs are <save-dir>/<game>[-from-nothing]-seed-<seed>-round-<n>, the copy <...>-copy"""
    out: Path = Path("docs/results")

    @property
    def name(self) -> str:
        """Of the results page and of the runs."""
        return self.game + ("-from-nothing" if self.from_nothing else "")

    @property
    def words(self) -> tuple[str, ...]:
        """Of ``tune rl``."""
        reward = REWARDS[self.game]
        return reward.from_nothing if self.from_nothing else reward.words


def prove_one(config: ProofConfig, seed: int) -> dict[str, Any]:
    """Train and measure one seed, or read what was measured."""
    reward, name = REWARDS[config.game], f"{config.name}-seed-{seed}"
    done = config.save_dir / f"{name}.json"
    if done.is_file():
        measured: dict[str, Any] = json.loads(done.read_text())
        return measured
    start: dict[str, Any] = {}
    adapter: Path | None = None
    if not config.from_nothing:
        where = config.save_dir / f"{name}-copy"
        start = _once(where, functools.partial(_copy, config, where, seed))
        adapter = where / "adapter"
    rounds: list[dict[str, Any]] = []
    while not rounds or (
        min(mean for _, mean in rounds[-1]["curve"]) < ENOUGH * reward.optimum
        and sum(row["cpu_seconds"] for row in rounds) + rounds[-1]["cpu_seconds"] <= CPU_SECONDS
    ):
        folder = config.save_dir / f"{name}-round-{len(rounds) + 1}"
        begin = functools.partial(_round, config, folder, adapter, seed + 1000 * len(rounds))
        rounds.append(_once(folder, begin))
        adapter = folder / "adapter"
    with closing(load_vlm("tiny", adapter=adapter, device="cpu")) as vlm:
        returns, blind = (play(who, reward.game, seed) for who in (vlm, Blind(vlm)))
    measured = {
        "seed": seed,
        **start,
        "rounds": rounds,
        "cpu_seconds": sum(row["cpu_seconds"] for row in rounds),
        "decisions": sum(row["decisions"] for row in rounds),
        "returns": returns,
        "returns_blind": blind,
        **conditions(),
    }
    atomic_write(done, json.dumps(measured, indent=1) + "\n")
    return measured


def _once(folder: Path, begin: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``begin`` measured, now or before; what was not finished begins anew, because its CPU time is shown."""
    done = folder / "measured.json"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        atomic_write(done, json.dumps(begin(), indent=1) + "\n")
    measured: dict[str, Any] = json.loads(done.read_text())
    return measured


def _copy(config: ProofConfig, folder: Path, seed: int) -> dict[str, Any]:
    reward = REWARDS[config.game]
    return copied(folder, HalfWay(reward.game, seed, reward.optimum / 2), reward.look_every)


def _round(config: ProofConfig, folder: Path, adapter: Path | None, seed: int) -> dict[str, Any]:
    """``tune rl`` once, from ``adapter``: CPU seconds, decisions, and the mean returns of its own evaluations."""
    words = ["--base", "tiny", "--model", "new", "--game", REWARDS[config.game].game]
    words += [*config.words, "--seed", str(seed), "--threads", "1", "--device", "cpu"]
    if adapter is not None:
        words += ["--adapter", str(adapter)]
    began = time.process_time()
    if code := tune(["rl", *words, "--save-dir", str(folder.parent), "--run-name", folder.name]):
        raise RunError(f"training of {folder} ended with exit code {code}")
    seconds = time.process_time() - began
    results = json.loads((folder / "results.json").read_text())
    return {
        "cpu_seconds": seconds,
        "decisions": results["decisions"],
        "curve": curve(folder),
    }


def curve(folder: Path) -> list[tuple[int, float]]:
    """Mean returns of the run's own evaluations, by iteration."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        (line["epoch"], line["evaluation_return"]) for line in lines if "evaluation_return" in line
    ]


def to_markdown(config: ProofConfig, rows: list[dict[str, Any]]) -> tuple[str, bool]:
    """The results page, and whether every seed reached the goal."""
    reward, seeds = REWARDS[config.game], " ".join(str(row["seed"]) for row in rows)
    returns = np.array([np.mean(row["returns"]) for row in rows])
    goal = GOAL * reward.optimum
    reached = [
        value >= goal and row["cpu_seconds"] <= CPU_SECONDS
        for value, row in zip(returns, rows, strict=True)
    ]
    origin = "from nothing" if config.from_nothing else "from a copy stopped at half of the optimum"
    flag = " --from-nothing" if config.from_nothing else ""
    page = (
        f"# A small vision-language model learns {reward.title} from rewards, {origin}\n\n"
        f"`atari_vlm.tune rl --base tiny --model new --game {reward.game} {' '.join(config.words)}`\n"
        "(0.65 M parameters, one CPU thread, no extra reward), made by\n"
        f"`python -m atari_vlm.proofs.tune_rl --game {config.game}{flag} --seeds {seeds}`.\n\n"
        f"Mean return over {len(rows)} seed(s): **{returns.mean():.3f}** {interval(returns, 3)} of {reward.optimum:g}. "
        f"The goal is {goal:g} within {CPU_SECONDS:.0f} CPU seconds:\n{sum(reached)} of {len(rows)} seed(s) reached it. Settings "
        f"were chosen while looking at {reward.looked_at}.\n{_beginnings(config, rows)}\n"
        + "\n".join(table_lines(_HEAD, [_row(row) for row in rows]))
        + "\n\n`copy`: mean returns of the imitation that training began with, of the 40 whole games that chose it and of 40 on "
        "other\nseeds, and after how many updates it was taken. `rounds`: calls of `tune rl`, each from what the one before "
        f"left, until all\nevaluations of one (32 games on other seeds each) reached {ENOUGH:g} of the optimum. `return`: mean "
        f"of {GAMES} whole games on\nfurther seeds, the likeliest answer taken, played through `load_vlm` with the adapter; "
        "`blind` the same with every picture\nblacked out. `decisions`: those that were trained on. CPU seconds are those of "
        "`tune rl`, everything from the\n"
        f"start of the command to the written adapter; the copy took {_copying(rows)} more.\n\n{measured_on(rows)}\n"
    )
    return page, all(reached)


def _row(row: dict[str, Any]) -> list[str]:
    returns = np.array(row["returns"])
    return [
        str(row["seed"]),
        _copy_of(row) if "copy_return" in row else "-",
        str(len(row["rounds"])),
        f"{returns.mean():.2f}",
        interval(returns, 2) or "-",
        f"{np.mean(row['returns_blind']):.2f}",
        f"{row['decisions']:,}",
        f"{row['cpu_seconds']:.0f}",
    ]


def _copy_of(row: dict[str, Any]) -> str:
    return f"{row['copy_return']:.2f}, {row['copy_return_again']:.2f} ({row['copy_updates']})"


def _beginnings(config: ProofConfig, rows: list[dict[str, Any]]) -> str:
    """How many copies really were at half."""
    if config.from_nothing:
        return ""
    reward = REWARDS[config.game]
    near = sum(abs(row["copy_return"] / reward.optimum - 0.5) <= _NEAR for row in rows)
    return (
        f"{near} of {len(rows)} copies were at {0.5 - _NEAR:g} to {0.5 + _NEAR:g} of the optimum.\n"
    )


def _copying(rows: list[dict[str, Any]]) -> str:
    seconds = [row["copy_cpu_seconds"] for row in rows if "copy_cpu_seconds" in row]
    return f"{min(seconds):.0f} to {max(seconds):.0f}" if seconds else "0"


def run(config: ProofConfig) -> int:
    """Prove every seed and write the page; 0 when all reach the goal, else 3."""
    torch.set_num_threads(1)
    rows = [prove_one(config, seed) for seed in config.seeds]
    page, passed = to_markdown(config, rows)
    name = f"tune_rl_{config.name.replace('-', '_')}"
    return shown(config.out, name, page, rows, passed)


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(
        tyro.cli(
            ProofConfig, args=argv, prog="python -m atari_vlm.proofs.tune_rl", description=__doc__
        )
    )


if __name__ == "__main__":
    sys.exit(main())
