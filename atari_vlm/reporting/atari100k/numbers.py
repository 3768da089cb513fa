"""The numbers of the Atari 100k comparison as CSV and JSON. Six significant digits: equal on every machine."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from atari_vlm.reporting.atari100k.compare import Comparison, Table
from atari_vlm.reporting.atari100k.page import notes
from atari_vlm.reporting.atari100k.run_folders import OwnRun
from atari_vlm.runs.command_line import command_line
from atari_vlm.scores.statistics import Estimate

_INTERVALS = ("value", "low", "high")
_ENDS = ("", "_low", "_high")


def scores_csv(comparison: Comparison) -> str:
    """One line per game and method: mean score and interval, raw and human-normalised; empty where undefined.

    ``runs`` is 0 for a published mean.
    """
    head = (
        "game",
        "method",
        "runs",
        *(f"score{end}" for end in _ENDS),
        *(f"human_normalised{end}" for end in _ENDS),
    )
    rows = [
        (game, name, score.runs, *_cells(score.raw), *_cells(score.normalised))
        for (game, name), score in sorted(comparison.scores.items())
    ]
    return _csv(head, rows)


def aggregates_csv(comparison: Comparison) -> str:
    """One line per set of games, method and metric."""
    rows = [
        (
            len(table.games),
            " ".join(table.games),
            row.method.name,
            "means" if row.method.means_only else "runs",
            *line,
        )
        for table in (comparison.main, *comparison.others)
        for row in table.rows
        for line in [
            *((metric, *_cells(estimate)) for metric, estimate in row.aggregates.items()),
            ("superhuman", row.superhuman, "", ""),
        ]
    ]
    return _csv(("games", "game_names", "method", "over", "metric", *_INTERVALS), rows)


def profiles_csv(comparison: Comparison) -> str:
    """One line per method and threshold: the share of runs above it, and its band."""
    rows = [
        (name, *map(_rounded, point))
        for name, profile in comparison.profiles.items()
        for point in zip(profile.thresholds, profile.share, profile.low, profile.high, strict=True)
    ]
    return _csv(("method", "threshold", "share", "low", "high"), rows)


def to_json(comparison: Comparison) -> str:
    """Everything: settings, methods with their runs, scores, aggregates, probabilities, own runs, notes; but for the profiles."""
    config = comparison.config
    content = {
        "command": command_line(config, config.runs),
        "confidence": config.confidence,
        "repetitions": config.repetitions,
        "seed": config.seed,
        "games": comparison.games,
        "methods": [
            {**vars(m), "scores": dict(m.scores)}
            for m in (*comparison.references, *comparison.methods)
        ],
        "scores": [
            {
                "game": game,
                "method": name,
                "raw": s.raw.as_dict(),
                "normalised": s.normalised.as_dict(),
                "runs": s.runs,
            }
            for (game, name), s in sorted(comparison.scores.items())
        ],
        "over_games": [_table(table) for table in (comparison.main, *comparison.others)],
        "improvements": [
            {"ours": i.ours.name, "theirs": i.theirs.name, "games": i.games, **i.estimate.as_dict()}
            for i in comparison.improvements
        ],
        "own_runs": [_own(run) for run in comparison.own],
        "notes": notes(comparison),
    }
    return json.dumps(_rounded(content), indent=1, allow_nan=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    rows = [
        {
            "method": row.method.name,
            "superhuman": row.superhuman,
            **{metric: estimate.as_dict() for metric, estimate in row.aggregates.items()},
        }
        for row in table.rows
    ]
    return {"games": table.games, "rows": rows}


def _own(run: OwnRun) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(run).items() if name != "settings"},
        "normalised": run.normalised,
    }


def _cells(estimate: Estimate) -> tuple[object, ...]:
    ends = (estimate.low, estimate.high) if estimate.has_interval else ("", "")
    return tuple(_rounded(value) for value in (estimate.value, *ends))


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return table.getvalue()


def _rounded(value: Any) -> Any:
    """Plain JSON data with six significant digits; a number that is not finite is ``None``."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_rounded(item) for item in value]
    if isinstance(value, (bool, int, np.integer)):
        return value if isinstance(value, bool) else int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
