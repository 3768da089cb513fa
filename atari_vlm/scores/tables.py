"""Tables of scores as Markdown lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

METRICS = {"mean": "Mean", "median": "Median", "iqm": "IQM", "optimality_gap": "Optimality gap"}


def table_lines(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table; pipes in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    ]


def estimate_cell(estimate: Mapping[str, float], digits: int = 3) -> str:
    """``value [low, high]`` of an :class:`~atari_vlm.scores.statistics.Estimate` as plain data."""
    value, low, high = (f"{estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
}


def latex_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A LaTeX ``tabular`` with the rules of ``booktabs``; what LaTeX reads as commands is escaped."""
    lines = [" & ".join(map(latex_text, line)) + r" \\" for line in (head, *rows)]
    columns = "l" * len(head)
    body = [lines[0], r"\midrule", *lines[1:]]
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]
    )


def latex_text(value: object) -> str:
    """A text as LaTeX shows it verbatim."""
    return "".join(_LATEX.get(character, character) for character in str(value))
