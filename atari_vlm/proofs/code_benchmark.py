"""``python -m atari_vlm.proofs.code_benchmark``: what random play and planning in the real dynamics earn.

Writes code_benchmark.md. A program's normalised return is measured between these two. The page also says where the benchmark's
paper contradicts itself, and which environments are not those of the paper.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from atari_vlm.conditions import hardware, machine
from atari_vlm.ending import program
from atari_vlm.files import atomic_write
from atari_vlm.scores.statistics import aggregate
from atari_vlm.scores.tables import table_lines
from atari_vlm.settings import plain
from atari_vlm.synthesis.benchmark.catalogue import benchmark_ids, find_env
from atari_vlm.synthesis.benchmark.planning import (
    PlanningSettings,
    Played,
    planned_returns,
    random_returns,
)
from atari_vlm.synthesis.benchmark.published import contradictions, raw_returns
from atari_vlm.world_models.environment import EnvironmentWorldModel

ENVS = "Blackjack-v1 CartPole-v1 CliffWalking-v1 Taxi-v4 rtfm".split()
Anchors = dict[str, dict[str, Played]]


@dataclass(frozen=True)
class CodeBenchmarkConfig:
    """What to play."""

    envs: list[str] = field(default_factory=lambda: list(ENVS))
    """names of environments; by default those that take minutes and not hours"""
    episodes: int = 10
    seed: int = 0
    """of the first episode; the others follow"""
    out: Path = Path("docs/results")
    """where code_benchmark.md and .json go"""


def prove(config: CodeBenchmarkConfig, say: Callable[[str], None]) -> int:
    """Play everything and write the page."""
    settings = PlanningSettings(episodes=config.episodes, seed=config.seed)
    anchors: Anchors = {}
    for name in config.envs:
        env = find_env(name).make()
        random = random_returns(env, settings)
        oracle = planned_returns(env, EnvironmentWorldModel(env), settings)
        env.close()
        anchors[name] = {"random": random, "oracle": oracle}
        say(f"{name}: random {_mean(random)}, planner {_mean(oracle)}")
    page = to_markdown(settings, anchors)
    config.out.mkdir(parents=True, exist_ok=True)
    atomic_write(config.out / "code_benchmark.md", page)
    kept = {"settings": plain(settings), "machine": machine(), "returns": plain(anchors)}
    atomic_write(config.out / "code_benchmark.json", json.dumps(kept, indent=1) + "\n")
    print(page)
    return 0


def to_markdown(settings: PlanningSettings, anchors: Anchors) -> str:
    """The page."""
    seeds = f"seeds {settings.seed} to {settings.seed + settings.episodes - 1}"
    lines = [
        "# The benchmark of code world models",
        "",
        f"`python -m atari_vlm.proofs.code_benchmark`: {seeds}, the paper's planners (25 simulations a step; 20 iterations of",
        "1,000 plans of 100 steps, followed to their end). " + hardware(),
        "",
        "## What random play and planning in the real dynamics earn",
        "",
        "Mean return with its 95 % bootstrap interval. A program's normalised return is measured between these two. The paper's",
        "own numbers (table 12, 10 episodes) stand beside them; its planner has other details, and Gymnasium another version.",
        "",
        *table_lines(
            ("environment", "random", "planner", "random (paper)", "planner (paper)"),
            [_row(name, played) for name, played in anchors.items()],
        ),
        "",
        "## Where the paper contradicts itself",
        "",
        "R should follow from the raw returns: (program - random) / (planner - random). These published values do not; all",
        "others agree within 0.025. R is undefined for MountainCar and Acrobot, whose planner earned what random play did.",
        "",
        *table_lines(
            ("environment", "writer", "table", "R published", "R of table 12"),
            [
                (
                    each.env,
                    each.model,
                    each.table,
                    f"{each.published:.2f}",
                    f"{each.recomputed:.2f}",
                )
                for each in contradictions()
            ],
        ),
        "",
        "## Environments that are not the paper's",
        "",
        *table_lines(("here", "in the paper", "what differs"), list(_others())),
        "",
    ]
    return "\n".join(lines)


def _row(name: str, played: dict[str, Played]) -> Sequence[str]:
    paper_id = find_env(name).paper_id
    paper = {} if paper_id is None else raw_returns(paper_id)
    known = [
        f"{paper[who]:g}" if who in paper else "" for who in ("random policy", "oracle planner")
    ]
    return (name, _mean(played["random"]), _mean(played["oracle"]), *known)


def _mean(played: Played) -> str:
    return str(aggregate({"env": played.returns}, "mean"))


def _others() -> list[tuple[Any, ...]]:
    found = [find_env(name) for name in benchmark_ids()]
    return [(env.env_id, env.paper_id, env.note) for env in found if env.note]


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    name = "python -m atari_vlm.proofs.code_benchmark"
    config = tyro.cli(CodeBenchmarkConfig, args=argv, prog=name, description=__doc__)
    return prove(config, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
