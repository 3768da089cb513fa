"""Ten honest bundles and twenty forged ones: ``python -m atari_vlm.proofs.board --save-dir runs/board --out docs``.

Plays ten short studies of the bundled players, hands them in, and judges all: OUT/results/board_site is the site of the honest
ones, OUT/results/board.md says what came of each, honest and forged. A run that was stopped goes on with the same command.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from atari_vlm.conditions import hardware
from atari_vlm.ending import program
from atari_vlm.evaluation.board.board import Board, build_board
from atari_vlm.evaluation.board.bundle import MANIFEST
from atari_vlm.evaluation.board.claims import our_versions
from atari_vlm.evaluation.board.submitting import submit
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.files import atomic_write
from atari_vlm.proofs.board_forgeries import FORGERIES, forge
from atari_vlm.runs.terminal import messages, results
from atari_vlm.scores.tables import table_lines

_SHORT: dict[str, Any] = {"protocol": "quick", "seeds": [0], "max_steps": 40}
STUDIES: dict[str, dict[str, Any]] = {
    "scripted": {"suite": "quick", "agents": ["scripted"]},
    "nearest-example": {**_SHORT, "games": ["Pong"], "agents": ["nearest-example"]},
    "every-fourth-step": {
        **_SHORT,
        "games": ["Breakout"],
        "agents": ["scripted-4=scripted,decide_every=4"],
    },
    "tree-search": {**_SHORT, "games": ["Freeway"], "agents": ["mcts@emulator,num_simulations=4"]},
    "judged-plans": {
        **_SHORT,
        "games": ["Freeway"],
        "agents": ["plan@emulator,plan_horizon=3,num_plans=2"],
    },
    "cart-pole": {"games": ["CartPole-v1"], "agents": ["noop"], "seeds": [0, 1, 2], "episodes": 2},
    "catch": {
        "games": ["Catch"],
        "agents": ["mcts@catch,num_simulations=16", "nearest-example"],
        "seeds": [0, 1, 2],
    },
    "taught": {
        "games": ["Pong"],
        "agents": ["taught=nearest-example,use_icl=true,num_episodes=1,demonstrations=scripted"],
        "seeds": [0],
        "max_steps": 40,
    },
    "late-and-parallel": {
        "games": ["Pong"],
        "agents": ["late=scripted,latency=0.2"],
        "seeds": [0],
        "episodes": 2,
        "max_steps": 40,
        "parallel": 2,
    },
    "atari-gpt": {
        "protocol": "atari-gpt",
        "games": ["Pong"],
        "agents": ["scripted"],
        "seeds": [0],
        "max_steps": 100,
    },
}
FORGED = "late-and-parallel"  # whose copies are forged


@dataclass(frozen=True)
class ProofConfig:
    """Where the studies are played and where the pages go."""

    save_dir: Path = Path("runs/board")
    out: Path = Path("docs")


def honest_bundles(save_dir: Path) -> Path:
    """Play what is not played yet and hand it in; the folder of the bundles."""
    for name, options in STUDIES.items():
        if (save_dir / "bundles" / name / MANIFEST).is_file():
            continue
        messages().print(f"playing: {name}")
        config = EvaluateConfig(save_dir=save_dir / "runs", run_name=name, **options)
        run, _ = evaluate(config)
        submit(run, save_dir / "bundles" / name)
    return save_dir / "bundles"


def forged_bundles(honest: Path, folder: Path) -> Path:
    """Twenty forged copies of a bundle, numbered as :data:`FORGERIES`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, forgery in enumerate(FORGERIES):
        forge(honest, forgery, folder / f"{number:02d}")
    return folder


def to_markdown(honest: Board, forged: Board) -> str:
    """What came of every bundle."""
    return "\n".join(
        [
            "# Boards: honest and forged bundles",
            "",
            "`python -m atari_vlm.proofs.board` plays ten studies of the bundled players, hands them in, forges one of them in "
            "twenty ways, and judges all thirty by playing them again. [The site](board_site/index.html) shows the honest ones.",
            "",
            f"Honest: {len(honest.accepted)} of {len(STUDIES)} accepted. Forged: {len(forged.refused)} of {len(FORGERIES)} "
            "refused.",
            "",
            "## Honest",
            "",
            *table_lines(
                ("Bundle", "Protocol", "Steps", "Held against what"), list(_honest(honest))
            ),
            "",
            "## Forged",
            "",
            "The manifest is made again after each, as a forger would.",
            "",
            *table_lines(("Kind", "What was forged", "Refused because"), list(_forged(forged))),
            "",
            "## Conditions",
            "",
            f"- {hardware()}",
            f"- versions: {', '.join(f'{name} {version}' for name, version in our_versions().items())}",
            "",
        ]
    )


def _honest(board: Board) -> Iterator[tuple[object, ...]]:
    for entry in board.accepted:
        yield (
            entry["bundle"],
            entry["protocol"]["name"],
            entry["steps"],
            "; ".join(entry["checked"]),
        )
    for refused in board.refused:
        yield refused["bundle"], "", "", f"REFUSED: {refused['reason']}"


def _forged(board: Board) -> Iterator[tuple[object, ...]]:
    reasons = {entry["bundle"]: entry["reason"] for entry in board.refused}
    for number, forgery in enumerate(FORGERIES):
        yield forgery.kind, forgery.name, reasons.get(f"{number:02d}", "ACCEPTED")


def prove(config: ProofConfig) -> bool:
    """Whether every honest bundle is accepted and every forged one refused for what was forged; writes the pages."""
    folder = honest_bundles(config.save_dir)
    say = messages().print
    honest = build_board([folder], config.out / "results" / "board_site", say=say)
    copies = forged_bundles(folder / FORGED, config.save_dir / "forged")
    forged = build_board([copies], config.save_dir / "site", say=say)
    atomic_write(config.out / "results" / "board.md", to_markdown(honest, forged))
    reasons = {entry["bundle"]: entry["reason"] for entry in forged.refused}
    right = [f.reason in reasons.get(f"{n:02d}", "") for n, f in enumerate(FORGERIES)]
    return not honest.refused and all(right)


@program
def main(argv: list[str] | None = None) -> int:
    """Prove it and print where the pages are; 1 where anything came out otherwise."""
    config = tyro.cli(ProofConfig, args=argv, description=__doc__)
    proved = prove(config)
    results().print(config.out / "results" / "board.md")
    return 0 if proved else 1


if __name__ == "__main__":
    sys.exit(main())
