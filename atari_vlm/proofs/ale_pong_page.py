"""The page and the pictures of the proof on ALE Pong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.conditions import hardware
from atari_vlm.experience.replay import Replay
from atari_vlm.files import atomic_write
from atari_vlm.proofs.pictures import frame_strip
from atari_vlm.scores.tables import estimate_cell, table_lines
from atari_vlm.world_models.base import WorldModel

_SHOWN = (1, 5, 10)
_WHO = {
    "sampled": "the model, sampled",
    "likeliest": "the model, likeliest tokens",
    "copy": "copy of the last real frame",
    "median": "median of the training frames",
    "tokenizer": "the real frame through the tokenizer (the model's bound)",
}
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73")


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The results page, one section a seed."""
    seeds = " ".join(str(row["seed"]) for row in rows)
    return (
        "# REM's world model on ALE Pong\n\n"
        f"Made by `python -m atari_vlm.proofs.ale_pong --seeds {seeds}` on one CPU thread: a tokenizer and a world model are\n"
        "trained from about 2,000 recorded steps alone (four frames a step, 64 x 64 pixels, 8 x 8 tokens of 128 codes), and\n"
        "measured on held-out episodes. No policy is trained. Intervals are 95 %, by drawing the segments of the held-out\n"
        "episodes anew; each training seed has its own training data, and all have the same held-out episodes. Settings were\n"
        "chosen with training seed 0 on four other games (seeds 800,001 to 800,004), not on the held-out ones.\n\n"
        + "\n".join(_section(row) for row in rows)
        + "\n![Errors against steps ahead, and training](rem_pong_curves.png)\n\n"
        "Six held-out moments, chosen by a fixed seed (first training seed): the last real frame, then for 1, 5 and 10 steps\n"
        "ahead the real frame and beside it one sampled dream.\n\n![Real and dreamed frames](rem_pong_frames.png)\n\n"
        f"{hardware()}\n"
    )


def _verdict(row: dict[str, Any]) -> str:
    """What the intervals say, in a sentence or two."""
    ahead = [str(k) for k in _SHOWN if row[f"sampled_to_copy/{k}"]["high"] < 1]
    nearer = [
        str(k)
        for k in _SHOWN
        if row[f"changed/sampled/{k}"]["high"] < row[f"changed/median/{k}"]["low"]
    ]
    squared = row["reward_error_to_mean"]["high"] < 1
    blurred = (
        "a copy is nearer: the tokenizer's blur decides"
        if any(row[f"all/copy/{k}"]["value"] < row[f"all/sampled/{k}"]["value"] for k in _SHOWN)
        else "it is nearer as well"
    )
    certain = "" if row["reward_f1"]["low"] > 0 else " (an interval that reaches 0)"
    return (
        f"On changed pixels the sampled model beats the copy at {', '.join(ahead) or 'none'} of {', '.join(map(str, _SHOWN))} "
        f"steps ahead,\nand the training frames' median at {', '.join(nearer) or 'none'}. Over all pixels {blurred}.\n"
        f"Its F1 of rewards is {row['reward_f1']['value']:.2f}{certain} against 0, and its squared error is "
        f"{'below' if squared else 'not surely below'}\nthat of the mean reward. Each verdict needs a whole interval.\n\n"
    )


def _section(row: dict[str, Any]) -> str:
    counts, (gained, lost) = row["counts"], row["training_rewards"]
    seconds = sum(line.get("epoch/cpu_seconds", 0.0) for line in row["lines"])
    return (
        f"## Seed {row['seed']}\n\n"
        f"Training data: {row['training_steps']:,} steps with {gained} of reward +1 and {lost} of -1; "
        f"{seconds:.0f} CPU seconds. Held out: {counts['steps']:,} steps, {counts['segments']}\nsegments, "
        f"{counts['positive_rewards']} of reward +1 and {counts['negative_rewards']} of -1; "
        f"{row['known_frames']:.1%} of its frames also occur in the training data.\n\n"
        + _verdict(row)
        + "| one step ahead | the model | baseline |\n|---|---|---|\n"
        f"| reward F1 (a reward foretold, with its sign) | {estimate_cell(row['reward_f1'])} | 0 (the mean reward, rounded) |\n"
        f"| squared error of the reward | {estimate_cell(row['reward_squared_error'], 4)} | "
        f"{estimate_cell(row['mean_reward_squared_error'], 4)} (always the mean reward) |\n"
        f"| the same as a share of the baseline's | {estimate_cell(row['reward_error_to_mean'])} | 1 |\n"
        f"| right tokens | {estimate_cell(row['token_accuracy'])} | {estimate_cell(row['copy_token_accuracy'])} (copy) |\n"
        f"| right among tokens that changed | {estimate_cell(row['changed_token_accuracy'])} | 0 (copy) |\n\n"
        "Mean absolute difference (0 to 255) from the real frame, so many steps after the last frame that was seen:\n\n"
        + _errors(row, "changed", "on pixels that changed since the last real frame")
        + _ratios(row)
        + "\n"
        + _errors(row, "all", "on all pixels")
    )


def _errors(row: dict[str, Any], where: str, title: str) -> str:
    rows = [
        [words, *(estimate_cell(row[f"{where}/{who}/{k}"], 2) for k in _SHOWN)]
        for who, words in _WHO.items()
    ]
    return "\n".join(table_lines([title, *(f"{k} ahead" for k in _SHOWN)], rows)) + "\n"


def _ratios(row: dict[str, Any]) -> str:
    lines = []
    for who in ("sampled", "likeliest"):
        cells = " | ".join(estimate_cell(row[f"{who}_to_copy/{k}"]) for k in _SHOWN)
        lines.append(f"| {_WHO[who]}, as a share of the copy's error | {cells} |")
    return "\n".join(lines) + "\n"


def write_pictures(
    folder: Path, row: dict[str, Any], model: WorldModel[Any], held_out: Replay
) -> None:
    """``curves.png`` and ``frames.png`` of one seed; ``MissingDependencyError`` without matplotlib."""
    atomic_write(folder / "curves.png", _curves(row))
    atomic_write(folder / "frames.png", frame_strip(model, held_out, 4, _SHOWN))


def _curves(row: dict[str, Any]) -> bytes:
    """Left: error on changed pixels against steps ahead. Right: the world model's training."""
    figure = require("matplotlib.figure", "plots").Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = sorted(int(name.rsplit("/", 1)[1]) for name in row if name.startswith("changed/copy/"))
    for (who, words), colour in zip(_WHO.items(), _COLOURS, strict=True):
        estimates = [row[f"changed/{who}/{k}"] for k in steps]
        left.plot(
            steps,
            [one["value"] for one in estimates],
            color=colour,
            label=words,
            marker="o",
            markersize=3,
        )
        left.fill_between(
            steps,
            [one["low"] for one in estimates],
            [one["high"] for one in estimates],
            color=colour,
            alpha=0.2,
        )
    left.set(xlabel="steps ahead", ylabel="mean absolute difference, changed pixels")
    left.set_ylim(0, 1.4 * left.get_ylim()[1])
    left.legend(fontsize=7, loc="upper center")
    for name, colour in (("world_model/tokens", "#0072B2"), ("tokenizer/perceptual", "#009E73")):
        drawn = [(line["epoch"], line[name]) for line in row["lines"] if name in line]
        right.semilogy(
            [epoch for epoch, _ in drawn], [value for _, value in drawn], color=colour, label=name
        )
    right.set(xlabel="epoch", ylabel="training loss")
    right.legend(fontsize=7)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()
