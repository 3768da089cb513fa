"""Sequence cores side by side: ``python -m atari_vlm.proofs.dreamer_cores --out docs/results``.

The same Dreamer with four memories (``gru``, ``block_gru``, ``mamba``, and ``mamba-lora``: adapters on a small Mamba that this
program trains on text first) learns two games that need one: CartPole-v1 without velocities, and the cue game with a delay of 16.
Whole models are equally large within 5 %, which is checked before anything is trained, and updates and steps of the game are
equal. Each run has a process of its own. Runs are kept under ``--save-dir``, continue after any stop, and are not trained again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from atari_vlm.ending import program
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.files import atomic_write
from atari_vlm.proofs.dreamer_cores_page import plot, to_markdown
from atari_vlm.proofs.dreamer_cores_run import row_of
from atari_vlm.proofs.dreamer_cores_tasks import (
    CORES,
    UPDATES,
    Run,
    check_equal,
    networks_of,
    parameters,
)
from atari_vlm.proofs.text_base import trained_base

Rows = dict[str, dict[str, list[dict[str, Any]]]]  # of tasks, of cores, of seeds


@dataclass(frozen=True)
class CoresConfig:
    """What to train and where to write."""

    tasks: list[Literal["cartpole", "cue"]] = field(default_factory=lambda: ["cartpole", "cue"])
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    updates: int | None = None
    """of every run; without it so many that a run takes about five CPU minutes, the mean over the cores"""
    save_dir: Path = Path("runs/dreamer_cores")
    """each run is in <save-dir>/<task>-<updates>/<core>/seed-<seed>, the language model in <save-dir>/base"""
    out: Path = Path("docs/results")

    def __post_init__(self) -> None:
        for name in ("tasks", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"--{name} are one or more, each once, got {values}")
        if self.updates is not None:
            check_count(updates=self.updates)

    def run(self, task: str, core: str, seed: int) -> Run:
        """A run of the table."""
        return Run(task, core, seed, self.updates or UPDATES[task], self.save_dir / "base")

    def folder(self, run: Run) -> Path:
        """Where it is kept."""
        return self.save_dir / f"{run.task}-{run.updates}" / run.core / f"seed-{run.seed}"


def run(config: CoresConfig) -> int:
    """Train every run and write the page; 0, or 3 where a run failed."""
    torch.set_num_threads(1)
    base = trained_base(config.save_dir / "base")
    for task in config.tasks:
        models = {core: networks_of(config.run(task, core, config.seeds[0])) for core in CORES}
        check_equal(task, {core: parameters(model)[0] for core, model in models.items()})
    rows = trained(config)
    page = to_markdown(_options(config), rows, base)
    atomic_write(config.out / "dreamer_cores.md", page)
    data = json.dumps({"base": base, "rows": rows}, indent=1)
    atomic_write(config.out / "dreamer_cores.json", data + "\n")
    for name, by_core in rows.items():
        atomic_write(config.out / f"dreamer_cores_{name}.png", plot(name, by_core))
    print(page)
    every = [row for by_core in rows.values() for seeds in by_core.values() for row in seeds]
    return 3 if any("failure" in row for row in every) else 0


def _options(config: CoresConfig) -> str:
    """What the command line has to have for the same page."""
    tasks = [] if set(config.tasks) == set(UPDATES) else ["--tasks", *config.tasks]
    updates = [] if config.updates is None else ["--updates", str(config.updates)]
    return " ".join([*tasks, "--seeds", *map(str, config.seeds), *updates])


def trained(config: CoresConfig) -> Rows:
    """The rows of every run, a whole seed of the table after the other."""
    rows: Rows = {task: {core: [] for core in CORES} for task in config.tasks}
    for seed in config.seeds:
        for task in config.tasks:
            for core in CORES:
                one = config.run(task, core, seed)
                rows[task][core].append(row_of(one, config.folder(one)))
    return rows


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    prog = "python -m atari_vlm.proofs.dreamer_cores"
    return run(tyro.cli(CoresConfig, args=argv, prog=prog, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
