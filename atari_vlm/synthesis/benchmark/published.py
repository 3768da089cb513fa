"""What the benchmark's paper published (arXiv 2405.15383), and where its own tables contradict each other.

``data/cwmb_paper.csv`` holds the paper's tables, one number a row with the table it stands in, and what we derived from them or
counted in the buffers that its repository ships; only numbers were taken.

The normalised returns of tables 10 and 11 should follow from the raw returns of table 12. For numbered actions they do not:
:func:`contradictions` lists where. Comparisons therefore name the table, and the mean values of table 2 are the anchors.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from atari_vlm.errors import UnknownNameError

Row = dict[str, str]
_TOLERANCE = 0.025  # tables round returns to 0.1 and normalised ones to 0.01
_WRITERS = (("Llama 3 70B", "Table 10"), ("GPT-4 Turbo", "Table 11"))


@dataclass(frozen=True)
class Contradiction:
    """A normalised return of GIF-MCTS that is ``published`` in one table and otherwise ``recomputed`` from another."""

    env: str
    model: str
    table: str
    published: float
    recomputed: float


@functools.cache
def published_rows() -> tuple[Row, ...]:
    """Every row of the file, by the names of its columns."""
    text = (resources.files("atari_vlm") / "data" / "cwmb_paper.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def raw_returns(paper_id: str) -> dict[str, float]:
    """Table 12: the mean return of 10 episodes by who played, ``"random policy"`` and ``"oracle planner"`` among them.

    Programs of GIF-MCTS stand under their writer's name. Raises ``UnknownNameError`` for an environment that is not there.
    """
    rows = [row for row in published_rows() if row["metric"] == "raw_return"]
    if paper_id not in {row["env"] for row in rows}:
        raise UnknownNameError("environment of the paper", paper_id, {row["env"] for row in rows})
    return {
        row["model"] or row["method"]: float(row["value"])
        for row in rows
        if row["env"] == paper_id and row["value"] != "N/A"
    }


def recomputed(paper_id: str, model: str) -> float | None:
    """The normalised return of ``model``'s program from the raw returns.

    ``None`` where random play equals the oracle, and where no program of this model could be played.
    """
    returns = raw_returns(paper_id)
    random, oracle = returns["random policy"], returns["oracle planner"]
    if oracle == random or model not in returns:
        return None
    return (returns[model] - random) / (oracle - random)


def contradictions() -> tuple[Contradiction, ...]:
    """Where a published normalised return is not that of the published raw returns, in the order of the tables."""
    return tuple(_contradictions())


def _contradictions() -> Iterator[Contradiction]:
    for model, table in _WRITERS:
        for row in published_rows():
            stands = row["source"].endswith(table) and row["metric"] == "normalized_return"
            if not stands or row["method"] != "GIF-MCTS" or row["value"] == "N/A":
                continue
            ours = recomputed(row["env"], model)
            if ours is not None and abs(ours - float(row["value"])) > _TOLERANCE:
                yield Contradiction(row["env"], model, table, float(row["value"]), ours)
