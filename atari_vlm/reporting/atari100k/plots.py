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
from atari_vlm.games import game_or_generic
from atari_vlm.reporting.atari100k.compare import Comparison
from atari_vlm.reporting.atari100k.page import MEANS
from atari_vlm.scores.published import Method
from atari_vlm.scores.statistics import Estimate
from atari_vlm.scores.tables import METRICS

# Okabe and Ito's colours, told apart with any colour vision; dashes tell apart what they cannot.
_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_REFERENCE, _OWN, _OTHERS = "#D55E00", "#009E73", "#0072B2"
_DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
_GREY = "#666666"
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


def _figure(width: float, height: float, footer: str) -> Any:
    """An empty figure in inches that arranges its own parts above a footer."""
    figure = require("matplotlib.figure", "plots").Figure(
        figsize=(width, height), layout="constrained"
    )
    figure.supxlabel(footer, fontsize=7, color=_GREY, x=0.01, ha="left")
    return figure


def _footer(comparison: Comparison, *more: str) -> str:
    sources = (
        "Scores: atari_vlm/data/*.csv (score files of the methods' repositories)"
        + ", own runs" * bool(comparison.own)
    )
    return "\n".join([f"{sources}.", *more])


def _intervals(comparison: Comparison) -> str:
    config = comparison.config
    percent = f"{100 * config.confidence:g} %"
    return f"Intervals: {percent} stratified bootstrap over runs, {config.repetitions:,} resamples, seed {config.seed}."


def _name(method: Method) -> str:
    return f"{method.label} {MEANS}" if method.means_only else method.label


def _colour(comparison: Comparison, method: Method) -> str:
    if method.kind == "own":
        return _OWN
    return _REFERENCE if method.name == comparison.config.reference else _OTHERS


def _line_style(number: int) -> tuple[str, Any]:
    """Colour and dashes of the n-th line."""
    return _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]


def _bar(axes: Any, y: float, estimate: Estimate, colour: str) -> None:
    """A point with its interval, lying down; hollow where there is none."""
    if estimate.has_interval:
        axes.plot(
            [estimate.low, estimate.high],
            [y, y],
            color=colour,
            linewidth=5,
            alpha=0.35,
            solid_capstyle="butt",
        )
    axes.plot(
        [estimate.value],
        [y],
        "o",
        color=colour,
        markersize=5,
        markerfacecolor=colour if estimate.has_interval else "white",
    )


def _aggregates(comparison: Comparison) -> Any:
    rows = comparison.main.rows
    footer = _footer(
        comparison,
        _intervals(comparison),
        f"{MEANS} hollow: published means only; their IQM and optimality gap are over means and not ranked.",
    )
    figure = _figure(10, 1.5 + 0.27 * len(rows), footer)
    figure.suptitle(
        f"Atari 100k, {len(comparison.games)} games, human-normalised",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for y, row in enumerate(rows):
            _bar(axes, y, row.aggregates[metric], _colour(comparison, row.method))
        better = "lower" if metric == "optimality_gap" else "higher"
        axes.set_title(f"{title} ({better} is better)", fontsize=9)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.axhline(
            sum(not row.method.means_only for row in rows) - 0.5, color=_GREY, linewidth=0.6
        )
    panels[0].set_yticks(range(len(rows)), [_name(row.method) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _profiles(comparison: Comparison) -> Any:
    shown = [
        m for m in comparison.methods if m.name in comparison.profiles and m.kind != "ablation"
    ]
    if not shown:
        return None
    figure = _figure(
        9,
        5,
        _footer(
            comparison,
            _intervals(comparison),
            "Bands: point by point. Only methods whose runs are known.",
        ),
    )
    axes = figure.subplots()
    for number, method in enumerate(shown):
        profile, first = (
            comparison.profiles[method.name],
            method.name == comparison.config.reference,
        )
        colour, dash = (_REFERENCE, "-") if first else _line_style(number)
        axes.fill_between(
            profile.thresholds, profile.low, profile.high, color=colour, alpha=0.15, linewidth=0
        )
        wide = 2.4 if first or method.kind == "own" else 1.4
        axes.plot(
            profile.thresholds,
            profile.share,
            color=colour,
            linestyle=dash,
            linewidth=wide,
            label=method.label,
        )
    axes.axvline(1, color=_GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        "human", (1, 1), xytext=(3, -8), textcoords="offset points", color=_GREY, fontsize=8
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
    figure = _figure(
        8.5,
        1.4 + 0.27 * len(lines),
        _footer(comparison, _intervals(comparison), "Ties count half."),
    )
    axes = figure.subplots()
    for y, one in enumerate(lines):
        _bar(axes, y, one.estimate, _colour(comparison, one.ours))
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
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
    figure = _figure(
        2.6 + 0.62 * len(methods), 2.1 + 0.235 * len(comparison.games), _footer(comparison)
    )
    axes = figure.subplots()
    norm = require("matplotlib.colors", "plots").SymLogNorm(0.1, vmin=-0.1, vmax=10, base=10)
    image = axes.imshow(np.ma.masked_invalid(values), cmap="viridis", norm=norm, aspect="auto")
    _write_values(axes, values, image.to_rgba(values))
    axes.set_yticks(range(len(comparison.games)), comparison.games)
    axes.set_xticks(
        range(len(methods)),
        [_name(m) for m in methods],
        rotation=40,
        ha="left",
        rotation_mode="anchor",
    )
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_ticks([-0.1, 0, 0.1, 1, 10], labels=["-0.1", "0 random", "0.1", "1 human", "10"])
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


def _own_games(comparison: Comparison) -> Any:
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
    figure = _figure(
        1.6 + 3.0 * columns,
        1.0 + rows * (0.6 + 0.2 * len(others)),
        _footer(comparison, _intervals(comparison), "Hollow: no interval."),
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, game in zip(panels.flat, games, strict=False):
        for y, method in enumerate(others):
            if (game, method.name) in comparison.scores:
                colour = _GREY if method.kind == "reference" else _colour(comparison, method)
                _bar(axes, y, comparison.scores[game, method.name].raw, colour)
        axes.set_title(game)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("mean return")
    for axes in panels.flat[len(games) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_yticks(
            range(len(others)), [_name(m) if m.kind != "reference" else m.label for m in others]
        )
        axes.set_ylim(len(others) - 0.5, -0.5)
    return figure


def _own_curves(comparison: Comparison) -> Any:
    games = list(dict.fromkeys(run.game for run in comparison.own if run.curve))
    if not games:
        return None
    columns = min(3, len(games))
    rows = -(-len(games) // columns)
    figure = _figure(
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
        colour, dash = _line_style(number)
        axes.plot(
            np.divide(steps, 1000),
            returns,
            color=colour,
            linestyle=dash,
            marker=".",
            label=f"{run.method}, seed {run.seed}",
        )
    entry = game_or_generic(game)
    for label, level in (("random", entry.random_score), ("human", entry.human_score)):
        if level is not None:
            axes.axhline(level, color=_GREY, linewidth=0.8, linestyle=":")
            axes.annotate(
                label,
                (1, level),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7,
                color=_GREY,
            )
    axes.set(title=game, xlabel="steps played, thousands", ylabel="mean return")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=7, ncols=2)


_PLOTS: dict[str, Callable[[Comparison], Any]] = {
    "aggregates": _aggregates,
    "profiles": _profiles,
    "improvement": _improvement,
    "per_game": _per_game,
    "own_games": _own_games,
    "own_curves": _own_curves,
}
PLOT_NAMES = tuple(_PLOTS)
