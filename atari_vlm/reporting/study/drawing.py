"""Drawings of a study's page as SVG: scores with intervals, performance profiles, and an ablation's differences."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atari_vlm.reporting.study.markup import number

_WIDTH, _ROW, _LEFT, _RIGHT = 420, 26, 150, 56  # narrow, so that words can be read on a phone
_PLOT = _WIDTH - _LEFT - _RIGHT
_AXIS = 20
_APART = 28  # of two numbers below an axis
_HEIGHT = 220
COLOURS = 8  # classes c0 to c7 of the style sheet


@dataclass(frozen=True)
class Bar:
    """A value with its interval (``None``: undefined), a name, and what is written beside it."""

    name: str
    value: float
    low: float | None
    high: float | None
    words: str = ""


def bars(rows: Sequence[Bar], title: str) -> str:
    """Values as dots with whiskers, one below the other, over one axis that holds zero."""
    if not rows:
        return ""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _LEFT + (value - low) / span * _PLOT

    bottom = _ROW * len(rows) + 2
    parts = _axis({end: x(end) for end in (low, 0.0, high)}, bottom)
    for place, row in enumerate(rows):
        y = _ROW * place + _ROW / 2
        parts.append(f'<text class="name" x="{_LEFT - 10}" y="{y + 4:.1f}">{_cut(row.name)}</text>')
        if row.low is not None and row.high is not None:
            parts.append(
                f'<line class="whisker" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(f'<circle class="dot" cx="{x(row.value):.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(
            f'<text class="value" x="{_WIDTH - _RIGHT + 10}" y="{y + 4:.1f}">{html.escape(row.words)}</text>'
        )
    return _svg(bottom + _AXIS, title, parts)


def _axis(ends: Mapping[float, float], bottom: float) -> list[str]:
    """Lines at some numbers, lowest first, each with its number where that has room between the outer two."""
    outer = min(ends.values()), max(ends.values())
    parts = []
    for value, x in ends.items():
        parts.append(f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}"/>')
        if x in outer or min(x - outer[0], outer[1] - x) > _APART:
            parts.append(
                f'<text class="tick mid" x="{x:.1f}" y="{bottom + 14}">{number(value)}</text>'
            )
    return parts


@dataclass(frozen=True)
class Curve:
    """A name and its points ``(x, y)``, x rising, y from 0 to 1."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(lines: Sequence[Curve], title: str, axis: str) -> str:
    """Curves over one axis, with a legend."""
    xs = [x for line in lines for x, _ in line.points]
    if not xs:
        return ""
    low, span = min(xs), (max(xs) - min(xs)) or 1.0
    left, top, width, height = 40, 8, _WIDTH - 60, _HEIGHT - 44

    def at(point: tuple[float, float]) -> str:
        return f"{left + (point[0] - low) / span * width:.1f},{top + (1 - point[1]) * height:.1f}"

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = top + (1 - share) * height
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text class="tick end" x="{left - 6}" y="{y + 4:.1f}">{share:.1f}</text>')
    for value in (low, low + span / 2, low + span):
        x = left + (value - low) / span * width
        parts.append(
            f'<text class="tick mid" x="{x:.1f}" y="{top + height + 16}">{value:.2g}</text>'
        )
    parts.append(
        f'<text class="tick mid" x="{left + width / 2:.0f}" y="{_HEIGHT - 6}">{html.escape(axis)}</text>'
    )
    for place, line in enumerate(lines):
        points = " ".join(at(point) for point in line.points)
        parts.append(f'<polyline class="curve c{place % COLOURS}" points="{points}"/>')
    legend = "".join(
        f'<span class="c{place % COLOURS}">{html.escape(line.name)}</span>'
        for place, line in enumerate(lines)
    )
    return f'{_svg(_HEIGHT, title, parts)}<p class="legend">{legend}</p>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title)}">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )


def _cut(name: str, longest: int = 20) -> str:
    return html.escape(name if len(name) <= longest else f"{name[: longest - 1]}…")
