"""``python -m atari_vlm.proofs.code_planning``: does planning in a program pay in the real game? Writes code_planning.md.

A tree search in a program of CartPole-v1 and the cross-entropy method in one of Pendulum-v1 play gymnasium's own games, and
these alone say what was earned. The programs are the true dynamics, written by hand and run in the sandbox; they are held
against the same planner with the same seeds in a copy of the game itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro

from atari_vlm.agents.base import Agent
from atari_vlm.agents.planners import CEMAgent, MCTSAgent
from atari_vlm.agents.simple import RandomAgent
from atari_vlm.bench.code_programs import CART_POLE, PENDULUM
from atari_vlm.conditions import machine
from atari_vlm.ending import program
from atari_vlm.files import atomic_write
from atari_vlm.planning.cross_entropy import CEMConfig
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.runs.rollout import play_episode
from atari_vlm.scores.statistics import aggregate
from atari_vlm.world_models.base import WorldModel
from atari_vlm.world_models.code.model import CodeWorldModel
from atari_vlm.world_models.environment import EnvironmentWorldModel

SEARCH = MCTSConfig(num_simulations=25, depth=30, rollout_steps=30, batch_size=1)
SHOOT = CEMConfig(horizon=20, population=64, elites=8, iterations=3, keep_elites=0.3)
PROGRAMS = {"CartPole-v1": CART_POLE, "Pendulum-v1": PENDULUM}
PLAYERS = ("program", "real", "random")
GOAL, MARGIN = 195.0, 0.1  # of CartPole's mean return; of Pendulum's, relative to the real dynamics
Returns = dict[tuple[str, str], list[float]]


@dataclass(frozen=True)
class CodePlanningConfig:
    """What to play."""

    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    steps: int = 500
    """at most so many steps an episode; gymnasium cuts Pendulum at 200 and CartPole at 500"""
    out: Path = Path("docs/results")
    """where code_planning.md and .json go"""


def program_of(game: str) -> CodeWorldModel:
    """The program of a game as a model."""
    env = gymnasium.make(game)
    return CodeWorldModel(
        PROGRAMS[game], observation_space=env.observation_space, action_space=env.action_space
    )


def play(game: str, player: str, seeds: Sequence[int], steps: int) -> list[float]:
    """The returns of an episode for each seed."""
    returns = []
    with program_of(game) as model:
        for seed in seeds:
            env = gymnasium.make(game)
            agent = make_agent(player, model if player == "program" else EnvironmentWorldModel(env))
            returns.append(play_episode(env, agent, seed=seed, max_steps=steps).episode_return)
            env.close()
    return returns


def make_agent(player: str, model: WorldModel[Any]) -> Agent:
    """Who plays: a search in the model, of trees for discrete actions; or nobody's plan."""
    if player == "random":
        return RandomAgent(action_space=model.action_space)
    if isinstance(model.action_space, gymnasium.spaces.Discrete):
        return MCTSAgent(model, SEARCH)
    return CEMAgent(model, SHOOT)


def verdicts(returns: Returns) -> list[tuple[str, bool]]:
    """What was to be shown, in a sentence each, and whether it was."""
    cart_pole = float(np.mean(returns["CartPole-v1", "program"]))
    ours, real = (float(np.mean(returns["Pendulum-v1", player])) for player in ("program", "real"))
    gap = abs(ours - real) / abs(real)
    return [
        (
            f"MCTS in the CartPole program earns {cart_pole:.1f}, at least {GOAL:g}",
            cart_pole >= GOAL,
        ),
        (
            f"CEM in the Pendulum program earns {gap:.2%} off the real dynamics, at most {MARGIN:.0%}",
            gap <= MARGIN,
        ),
    ]


def to_markdown(config: CodePlanningConfig, returns: Returns) -> str:
    """The page."""
    info, seeds = machine(), ", ".join(map(str, config.seeds))
    lines = [
        "# Planning in programs",
        "",
        f"`python -m atari_vlm.proofs.code_planning`: seeds {seeds}, at most {config.steps} steps an episode.",
        f"{info['cpu']}, Python {info['python']}, gymnasium {info['versions'].get('gymnasium')}.",
        "",
        f"- CartPole-v1: `{SEARCH}`, the tree kept from step to step",
        f"- Pendulum-v1: `{SHOOT}`, planned anew at every step",
        "- program: the true dynamics written by hand, every step of it in the sandbox; real: the same planner and seeds in",
        "  a copy of the game itself; random: uniform actions",
        "",
        "Mean return with its 95 % bootstrap interval. How long a step in a program takes: [bench code](bench_code.md).",
        "",
        "| game | " + " | ".join(PLAYERS) + " |",
        "|---|" + "---|" * len(PLAYERS),
    ]
    for game in PROGRAMS:
        cells = (str(aggregate(np.array(returns[game, p])[:, None], "mean")) for p in PLAYERS)
        lines.append(f"| {game} | {' | '.join(cells)} |")
    lines += [
        "",
        *(f"- {text}: {'yes' if shown else '**no**'}" for text, shown in verdicts(returns)),
        "",
    ]
    return "\n".join(lines)


def prove(config: CodePlanningConfig, say: Callable[[str], None]) -> int:
    """Play everything and write the page; 0 when all was shown, 3 when not."""
    returns: Returns = {}
    for game in PROGRAMS:
        for player in PLAYERS:
            returns[game, player] = play(game, player, config.seeds, config.steps)
            say(f"{game} {player}: mean {np.mean(returns[game, player]):.1f}")
    page = to_markdown(config, returns)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "code_planning.md").write_text(page)
    rows = [
        {"game": game, "player": player, "returns": got} for (game, player), got in returns.items()
    ]
    kept = {"seeds": config.seeds, "steps": config.steps, "machine": machine(), "rows": rows}
    atomic_write(config.out / "code_planning.json", json.dumps(kept, indent=1) + "\n")
    print(page)
    return 0 if all(shown for _, shown in verdicts(returns)) else 3


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    name = "python -m atari_vlm.proofs.code_planning"
    config = tyro.cli(CodePlanningConfig, args=argv, prog=name, description=__doc__)
    return prove(config, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
