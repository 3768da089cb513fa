"""The sections of a study's page as HTML, from results.json's content; every word in them is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.reporting.study.drawing import Bar, Curve, bars, curves
from atari_vlm.reporting.study.markup import difference, estimate, number, signed, table, text, usd
from atari_vlm.reporting.study.strips import Answers
from atari_vlm.scores.comparisons import performance_profile

_THRESHOLDS = 40
_FILES = "results.md,results.csv,results.json,results.tex,episodes.csv,paired.csv".split(",")

Content = Mapping[str, Any]


def games(content: Content) -> str:
    """A drawing per game beside the table of all."""
    by_game: dict[str, list[Bar]] = {}
    rows = []
    for row in content["games"]:
        score = row["score"]
        by_game.setdefault(row["game"], []).append(
            Bar(row["agent"], score["value"], score["low"], score["high"], number(score["value"]))
        )
        rows.append(
            (
                *(row["game"], row["agent"], estimate(score), estimate(row["normalised"])),
                *(
                    f"{row['fallback_rate']:.1%}",
                    row["runs"],
                    row["episodes"],
                    usd(row["cost_usd"]),
                ),
            )
        )
    head = "Game,Agent,Score [95 %],Human-normalised,Fallback,Runs,Episodes,Cost".split(",")
    drawn = [
        f"<div><h3>{text(game)}</h3>{bars(found, f'Scores on {game}')}</div>"
        for game, found in by_game.items()
    ]
    return f'<div class="pair">{"".join(drawn)}</div>{table(head, rows)}' if rows else ""


def over_games(content: Content) -> str:
    """Human-normalised aggregates and performance profiles, where every agent has them."""
    lines = content["over_games"]
    if not lines:
        return '<p class="soft">No human-normalised aggregate: see the notes below.</p>'
    head = ["Agent", "Mean", "Median", "IQM", "Optimality gap", "Fallback", "Cost"]
    rows = [
        (
            line["agent"],
            *(estimate(line["aggregates"][m]) for m in ("mean", "median", "iqm", "optimality_gap")),
            *(f"{line['fallback_rate']:.1%}", usd(line["cost_usd"])),
        )
        for line in lines
    ]
    return f"{table(head, rows)}<h3>Performance profiles: share of runs above a score</h3>{_profiles(content)}"


def _profiles(content: Content) -> str:
    games = content["over_games"][0]["games"]
    scores: dict[str, dict[str, list[float]]] = {}
    for run in content["runs"]:
        if run["game"] in games and run["human_normalised"] is not None and "factor" not in run:
            per_game = scores.setdefault(run["agent"], {})
            per_game.setdefault(run["game"], []).append(run["human_normalised"])
    values = [value for per_game in scores.values() for runs in per_game.values() for value in runs]
    low, high = min([0.0, *values]), max([1.0, *values])
    thresholds = [low + (high - low) * i / _THRESHOLDS for i in range(_THRESHOLDS + 1)]
    lines = []
    for agent, per_game in scores.items():
        share = performance_profile(per_game, thresholds).share.tolist()
        lines.append(Curve(agent, list(zip(thresholds, share, strict=True))))
    return curves(lines, "Performance profiles", "human-normalised score")


def pairs(content: Content) -> str:
    """How probably each agent is better than each, and the differences, each pair once."""
    paired = content["paired"]
    agents = list(dict.fromkeys(row["a"] for row in paired))
    if len(agents) < 2:
        return ""
    games = list(dict.fromkeys(row["game"] for row in paired))
    chance: dict[tuple[str, str], list[float]] = {}
    for row in paired:
        chance.setdefault((row["a"], row["b"]), []).append(row["probability_of_improvement"])
    matrix = [
        (a, *("" if a == b else _share(chance.get((a, b), [])) for b in agents)) for a in agents
    ]
    rows = [
        (
            row["game"],
            row["a"],
            row["b"],
            row["pairs"],
            difference(row),
            f"{row['probability_of_improvement']:.2f}",
        )
        for row in paired
        if agents.index(row["a"]) > agents.index(row["b"])
    ]
    head = "Game,A,B,Pairs,A - B [95 %],P(A better)".split(",")
    return (
        f"<h3>Probability that the agent of the row beats that of the column on a shared seed, mean over {len(games)} "
        f"game{'s' * (len(games) > 1)}</h3>{table(['', *agents], matrix)}"
        f"<details><summary>Every pair on every game</summary>{table(head, rows)}</details>"
    )


def ablation(content: Content) -> str:
    """A drawing of differences per game, agent and factor, and the table."""
    rows = content["ablation"]
    groups: dict[tuple[str, str, str], list[Bar]] = {}
    lines = []
    for row in rows:
        condition = "none" if row["condition"] is None else str(row["condition"])
        if row["difference"] is not None:
            groups.setdefault((row["game"], row["agent"], row["factor"]), []).append(
                Bar(
                    condition,
                    row["difference"],
                    row["low"],
                    row["high"],
                    signed(row["difference"]),
                )
            )
        lines.append(
            (
                *(row["game"], row["agent"], row["factor"], condition, row["pairs"]),
                *(number(row["score"]), difference(row), usd(row["cost_usd"])),
                f"{row['latency_s']:.2f} s",
            )
        )
    if not lines:
        return ""
    head = "Game,Agent,Factor,Condition,Pairs,Score,Against base [95 %],Cost,Latency".split(",")
    drawn = [
        f"<div><h3>{text(f'{factor}: {agent}, {game}')}</h3>{bars(found, f'{factor}, {agent}, {game}')}</div>"
        for (game, agent, factor), found in groups.items()
    ]
    return f'<div class="pair">{"".join(drawn)}</div>{table(head, lines)}'


def costs(content: Content, had: Mapping[str, Answers]) -> str:
    """What each agent asked and cost, how fast, and how its answers were read."""
    rows = []
    for facts in content["agents"]:
        mine = [
            run for run in content["runs"] if run["agent"] == facts["agent"] and "factor" not in run
        ]
        if mine:
            rows.append(_cost_row(facts, mine, _joined(facts["agent"], mine, had)))
    head = (
        "Agent,Model that answered,Calls,Tokens in,Tokens out,Cost,per episode,per point,Decisions/s,Fallback,Answers read as"
    ).split(",")
    return table(head, rows) if rows else ""


def _cost_row(
    facts: Content, runs: Sequence[Content], had: Sequence[Answers]
) -> tuple[object, ...]:
    costs, episodes = [run["cost_usd"] for run in runs], sum(run["episodes"] for run in runs)
    total = None if None in costs else sum(costs)
    points = sum(run["score"] * run["episodes"] for run in runs)
    steps = sum(run["steps"] for run in runs)
    fallbacks = sum(run["fallback_rate"] * run["steps"] for run in runs) / max(1, steps)
    rungs: dict[str, int] = {}
    for part in had:
        for name, count in part.rungs.items():
            rungs[name] = rungs.get(name, 0) + count
    speeds = [part.decisions_per_s for part in had if part.decisions_per_s is not None]
    tokens = [
        None if None in counts else f"{sum(counts):,}"
        for counts in ([run[name] for run in runs] for name in ("input_tokens", "output_tokens"))
    ]
    return (
        *(facts["agent"], facts["model_served"] or facts["model"]),
        *(f"{sum(run['calls'] for run in runs):,}", *(word or "unknown" for word in tokens)),
        *(usd(total), usd(None if total is None else total / max(1, episodes))),
        usd(None if total is None or points <= 0 else total / points, "n/a"),
        f"{sum(speeds) / len(speeds):.3g}" if speeds else "n/a",
        f"{fallbacks:.1%}",
        ", ".join(f"{name} {count}" for name, count in sorted(rungs.items())) or "n/a",
    )


def _joined(agent: str, runs: Sequence[Content], had: Mapping[str, Answers]) -> list[Answers]:
    labels = dict.fromkeys(f"{run['game']}, {agent}" for run in runs)
    return [had[label] for label in labels if label in had]


def conditions(content: Content) -> str:
    """What the numbers rest on, the same tables as files, and the command that makes them again."""
    facts = "".join(
        f"<dt>{text(name)}</dt><dd>{text(value)}</dd>"
        for name, value in content["conditions"].items()
    )
    notes = "".join(f"<li>{text(note)}</li>" for note in content["notes"])
    notes = f"<h3>Notes</h3><ul>{notes}</ul>" if notes else ""
    command = (
        f"<h3>Run it again</h3><pre>{text(content['command'])}</pre>" if content["command"] else ""
    )
    files = ", ".join(f'<a href="{name}">{name}</a>' for name in (*_FILES, *_beside(content)))
    return f"<dl>{facts}<dt>tables</dt><dd>{files}</dd></dl>{notes}{command}"


def _beside(content: Content) -> tuple[str, ...]:
    return ("ablation.csv",) if content["ablation"] else ()


def _share(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else ""
