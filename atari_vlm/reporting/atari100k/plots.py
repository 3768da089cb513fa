"""The pictures of the Atari 100k comparison, each as PNG and SVG; equal numbers give equal bytes.

matplotlib (extra ``plots``) is loaded when a picture is drawn; no display is needed.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.reporting.atari100k.cells import MEANS, label
from atari_vlm.reporting.atari100k.compare import Comparison
from atari_vlm.reporting.atari100k.own_plots import own_curves, own_games
from atari_vlm.reporting.atari100k.plot_style import (
    GREY,
    REFERENCE,
    bar,
    colour_of,
    figure_of,
    footer_text,
    intervals_text,
    line_style,
)
from atari_vlm.scores.published import Method
from atari_vlm.scores.tables import METRICS

_STYLE = {
    "svg.hashsalt": "atari100k",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
}
_PNG_DPI = 110


def draw_all(comparison: Comparison) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, PNG and SVG of every plot that the comparison has numbers for."""
    matplotlib = require("matplotlib", "plots")
    for name, draw in _PLOTS.items():
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            figure = draw(comparison)
            if figure is not None:
                yield name, _saved(figure, "png"), _saved(figure, "svg")


def _saved(figure: Any, kind: str) -> bytes:
    file = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(file, format=kind, dpi=_PNG_DPI, metadata=metadata)
    return file.getvalue()


def _aggregates(comparison: Comparison) -> Any:
    rows = comparison.main.rows
    footer = footer_text(
        comparison,
        intervals_text(comparison),
        f"{MEANS} hollow: published means only; their IQM and optimality gap are over means and not ranked.",
    )
    figure = figure_of(10, 1.5 + 0.27 * len(rows), footer)
    figure.suptitle(
        f"Atari 100k, {len(comparison.games)} games, human-normalised",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for y, row in enumerate(rows):
            bar(axes, y, row.aggregates[metric], colour_of(comparison, row.method))
        better = "lower" if metric == "optimality_gap" else "higher"
        axes.set_title(f"{title} ({better} is better)", fontsize=9)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.axhline(
            sum(not row.method.means_only for row in rows) - 0.5, color=GREY, linewidth=0.6
        )
    panels[0].set_yticks(range(len(rows)), [label(row.method) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _draw_profile(axes: Any, comparison: Comparison, method: Method, number: int) -> None:
    """One profile in its band; the reference stands out."""
    profile = comparison.profiles[method.name]
    first = method.name == comparison.config.reference
    colour, dash = (REFERENCE, "-") if first else line_style(number)
    axes.fill_between(
        profile.thresholds, profile.low, profile.high, color=colour, alpha=0.15, linewidth=0
    )
    axes.plot(
        profile.thresholds,
        profile.share,
        color=colour,
        linestyle=dash,
        linewidth=2.4 if first or method.kind == "own" else 1.4,
        label=method.label,
    )


def _profiles(comparison: Comparison) -> Any:
    shown = [
        m for m in comparison.methods if m.name in comparison.profiles and m.kind != "ablation"
    ]
    if not shown:
        return None
    words = "Bands: point by point. Only methods whose runs are known."
    figure = figure_of(9, 5, footer_text(comparison, intervals_text(comparison), words))
    axes = figure.subplots()
    for number, method in enumerate(shown):
        _draw_profile(axes, comparison, method, number)
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        "human", (1, 1), xytext=(3, -8), textcoords="offset points", color=GREY, fontsize=8
    )
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xticks(
        [0, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8],
        ["0", "0.1", "0.25", "0.5", "1", "2", "3", "4", "6", "8"],
    )
    axes.set(
        xlim=(0, 8),
        ylim=(0, 1),
        xlabel="human-normalised score t (square-root scale)",
        ylabel="share of runs above t",
    )
    axes.set_title(f"Performance profiles, {len(comparison.games)} games")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _improvement(comparison: Comparison) -> Any:
    if not comparison.improvements:
        return None
    lines = sorted(
        comparison.improvements,
        key=lambda i: (i.ours.kind == "own", i.ours.name, -i.estimate.value),
    )
    figure = figure_of(
        8.5,
        1.4 + 0.27 * len(lines),
        footer_text(comparison, intervals_text(comparison), "Ties count half."),
    )
    axes = figure.subplots()
    for y, one in enumerate(lines):
        bar(axes, y, one.estimate, colour_of(comparison, one.ours))
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    many = len(comparison.games)
    labels = [
        f"{i.ours.label} over {i.theirs.label}"
        + f" ({len(i.games)} of {many})" * (len(i.games) < many)
        for i in lines
    ]
    axes.set_yticks(range(len(lines)), labels)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(len(lines) - 0.5, -0.5),
        xlabel="probability that a run of the first beats one of the second",
    )
    axes.set_title(f"Probability of improvement, {many} games (in brackets: fewer)")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    return figure


def _per_game(comparison: Comparison) -> Any:
    methods = [row.method for row in comparison.main.rows if row.method.kind != "ablation"]
    methods += [
        m
        for m in comparison.methods
        if m.kind == "own" and m not in methods and set(m.scores) & set(comparison.games)
    ]
    if not methods:
        return None
    values = np.full((len(comparison.games), len(methods)), np.nan)
    for (i, game), (j, method) in itertools.product(
        enumerate(comparison.games), enumerate(methods)
    ):
        if (game, method.name) in comparison.scores:
            values[i, j] = comparison.scores[game, method.name].normalised.value
    figure = figure_of(
        2.6 + 0.62 * len(methods), 2.1 + 0.235 * len(comparison.games), footer_text(comparison)
    )
    axes = figure.subplots()
    norm = require("matplotlib.colors", "plots").SymLogNorm(0.1, vmin=-0.1, vmax=10, base=10)
    image = axes.imshow(np.ma.masked_invalid(values), cmap="viridis", norm=norm, aspect="auto")
    _write_values(axes, values, image.to_rgba(values))
    axes.set_yticks(range(len(comparison.games)), comparison.games)
    axes.set_xticks(
        range(len(methods)),
        [label(m) for m in methods],
        rotation=40,
        ha="left",
        rotation_mode="anchor",
    )
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    scale = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    scale.set_ticks([-0.1, 0, 0.1, 1, 10], labels=["-0.1", "0 random", "0.1", "1 human", "10"])
    axes.set_title("Human-normalised mean score", fontsize=10)
    return figure


def _write_values(axes: Any, values: np.ndarray, colours: np.ndarray) -> None:
    """The numbers in their cells, black or white by the cell's luminance; ``colours`` ``(rows, columns, 4)``."""
    bright = colours[..., :3] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    for (i, j), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:z.2f}" if abs(value) < 9.995 else f"{value:.1f}"
        dark = np.isnan(value) or bright[i, j] > 0.22
        axes.text(
            j, i, text, ha="center", va="center", fontsize=7, color="black" if dark else "white"
        )


_PLOTS: dict[str, Callable[[Comparison], Any]] = {
    "aggregates": _aggregates,
    "profiles": _profiles,
    "improvement": _improvement,
    "per_game": _per_game,
    "own_games": own_games,
    "own_curves": own_curves,
}
PLOT_NAMES = tuple(_PLOTS)
