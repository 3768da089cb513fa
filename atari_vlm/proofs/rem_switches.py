"""What each switch of ``rem-plus`` does on a toy game: ``python -m atari_vlm.proofs.rem_switches --out docs/results``.

Preset ``tiny`` on small pixel Catch (5 x 5 cells, see ``rem_proof``) with none of the switches, with each of them alone, and with
all; the same seeds, updates and real steps for all. Advantages are not normalised here (``tiny`` does), so that the scaling of
returns can show.
Runs are kept under ``--save-dir``, continue after any stop, and are not trained again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from atari_vlm.conditions import hardware
from atari_vlm.ending import program
from atari_vlm.files import atomic_write
from atari_vlm.proofs.pictures import curves
from atari_vlm.proofs.toys import registered, settings_for, train_one
from atari_vlm.scores.tables import table_lines
from atari_vlm.settings import with_changes
from atari_vlm.world_models.rem.settings import RemSettings

Changes = dict[str, Any]
_HEAD = (
    "variant", "return", "mean return while training", "right tokens", "right among changed", "reward F1", "CPU seconds",
)  # fmt: skip
GAME = "small-catch"
COMMON: Changes = {"actor_critic": {"normalise": False, "entropy": 0.005}}
SWITCHES: dict[str, tuple[Changes, Changes]] = {  # name -> (on, off)
    "two-hot rewards": (
        {"networks": {"world_model": {"reward": "two-hot"}}},
        {"networks": {"world_model": {"reward": "sign"}}},
    ),
    "two-hot values": (
        {"networks": {"actor_critic": {"value": "two-hot"}}, "actor_critic": {"value_weight": 0.1}},
        {"networks": {"actor_critic": {"value": "scalar"}}, "actor_critic": {"value_weight": 1.0}},
    ),
    "scaled returns": (
        {"networks": {"actor_critic": {"scale_returns": True}}},
        {"networks": {"actor_critic": {"scale_returns": False}}},
    ),
    "decay per frame": (
        {"networks": {"world_model": {"decay_unit": "block"}}},
        {"networks": {"world_model": {"decay_unit": "token"}}},
    ),
    "30 % prioritised replay": (
        {"world_model": {"prioritised": 0.3}},
        {"world_model": {"prioritised": 0.0}},
    ),
    "refinement of tokens": (
        {"networks": {"world_model": {"refinement_passes": 2}}},
        {"networks": {"world_model": {"refinement_passes": 0}}},
    ),
}


@dataclass(frozen=True)
class AblationConfig:
    """What to train and where to write."""

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    save_dir: Path = Path("runs/rem_ablation")
    out: Path = Path("docs/results")


def variants() -> dict[str, RemSettings]:
    """No switch, each one alone, all."""
    on = {
        "none": set(),
        **{f"with {name}": {name} for name in SWITCHES},
        "all switches": set(SWITCHES),
    }
    return {title: _settings(names) for title, names in on.items()}


def _settings(on: set[str]) -> RemSettings:
    settings: RemSettings = with_changes(settings_for(GAME), COMMON)
    for name, (on_changes, off_changes) in SWITCHES.items():
        settings = with_changes(settings, on_changes if name in on else off_changes)
    return settings


def to_markdown(seeds: list[int], results: dict[str, list[dict[str, Any]]]) -> str:
    """The results page."""
    lines = [_line(title, rows) for title, rows in results.items()]
    return (
        "# The switches of rem-plus on small pixel Catch\n\n"
        f"Made by `python -m atari_vlm.proofs.rem_switches --seeds {' '.join(map(str, seeds))}` on one CPU thread: preset `tiny` "
        "as for `small-catch` of\n`rem_proof` (5 x 5 cells, 20 x 20 pixels), advantages not normalised, entropy bonus 0.005. "
        "Each cell has one figure a seed; the\noptimum is 1. So few seeds cannot tell small differences from chance.\n\n"
        + "\n".join(table_lines(_HEAD, lines))
        + "\n\n"
        "`return`: 200 real games at temperature 0.5 after training. `mean return while training`: of all evaluations (50 games\n"
        "every 4 epochs), higher when it learns sooner. The other figures are on held-out games, as in\n"
        "[REM learns pixel Catch in imagination](rem_catch.md).\n\n"
        "![Returns while training](rem_ablation.png)\n\n"
        f"{hardware()}\n"
    )


def _line(title: str, rows: list[dict[str, Any]]) -> list[str]:
    area = [np.mean([value for _, _, value in row["curve"]]) for row in rows]
    cells = [
        [f"{row['return']:.2f}" for row in rows],
        [f"{value:.2f}" for value in area],
        *(
            [f"{row[name]['value']:.3f}" for row in rows]
            for name in ("token_accuracy", "changed_token_accuracy")
        ),
        [f"{row['reward_f1']['value']:.3f}" for row in rows],
        [f"{row['cpu_seconds']:.0f}" for row in rows],
    ]
    return [title, *(", ".join(cell) for cell in cells)]


def plot(results: dict[str, list[dict[str, Any]]]) -> bytes:
    """PNG: the mean return over seeds against epochs, a line per variant."""
    lines = {
        title: [
            (epoch, float(np.mean([row["curve"][i][2] for row in rows])))
            for i, (epoch, _, _) in enumerate(rows[0]["curve"])
        ]
        for title, rows in results.items()
    }
    return curves(
        [
            {
                "lines": lines,
                "x": "epoch",
                "y": "return in the real game, mean over seeds",
                "goal": 0.9,
            }
        ]
    )


def run(config: AblationConfig) -> int:
    """Train every variant and seed, and write the page."""
    torch.set_num_threads(1)
    toy = registered(GAME)
    results = {
        title: [
            train_one(config.save_dir / title.replace(" ", "-").replace("%", "percent") / f"seed-{seed}", toy, settings, seed)
            for seed in config.seeds
        ]
        for title, settings in variants().items()
    }  # fmt: skip
    page = to_markdown(config.seeds, results)
    atomic_write(config.out / "rem_ablation.md", page)
    atomic_write(config.out / "rem_ablation.json", json.dumps(results, indent=1) + "\n")
    atomic_write(config.out / "rem_ablation.png", plot(results))
    print(page)
    return 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    prog = "python -m atari_vlm.proofs.rem_switches"
    return run(tyro.cli(AblationConfig, args=argv, prog=prog, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
