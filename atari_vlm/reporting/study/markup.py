"""Words, numbers and tables of a study's page as HTML: escaped here, once."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.runs.terminal import shown


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as HTML, its cells escaped, that is scrolled where it is too wide."""
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def text(value: object) -> str:
    """A value as HTML shows it, control codes written out."""
    return html.escape(shown(str(value)))


def number(value: float) -> str:
    """A number with as many digits as it bears."""
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def signed(value: float) -> str:
    """The same with its sign."""
    return f"{value:+.1f}" if abs(value) >= 100 else f"{value:+.3g}"


def estimate(value: Mapping[str, Any] | None) -> str:
    """A value with its interval; ``n/a`` where there is none."""
    if value is None:
        return "n/a"
    words = number(value["value"])
    if value["low"] is None:
        return words
    return f"{words} [{number(value['low'])}, {number(value['high'])}]"


def difference(row: Mapping[str, Any]) -> str:
    """A row's difference with its interval."""
    if row["difference"] is None:
        return "n/a"
    words = signed(row["difference"])
    return words if row["low"] is None else f"{words} [{signed(row['low'])}, {signed(row['high'])}]"


def share(value: float | None) -> str:
    """A share with two digits."""
    return "n/a" if value is None else f"{value:.2f}"


def usd(cost: float | None, unknown: str = "unknown") -> str:
    """Dollars."""
    return unknown if cost is None else "$0" if cost == 0 else f"${cost:.3g}"
