"""Pictures of our own runs: their games beside published scores, and their returns over the steps played."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.games import game_or_generic
from atari_vlm.reporting.atari100k.cells import label
from atari_vlm.reporting.atari100k.compare import Comparison
from atari_vlm.reporting.atari100k.plot_style import (
    GREY,
    bar,
    colour_of,
    figure_of,
    footer_text,
    intervals_text,
    line_style,
)


def own_games(comparison: Comparison) -> Any:
    """Own scores beside those of every method, game by game; ``None`` where there are none."""
    own = [m for m in comparison.methods if m.kind == "own"]
    games = [game for game in comparison.games if any(game in m.scores for m in own)]
    if not games:
        return None
    others = [
        *comparison.references,
        *(m for m in comparison.methods if m.kind not in ("own", "ablation")),
        *own,
    ]
    columns = min(3, len(games))
    rows = -(-len(games) // columns)
    figure = figure_of(
        1.6 + 3.0 * columns,
        1.0 + rows * (0.6 + 0.2 * len(others)),
        footer_text(comparison, intervals_text(comparison), "Hollow: no interval."),
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, game in zip(panels.flat, games, strict=False):
        for y, method in enumerate(others):
            if (game, method.name) in comparison.scores:
                colour = GREY if method.kind == "reference" else colour_of(comparison, method)
                bar(axes, y, comparison.scores[game, method.name].raw, colour)
        axes.set_title(game)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("mean return")
    for axes in panels.flat[len(games) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_yticks(
            range(len(others)), [label(m) if m.kind != "reference" else m.label for m in others]
        )
        axes.set_ylim(len(others) - 0.5, -0.5)
    return figure


def own_curves(comparison: Comparison) -> Any:
    """The evaluations of own runs, game by game; ``None`` where there are none."""
    games = list(dict.fromkeys(run.game for run in comparison.own if run.curve))
    if not games:
        return None
    columns = min(3, len(games))
    rows = -(-len(games) // columns)
    figure = figure_of(
        1.0 + 3.6 * columns,
        0.9 + 2.7 * rows,
        "Own runs, one line each: mean return of each evaluation.",
    )
    for axes, game in zip(figure.subplots(rows, columns, squeeze=False).flat, games, strict=False):
        _curves(axes, comparison, game)
    for axes in figure.axes[len(games) :]:
        axes.set_visible(False)
    return figure


def _curves(axes: Any, comparison: Comparison, game: str) -> None:
    """The evaluations of the own runs of one game, with levels to compare them to."""
    for number, run in enumerate(run for run in comparison.own if run.game == game and run.curve):
        steps, returns = zip(*run.curve, strict=True)
        colour, dash = line_style(number)
        axes.plot(
            np.divide(steps, 1000),
            returns,
            color=colour,
            linestyle=dash,
            marker=".",
            label=f"{run.method}, seed {run.seed}",
        )
    entry = game_or_generic(game)
    for who, level in (("random", entry.random_score), ("human", entry.human_score)):
        if level is not None:
            axes.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
            axes.annotate(
                who,
                (1, level),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7,
                color=GREY,
            )
    axes.set(title=game, xlabel="steps played, thousands", ylabel="mean return")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=7, ncols=2)
