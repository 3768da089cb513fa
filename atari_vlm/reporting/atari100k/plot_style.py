"""What the pictures of the comparison have in common: colours, dashes, footers, points with their intervals."""

from __future__ import annotations

from typing import Any

from atari_vlm._lazy import require
from atari_vlm.reporting.atari100k.cells import percent_text
from atari_vlm.reporting.atari100k.compare import Comparison
from atari_vlm.scores.published import Method
from atari_vlm.scores.statistics import Estimate

# Okabe and Ito's colours, told apart with any colour vision; dashes tell apart what they cannot.
_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
REFERENCE, _OWN, _OTHERS = "#D55E00", "#009E73", "#0072B2"
_DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
GREY = "#666666"


def figure_of(width: float, height: float, footer: str) -> Any:
    """An empty figure in inches that arranges its own parts above a footer."""
    figure = require("matplotlib.figure", "plots").Figure(
        figsize=(width, height), layout="constrained"
    )
    figure.supxlabel(footer, fontsize=7, color=GREY, x=0.01, ha="left")
    return figure


def footer_text(comparison: Comparison, *more: str) -> str:
    """Where the scores come from, and ``more`` lines."""
    sources = (
        "Scores: atari_vlm/data/*.csv (score files of the methods' repositories)"
        + ", own runs" * bool(comparison.own)
    )
    return "\n".join([f"{sources}.", *more])


def intervals_text(comparison: Comparison) -> str:
    """How the intervals were drawn."""
    config, percent = comparison.config, percent_text(comparison)
    return f"Intervals: {percent} stratified bootstrap over runs, {config.repetitions:,} resamples, seed {config.seed}."


def colour_of(comparison: Comparison, method: Method) -> str:
    """Own methods, the reference and all others differ."""
    if method.kind == "own":
        return _OWN
    return REFERENCE if method.name == comparison.config.reference else _OTHERS


def line_style(number: int) -> tuple[str, Any]:
    """Colour and dashes of the n-th line."""
    return _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]


def bar(axes: Any, y: float, estimate: Estimate, colour: str) -> None:
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
