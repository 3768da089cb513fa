"""The page of a board: one section per protocol, Atari-GPT's published scores beside, and what was refused and why.

No script, nothing loaded; every word of a bundle is escaped. Numbers of two protocols never share a table or an axis.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.reporting.study.drawing import Bar, bars
from atari_vlm.reporting.study.markup import table, text
from atari_vlm.reporting.study.page import whole_page
from atari_vlm.scores.atari_gpt import MEAN, SOURCE, atari_gpt_scores
from atari_vlm.scores.statistics import Estimate, aggregate

Content = Mapping[str, Any]
_LONGEST = 20  # characters of a name in a drawing
_HOW = (
    "Every episode on this board was played again from its actions in the game on the judging machine: every reward, end, "
    "return, length and result came out equal. Agents that ask a model were made anew over the replies in the bundle, so that "
    "each action is the one that a reply is read as. What a bundle says of tokens and dollars, and that a model's replies are "
    "that model's, is taken as said."
)
_THEIRS = (
    f"Published by {SOURCE}, read off their figure (± 0.003); the means are those of their text. They are human-normalised by "
    "the authors' own human reference, which is not published: no other number on this page can be compared with them digit by "
    "digit. Their games ran for 1,000 steps; Gemini 1.5 Flash and Claude 3 Haiku have no bar in some games (shown as 0)."
)


@dataclass(frozen=True)
class Entry:
    """An agent of a bundle under one protocol; ``rows`` are its rows of results."""

    bundle: str
    agent: str
    rows: tuple[Content, ...]

    def of(self, game: str) -> list[Content]:
        """Its rows of a game."""
        return [row for row in self.rows if row["game"] == game]

    def score(self, game: str) -> Estimate | None:
        """Mean score over seeds with its interval."""
        scores = [[float(row["score"])] for row in self.of(game)]
        return aggregate(np.array(scores), "mean") if scores else None


def board_page(content: Content) -> str:
    """The whole page, from board.json's content."""
    accepted, refused = content["accepted"], content["refused"]
    counts = f"{len(accepted)} bundle{'s' * (len(accepted) != 1)} accepted, {len(refused)} refused"
    body = [
        '<header><p class="eyebrow">board</p><h1>Agents that play Atari, played again</h1>',
        f'<p class="subtitle">{counts}</p></header>',
        f'<section><h2>What stands here</h2><p class="soft">{text(_HOW)}</p></section>',
        *(_protocol(bundles) for bundles in _by_protocol(accepted)),
        f'<section><h2>Atari-GPT, as published</h2><p class="soft">{text(_THEIRS)}</p>{_published()}</section>',
        _checked(accepted),
        _refused(refused),
    ]
    return whole_page("Board", "".join(body))


def _by_protocol(accepted: Sequence[Content]) -> Iterator[list[Content]]:
    """Bundles of one protocol together: its name, version and every condition but how much was played."""
    groups: dict[str, list[Content]] = {}
    for bundle in accepted:
        conditions = {
            name: value
            for name, value in bundle["protocol"].items()
            if name not in ("name", "seeds", "episodes", "agent")
        }
        base = str(bundle["protocol"]["name"]).split(",")[0]
        groups.setdefault(json.dumps([base, conditions], sort_keys=True), []).append(bundle)
    yield from sorted(groups.values(), key=lambda group: -sum(map(_amount, group)))


def _amount(bundle: Content) -> int:
    """Steps in its results: what was played most stands first."""
    return sum(int(row["steps"]) for row in bundle["rows"])


def _protocol(bundles: Sequence[Content]) -> str:
    protocol = bundles[0]["protocol"]
    entries = list(_entries(bundles))
    games = list(dict.fromkeys(row["game"] for entry in entries for row in entry.rows))
    said = f"version {protocol['version']}; {_conditions(protocol)}"
    drawn = "".join(_drawn(game, entries) for game in games)
    notes = "The best mean place over the games that an agent played stands first; intervals are over seeds."
    if any(row["truncated"] for entry in entries for row in entry.rows):
        notes = f"{notes} * cut by the step limit: no human-normalised score is made of it."
    return (
        f'<section><h2>{text(_title(protocol))}</h2><p class="soft">{text(said)}</p>{_scores(games, entries)}'
        f'<p class="soft">{text(notes)}</p><div class="pair">{drawn}</div></section>'
    )


def _title(protocol: Content) -> str:
    """Its name, without what says how much of it was played."""
    name, *changes = str(protocol["name"]).split(", ")
    amounts = ("seeds=", "episodes=")
    return ", ".join([name, *(change for change in changes if not change.startswith(amounts))])


def _entries(bundles: Sequence[Content]) -> Iterator[Entry]:
    for bundle in bundles:
        for agent in dict.fromkeys(row["agent"] for row in bundle["rows"]):
            rows = tuple(row for row in bundle["rows"] if row["agent"] == agent)
            yield Entry(bundle["bundle"], agent, rows)


