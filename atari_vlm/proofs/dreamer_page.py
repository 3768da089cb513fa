"""The page and the picture of the proof that a Dreamer learns small games."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from atari_vlm.conditions import hardware
from atari_vlm.proofs.pictures import curves
from atari_vlm.scores.statistics import aggregate
from atari_vlm.scores.tables import table_lines

_HEAD = (
    "seed",
    "return",
    "best before",
    "CPU seconds",
    "seconds to the goal",
    "steps to the goal",
    "steps",
)


def to_markdown(
    command: str,
    game: Any,
    rows: list[dict[str, Any]],
    beside: list[dict[str, Any]],
    more: str = "",
) -> tuple[str, bool]:
    """The results page, and whether every seed reached the goal and was still there at its end; ``more`` stands in it too."""
    returns = np.array([row["return"] for row in rows])
    reached = [
        row["return"] >= game.goal and row["cpu_seconds"] <= game.cpu_seconds for row in rows
    ]
    page = (
        f"# A Dreamer learns {game.title}\n\n"
        f"`{game.id}`, preset `{game.preset}` with `{json.dumps(game.changes)}`, one CPU thread, made by\n"
        f"`python -m atari_vlm.proofs.dreamer {command}`.\n\n"
        f"Mean return over {len(rows)} seed(s): **{returns.mean():.4g}**{interval(returns)}. A seed's return is the mean of "
        f"{game.games} real games on seeds that\nwere never trained on, with the weights of the run's end, whatever came before. "
        f"The goal is {game.goal:g} within {game.cpu_seconds:.0f} CPU seconds,\nand still at their end: {sum(reached)} of "
        f"{len(rows)} seed(s) reached it. Settings were chosen while looking at runs of seed(s) "
        f"{', '.join(map(str, game.looked_at))}.{_stopped(command)}\n\n"
        + "\n".join(table_lines(_HEAD, [_row(row, game) for row in rows]))
        + "\n\n`best before` is the best evaluation while training, `seconds to the goal` and `steps to the goal` (of the "
        "game) are when one first reached it.\n"
        + _of_ppo(game, beside)
        + more
        + f"\n![Return against CPU seconds and steps](dreamer_{command.split()[1].replace('-', '_')}.png)\n\n{hardware()}\n"
    )  # fmt: skip
    return page, all(reached)


def _stopped(command: str) -> str:
    if "--epochs" not in command:
        return ""
    return (
        "\nThe runs were stopped early (`--epochs`): whether the player is still there when the time is over is not shown. The "
        "same command\nwithout `--epochs` goes on with them."
    )


def plot(
    game: Any,
    rows: list[dict[str, Any]],
    beside: list[dict[str, Any]],
    blind: list[dict[str, Any]] | None = None,
) -> bytes:
    """PNG: returns of the evaluations against CPU seconds and against steps, and the reconstruction, a line per seed."""
    names = [f"seed {row['seed']}" for row in rows]
    names += [f"without language, seed {row['seed']}" for row in blind or []]
    rows = [*rows, *(blind or [])]
    by_seconds = [[(at, value) for _, at, value in row["curve"]] for row in rows]
    by_steps = [[(steps, value) for steps, _, value in row["curve"]] for row in rows]
    lines = dict(zip(names, by_steps, strict=True))
    lines |= {
        f"PPO, seed {row['seed']}": [tuple(point) for point in row["curve"]] for row in beside
    }
    told = {"y": "return in the real game", "goal": game.goal}
    losses = {name: row["losses"] for name, row in zip(names, rows, strict=True)}
    return curves(
        [
            {"lines": dict(zip(names, by_seconds, strict=True)), "x": "CPU seconds", **told},
            {"lines": lines, "x": "steps of the game", **told},
            {"lines": losses, "x": "CPU seconds", "y": "reconstruction loss", "log": True},
        ]
    )


def _row(row: dict[str, Any], game: Any) -> list[str]:
    first = next((point for point in row["curve"] if point[2] >= game.goal), None)
    steps, seconds = (f"{first[0]:,}", f"{first[1]:.0f}") if first else ("never", "never")
    best = max(value for _, _, value in row["curve"])
    spent = f"{row['cpu_seconds']:.0f}"
    return [str(row["seed"]), f"{row['return']:.4g}", f"{best:.4g}", spent, seconds, steps, f"{row['steps']:,}"]  # fmt: skip


def _of_ppo(game: Any, beside: list[dict[str, Any]]) -> str:
    if not beside:
        return ""
    steps = [
        next((f"{at:,}" for at, value in row["curve"] if value >= game.goal), "never")
        for row in beside
    ]
    told = ", ".join(f"{at} (seed {row['seed']})" for at, row in zip(steps, beside, strict=True))
    return f"\nstable-baselines3's PPO with its own defaults first reached {game.goal:g} after so many steps: {told}.\n"


def interval(returns: np.ndarray) -> str:
    """A 95 % interval of their mean from seeds by the bootstrap, as words; none for fewer than three."""
    if len(returns) < 3:
        return " (too few seeds for an interval)"
    estimate = aggregate(returns[:, None], "mean")
    return f" [{estimate.low:.4g}, {estimate.high:.4g}] (95 %, bootstrap over seeds)"
