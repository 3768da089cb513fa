"""Results as files: Markdown to read, CSV and JSON to work with, always with what they rest on."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from atari_vlm.evaluation.results import (
    AgentScore,
    GameScore,
    Results,
    agent_scores,
    all_notes,
    fallback_rate,
    game_scores,
)
from atari_vlm.scores.statistics import Estimate
from atari_vlm.scores.tables import METRICS, table_lines

_HEAD = "Game,Agent,Score [95% interval],Human-normalised,Fallback,Runs,Episodes,Cost".split(",")
_COLUMNS = "game,agent,seed,episodes,score,human_normalised,steps,fallback_rate,cost_usd".split(",")


def to_markdown(results: Results) -> str:
    """Both tables, the conditions and the notes."""
    lines = ["# Evaluation", "", "## Scores per game", ""]
    lines += table_lines(_HEAD, [_game_line(score) for score in game_scores(results)])
    lines += _over_games(results)
    lines += [
        "",
        "## Conditions",
        "",
        *(f"- {name}: {value}" for name, value in results.conditions),
        "- intervals: 95%, stratified bootstrap over runs, 2,000 resamples; a run is one seed of one agent on one game",
        *(f"- note: {note}" for note in all_notes(results)),
    ]
    if results.command:
        lines += ["", "Run it again:", "", f"    {results.command}"]
    return "\n".join([*lines, ""])


def _over_games(results: Results) -> list[str]:
    scores = agent_scores(results)
    if not scores:
        return []
    count = len(scores[0].games)
    title = f"## Over {count} game{'s' * (count > 1)}, human-normalised (random 0, human 1)"
    head = ("Agent", *METRICS.values(), "Fallback", "Cost")
    return ["", title, "", *table_lines(head, [_agent_line(score) for score in scores])]


def to_csv(results: Results) -> str:
    """One line per run."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for run in results.runs:
        normalised = "" if run.normalised is None else repr(run.normalised)
        cost = "" if run.cost_usd is None else repr(run.cost_usd)
        played = (run.game, run.agent, run.seed, len(run.returns), repr(run.score), normalised)
        writer.writerow((*played, run.steps, repr(fallback_rate([run])), cost))
    return table.getvalue()


def to_json(results: Results) -> str:
    """Everything: runs with every episode's return, both tables, conditions, notes, command."""
    content: dict[str, Any] = {
        "runs": [
            {
                **vars(run),
                "returns": list(run.returns),
                "score": run.score,
                "human_normalised": run.normalised,
            }
            for run in results.runs
        ],
        "games": [
            {
                **vars(s),
                "score": s.score.as_dict(),
                "normalised": s.normalised.as_dict() if s.normalised else None,
            }
            for s in game_scores(results)
        ],
        "over_games": [
            {
                **vars(s),
                "aggregates": {name: estimate.as_dict() for name, estimate in s.aggregates.items()},
            }
            for s in agent_scores(results)
        ],
        "conditions": dict(results.conditions),
        "notes": all_notes(results),
        "command": results.command,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _game_line(s: GameScore) -> tuple[object, ...]:
    values = (_number(s.score), _number(s.normalised), f"{s.fallback_rate:.1%}")
    return s.game, s.agent, *values, s.runs, s.episodes, _usd(s.cost_usd)


def _agent_line(s: AgentScore) -> tuple[object, ...]:
    values = (_number(s.aggregates[metric]) for metric in METRICS)
    return s.agent, *values, f"{s.fallback_rate:.1%}", _usd(s.cost_usd)


def _number(estimate: Estimate | None) -> str:
    if estimate is None:
        return "n/a"
    digits = 1 if abs(estimate.value) >= 100 else 3
    value = f"{estimate.value:.{digits}f}"
    return (
        f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
        if estimate.has_interval
        else value
    )


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else "$0" if cost == 0 else f"${cost:.4g}"