def _conditions(protocol: Content) -> str:
    cut = protocol.get("max_steps")
    noops = protocol.get("noops")
    return ", ".join(
        filter(
            None,
            (
                f"frame skip {protocol.get('frame_skip')}",
                f"sticky actions {protocol.get('repeat_action_probability')}",
                f"no-ops {noops[0]} to {noops[1]}" if noops else "no no-ops",
                f"cut after {cut:,} steps" if cut else "whole games",
            ),
        )
    )


def _scores(games: Sequence[str], entries: Sequence[Entry]) -> str:
    """One line an agent, the best first: by its mean place over the games that it played."""
    places: dict[int, list[float]] = {number: [] for number in range(len(entries))}
    for game in games:
        scores = {n: found.value for n, e in enumerate(entries) if (found := e.score(game))}
        for number, score in scores.items():
            better = sum(other > score for other in scores.values())
            equal = sum(other == score for other in scores.values())
            places[number].append((better + (equal - 1) / 2) / max(1, len(scores)))
    order = sorted(places, key=lambda number: float(np.mean(places[number] or [1.0])))
    head = [
        "Agent",
        "Bundle",
        "Model that answered",
        *games,
        "Human-normalised",
        "Fallback",
        "Seeds",
        "Cost, as said",
    ]
    return table(head, [_line(entries[number], games) for number in order])


def _line(entry: Entry, games: Sequence[str]) -> tuple[object, ...]:
    normalised = [row["human_normalised"] for row in entry.rows]
    costs = [row["cost_usd"] for row in entry.rows]
    steps = sum(row["steps"] for row in entry.rows)
    fallbacks = sum(row["fallback_rate"] * row["steps"] for row in entry.rows) / max(1, steps)
    served = dict.fromkeys(row["model_served"] for row in entry.rows)
    whole = None if None in normalised else float(np.mean(normalised))
    return (
        *(entry.agent, entry.bundle, " | ".join(filter(None, served)) or "none"),
        *(_cell(entry, game) for game in games),
        *("n/a" if whole is None else f"{whole:.3f}", f"{fallbacks:.1%}"),
        len({row["seed"] for row in entry.rows}),
        "unknown" if None in costs else f"${sum(costs):.4g}" if any(costs) else "$0",
    )


def _cell(entry: Entry, game: str) -> str:
    estimate = entry.score(game)
    if estimate is None:
        return ""
    mark = "*" if any(row["truncated"] for row in entry.of(game)) else ""
    value = f"{_number(estimate.value)}{mark}"
    if not estimate.has_interval:
        return value
    return f"{value} [{_number(estimate.low)}, {_number(estimate.high)}]"


def _drawn(game: str, entries: Sequence[Entry]) -> str:
    found = [(entry, score) for entry in entries if (score := entry.score(game))]
    found.sort(key=lambda pair: -pair[1].value)
    rows = [
        Bar(
            _named(entry, [other for other, _ in found]),
            score.value,
            score.low if score.has_interval else None,
            score.high if score.has_interval else None,
            _number(score.value),
        )
        for entry, score in found
    ]
    return f"<div><h3>{text(game)}</h3>{bars(rows, f'Scores on {game}')}</div>"


def _named(entry: Entry, others: Sequence[Entry]) -> str:
    """An agent in a drawing, with its bundle where another has its label."""
    if [other.agent for other in others].count(entry.agent) == 1:
        return entry.agent
    name = f"{entry.agent}, {entry.bundle}"
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _published() -> str:
    scores = atari_gpt_scores()
    games = list(dict.fromkeys(score.game for score in scores))
    rows = []
    for model in dict.fromkeys(score.model for score in scores):
        values = {s.game: s for s in scores if s.model == model}
        rows.append((model, *(f"{values[game].value:.3f}" for game in games)))
    head = ["Model", *("Mean of 7" if game == MEAN else game for game in games)]
    return table(head, rows)


def _checked(accepted: Sequence[Content]) -> str:
    if not accepted:
        return ""
    parts = []
    for bundle in accepted:
        lines = "".join(f"<li>{text(words)}</li>" for words in bundle.get("checked", ()))
        played = f"{bundle['steps']:,} steps played again" if "steps" in bundle else ""
        parts.append(
            f"<details><summary>{text(bundle['bundle'])}: {played}</summary><ul>{lines}</ul></details>"
        )
    return f"<section><h2>What was held against what</h2>{''.join(parts)}</section>"


def _refused(refused: Sequence[Content]) -> str:
    if not refused:
        return ""
    rows = "".join(
        f"<dt>{text(entry['bundle'])}</dt><dd>{text(entry['reason'])}</dd>" for entry in refused
    )
    return f"<section><h2>Refused</h2><dl>{rows}</dl></section>"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
