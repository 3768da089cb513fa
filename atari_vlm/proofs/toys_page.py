"""The page and the pictures of the proof that REM learns toy games in imagination."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from atari_vlm.conditions import hardware
from atari_vlm.proofs.pictures import curves
from atari_vlm.scores.statistics import aggregate
from atari_vlm.scores.tables import estimate_cell, table_lines

GOAL, CPU_SECONDS = 0.9, 900.0  # share of the optimum, within 15 CPU minutes
_HEAD = ("seed", "return", "best before", "CPU seconds", f"seconds to {GOAL:g}", "real steps")
_COLUMNS = {
    "reward F1": "reward_f1",
    "end F1": "end_f1",
    "right tokens": "token_accuracy",
    "copy": "copy_token_accuracy",
    "right among changed": "changed_token_accuracy",
}


def to_markdown(game: str, toy: Any, rows: list[dict[str, Any]]) -> tuple[str, bool]:
    """The results page, and whether every seed reached the goal."""
    name, seeds = f"rem_{game.replace('-', '_')}", " ".join(str(row["seed"]) for row in rows)
    returns = np.array([row["return"] for row in rows])
    reached = [
        row["return"] >= GOAL * toy.optimum and row["cpu_seconds"] <= CPU_SECONDS for row in rows
    ]
    page = (
        f"# REM learns {toy.title} in imagination\n\n"
        f"{toy.title[0].upper() + toy.title[1:]} ({toy.size}; optimum {toy.optimum:g}), preset `tiny`"
        f"{_changed(toy.changes)}, one CPU thread, made by\n"
        f"`python -m atari_vlm.proofs.toys --game {game} --seeds {seeds}`.\n\n"
        f"Mean return over {len(rows)} seed(s): **{returns.mean():.3f}**{_interval(returns)}. A seed's return is the mean of "
        "200 real games on\nseeds that were never trained on, at temperature 0.5. The policy learned from imagined games "
        f"only. The goal is {GOAL:g} of the\noptimum within {CPU_SECONDS:.0f} CPU seconds: {sum(reached)} of {len(rows)} "
        "seed(s) reached it.\n"
        f"Settings were chosen while looking at runs of seeds {', '.join(map(str, toy.looked_at))}; no other seed was seen "
        "before.\n\n"
        + "\n".join(table_lines(_HEAD, [_row(row, toy.optimum) for row in rows]))
        + f"\n\n`best before` is the best evaluation while training (50 games), `seconds to {GOAL:g}` when an evaluation first "
        f"reached {GOAL:g} of\nthe optimum, `real steps` what was played to learn from.\n\n"
        f"![Return and loss against CPU seconds]({name}.png)\n\n"
        "## The world model on held-out games\n\n"
        "100 further games, every second by random actions, the others by the trained policy with three of ten actions random.\n"
        "One step ahead of real frames; intervals (95 %) from drawing the segments of the games anew:\n\n"
        + "\n".join(table_lines(["seed", *_COLUMNS], [_measured(row) for row in rows]))
        + "\n\n`copy` says that the last frame's tokens come again. Mean absolute difference (0 to 255) from the real frame on "
        "the pixels\nthat changed since the last real frame, so many steps ahead without seeing another frame:\n\n"
        + _errors(rows, toy.ahead)
        + f"\nSix held-out moments, chosen by a fixed seed (training seed {rows[0]['seed']}): the last real frame, then for "
        f"{' and '.join(str(k) for k in toy.ahead)} step(s) ahead the real\nframe and beside it one sampled dream.\n\n"
        f"![Real and dreamed frames]({name}_frames.png)\n\n"
        f"{hardware()}\n"
    )  # fmt: skip
    return page, all(reached)


def _changed(changes: dict[str, Any]) -> str:
    return f" with {json.dumps(changes)}" if changes else ""


def plot(toy: Any, rows: list[dict[str, Any]]) -> bytes:
    """PNG: returns of the evaluations and the world model's loss against CPU seconds, a line per seed."""
    returns = {
        f"seed {row['seed']}": [(at, value) for _, at, value in row["curve"]] for row in rows
    }
    losses = {f"seed {row['seed']}": row["losses"] for row in rows}
    played = {
        "lines": returns,
        "x": "CPU seconds",
        "y": "return in the real game",
        "goal": GOAL * toy.optimum,
    }
    return curves(
        [
            played,
            {
                "lines": losses,
                "x": "CPU seconds",
                "y": "token loss of the world model",
                "log": True,
            },
        ]
    )


def _row(row: dict[str, Any], optimum: float) -> list[str]:
    best = max(value for _, _, value in row["curve"])
    first = next((f"{at:.0f}" for _, at, value in row["curve"] if value >= GOAL * optimum), "never")
    seconds, steps = f"{row['cpu_seconds']:.0f}", f"{row['steps']:,}"
    return [str(row["seed"]), f"{row['return']:.3f}", f"{best:.2f}", seconds, first, steps]


def _measured(row: dict[str, Any]) -> list[str]:
    return [str(row["seed"]), *(estimate_cell(row[key]) for key in _COLUMNS.values())]


def _errors(rows: list[dict[str, Any]], ahead: tuple[int, ...]) -> str:
    who = ("sampled", "likeliest", "copy", "tokenizer")
    names = [f"{one}, {k}" for k in ahead for one in who]
    errors = [
        [f"{row[f'changed/{one}/{k}']['value']:.1f}" for k in ahead for one in who] for row in rows
    ]
    lines = table_lines(
        ["seed", *names], [[row["seed"], *cells] for row, cells in zip(rows, errors, strict=True)]
    )
    words = "`sampled` and `likeliest` are the model's dreams, `copy` the last real frame, `tokenizer` the real frame"
    return "\n".join(lines) + f"\n\n{words} encoded and\ndecoded (the model's bound).\n"


def _interval(returns: np.ndarray) -> str:
    """A 95 % interval from seeds by the bootstrap; none for fewer than three."""
    if len(returns) < 3:
        return " (too few seeds for an interval)"
    estimate = aggregate(returns[:, None], "mean")
    return f" [{estimate.low:.3f}, {estimate.high:.3f}] (95 %, bootstrap over seeds)"
