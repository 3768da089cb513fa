"""Perception beside scores: the rows of ``perceive`` runs put into a study's folder, where its page shows them.

Both folders may be a stranger's: only numbers and words are taken from them, and nothing of them is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.evaluation.compare import read_study
from atari_vlm.evaluation.perception.scores import to_csv, to_markdown
from atari_vlm.files import atomic_write
from atari_vlm.reporting.study.perceived import FILE, Perceived, perceived


def put_beside(study: str | Path, runs: Sequence[str | Path]) -> list[Mapping[str, Any]]:
    """Write perception.json, .csv and .md of the study's agents, by label, into its folder; the rows.

    Agents that the study does not have are left out, and named. Raises ``ConfigError`` for a folder without tables and where
    no agent is the study's, ``MismatchError`` for another model under the same label and for one agent and game twice.
    """
    folder = Path(study)
    agents = read_study(folder).agents
    found = [(Path(run), _rows_of(Path(run))) for run in runs]
    rows: dict[tuple[str, str], Mapping[str, Any]] = {}
    for run, read in found:
        for row in read.rows:
            if row["agent"] in agents:
                _check_model(row, agents[row["agent"]], run, folder)
                if rows.setdefault((row["agent"], row["game"]), row) != row:
                    raise MismatchError(
                        f"{row['agent']} was asked about {row['game']} in more than one of the runs; give one of them"
                    )
    asked = list(dict.fromkeys(row["agent"] for _, read in found for row in read.rows))
    if not rows:
        raise ConfigError(
            f"none of the agents that were asked ({', '.join(asked)}) plays in {folder} ({', '.join(agents)}): "
            "an agent has the same label in both"
        )
    chosen = list(rows.values())
    left_out = [agent for agent in asked if agent not in agents]
    _write(folder, chosen, _conditions(found, left_out))
    return chosen


def _rows_of(run: Path) -> Perceived:
    read = perceived(run)
    if not read.rows:
        raise ConfigError(
            f"{run} holds no rows of {FILE}: it is no run of perceive, or has not ended"
        )
    return read


def _check_model(row: Mapping[str, Any], facts: Mapping[str, Any], run: Path, folder: Path) -> None:
    seen, playing = (
        {name for name in str(words or "").split(" | ") if name}
        for words in (row["model"], facts.get("model_served"))
    )
    if seen and playing and not seen & playing:
        raise MismatchError(
            f"{row['agent']} is {' | '.join(sorted(seen))} in {run} and {' | '.join(sorted(playing))} in {folder}: two models "
            "of one label"
        )


def _conditions(found: Sequence[tuple[Path, Perceived]], left_out: Sequence[str]) -> dict[str, str]:
    several = len(found) > 1
    words = {
        f"{run.name}: {name}" if several else name: value
        for run, read in found
        for name, value in read.conditions.items()
    }
    missing = {"not in this study": ", ".join(left_out)} if left_out else {}
    return {"runs": ", ".join(run.name for run, _ in found), **words, **missing}


def _write(folder: Path, rows: Sequence[Mapping[str, Any]], conditions: Mapping[str, str]) -> None:
    content = {"rows": rows, "conditions": conditions}
    atomic_write(folder / FILE, json.dumps(content, indent=1) + "\n")
    atomic_write(folder / "perception.csv", to_csv(rows))
    atomic_write(folder / "perception.md", to_markdown(rows, tuple(conditions.items())))
