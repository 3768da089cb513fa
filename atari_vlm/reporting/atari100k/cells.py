"""How methods and numbers are written in the tables and pictures of the comparison."""

from __future__ import annotations

from atari_vlm.reporting.atari100k.compare import Comparison
from atari_vlm.scores.published import Method
from atari_vlm.scores.statistics import Estimate

NONE = "–"
MEANS = "†"  # behind methods of which only means are published


def label(method: Method) -> str:
    """The name of a method, marked where it has no interval."""
    return (
        f"{method.label} {MEANS}"
        if method.means_only and method.kind != "reference"
        else method.label
    )


def percent_text(comparison: Comparison) -> str:
    """The confidence of the intervals."""
    return f"{100 * comparison.config.confidence:g} %"


def number_text(value: float) -> str:
    """A raw score: one decimal, or three digits of a small one."""
    return f"{value:,.1f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def raw_text(estimate: Estimate) -> str:
    """A raw score with its interval, if it has one."""
    value = number_text(estimate.value)
    return (
        f"{value} [{number_text(estimate.low)}, {number_text(estimate.high)}]"
        if estimate.has_interval
        else value
    )


def bold_text(text: str, bold: bool) -> str:
    """``text`` in Markdown, bold or not."""
    return f"**{text}**" if bold else text


def stacked_text(estimate: Estimate, bold: bool) -> str:
    """A value above its interval: narrow enough for a table of many columns."""
    value = bold_text(f"{estimate.value:z.2f}", bold)
    return (
        f"{value}<br>{estimate.low:z.2f} to {estimate.high:z.2f}"
        if estimate.has_interval
        else value
    )
