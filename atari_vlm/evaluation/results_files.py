"""Results as files: Markdown and LaTeX to read, CSV and JSON to work with, always with what they rest on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.evaluation.pairing import ABLATION, PAIRED, ablation_rows, paired_rows
from atari_vlm.evaluation.results import (
    AgentScore,
    GameScore,
    Results,
    agent_scores,
    all_notes,
    game_scores,
)
from atari_vlm.files import atomic_write
from atari_vlm.scores.statistics import Estimate
from atari_vlm.scores.tables import METRICS, latex_table, table_lines

_HEAD = "Game,Agent,Score [95% interval],Human-normalised,Fallback,Runs,Episodes,Cost".split(",")
COLUMNS = (
    "game,agent,model,model_served,base_url,seed,episodes,score,human_normalised,truncated,steps,calls,"
    "input_tokens,output_tokens,fallback_rate,cost_usd"
).split(",")
EPISODES = "game,agent,seed,episode,return,length,terminated,truncated".split(",")
_PAIRED_HEAD = "Game,A,B,Pairs,A - B [95% interval],P(A better)".split(",")
_ABLATION_HEAD = (
    "Game,Agent,Factor,Condition,Pairs,Score,Against base [95% interval],Cost,Latency".split(",")
)


def write_results(folder: Path, results: Results, episodes: Sequence[Mapping[str, Any]]) -> None:
    """Write every table of a study: results, episodes, pairs and, where there was one, the ablation."""
    files = {
        "results.md": to_markdown(results),
        "results.tex": to_latex(results),
        "results.csv": to_csv(results),
        "results.json": to_json(results),
        "episodes.csv": csv_text(EPISODES, episodes),
        "paired.csv": csv_text(PAIRED, paired_rows(results)),
    }
    if results.ablation:
        files["ablation.csv"] = csv_text(ABLATION, ablation_rows(results))
    for name, text in files.items():
        atomic_write(folder / name, text)


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under columns; ``None`` is empty but for a condition, numbers read back as they were."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(column, row[column]) for column in columns] for row in rows)
    return table.getvalue()


def _cell(column: str, value: Any) -> str:
    if column == "condition":
        return condition_word(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def condition_word(value: Any) -> str:
    """An option's value as it is written in a spec."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_csv(results: Results) -> str:
    """One line per run of the study itself."""
    return csv_text(COLUMNS, [run.as_row() for run in results.runs])


def to_markdown(results: Results) -> str:
    """All tables, the conditions and the notes."""
    lines = ["# Evaluation", ""]
    if results.protocol:
        name, version = results.protocol["name"], results.protocol["version"]
        lines += [f"Protocol: {name}, version {version}", ""]
    lines += ["## Scores per game", ""]
    lines += table_lines(_HEAD, [_game_line(score) for score in game_scores(results)])
    lines += _over_games(results)
    lines += _pairs(results)
    lines += _ablation(results)
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


def _pairs(results: Results) -> list[str]:
    """Each pair once, the later agent against the earlier."""
    order = results.agents
    rows = [row for row in paired_rows(results) if order.index(row["a"]) > order.index(row["b"])]
    if not rows:
        return []
    lines = [
        (
            row["game"],
            row["a"],
            row["b"],
            row["pairs"],
            *_difference(row),
            f"{row['probability_of_improvement']:.2f}",
        )
        for row in rows
    ]
    return ["", "## Agents on the same seeds", "", *table_lines(_PAIRED_HEAD, lines)]


def _ablation(results: Results) -> list[str]:
    rows = ablation_rows(results)
    if not rows:
        return []
    lines = [
        (
            *(row["game"], row["agent"], row["factor"], condition_word(row["condition"])),
            *(row["pairs"], _digits(row["score"]), *_difference(row)),
            *(_usd(row["cost_usd"]), f"{row['latency_s']:.2f} s"),
        )
        for row in rows
    ]
    title = "## Ablation: one thing at a time, on the same seeds"
    return ["", title, "", *table_lines(_ABLATION_HEAD, lines)]


def _difference(row: Mapping[str, Any]) -> tuple[str]:
    if row["difference"] is None:
        return ("n/a",)
    value = f"{row['difference']:+.3f}"
    return (value if row["low"] is None else f"{value} [{row['low']:+.3f}, {row['high']:+.3f}]",)


def to_latex(results: Results) -> str:
    """The table per game and, where there is one, over games, for ``booktabs``; the protocol and the notes as comments."""
    protocol = results.protocol.get("name", "")
    comments = [
        f"% protocol: {protocol}" if protocol else "",
        *(f"% {n}" for n in all_notes(results)),
    ]
    tables = [latex_table(_HEAD, [_game_line(score) for score in game_scores(results)])]
    if scores := agent_scores(results):
        head = ("Agent", *METRICS.values(), "Fallback", "Cost")
        tables.append(latex_table(head, [_agent_line(score) for score in scores]))
    return "\n".join([*filter(None, comments), *tables, ""])


def to_json(results: Results) -> str:
    """Everything: protocol, runs with every episode's return, agents, pairs, tables, conditions, notes, command."""
    content: dict[str, Any] = {
        "protocol": dict(results.protocol),
        "runs": [
            {**run.as_row(), "returns": list(run.returns)}
            for run in (*results.runs, *results.ablation)
        ],
        "agents": [dict(facts) for facts in results.agent_facts],
        "paired": paired_rows(results),
        "ablation": ablation_rows(results),
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


def _digits(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def _usd(cost: float | None) -> str:
    return "unknown" if cost is None else "$0" if cost == 0 else f"${cost:.4g}"
