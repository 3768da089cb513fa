"""What a study found: the finished runs of its journal, with everything that they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.evaluation.cells import Cell, named
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.factors import FACTORS
from atari_vlm.evaluation.measured import Finished, runs_of
from atari_vlm.evaluation.results import Results
from atari_vlm.evaluation.study import (
    Study,
    Variant,
    asks_for_money,
    conditions_of,
)
from atari_vlm.runs.answered import answered
from atari_vlm.runs.command_line import command_line
from atari_vlm.runs.fallbacks import verdict
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.options import pairs
from atari_vlm.settings import plain

Entrants = Mapping[tuple[str, str, str], Entrant]


def collect(
    study: Study,
    laid_out: Sequence[Cell],
    entrants: Entrants,
    journal: Journal,
    conditions: Sequence[tuple[str, str]] = (),
) -> Results:
    """The finished runs of a journal with their conditions."""
    finished = Finished.of(journal)
    normalises = study.protocol.references is not None
    runs = [
        run
        for cell in laid_out
        for run in runs_of(cell, entrants[named(cell.variant)], finished, normalises)
    ]
    said = [*conditions_of(study), *_answered(study, laid_out, entrants, finished), *conditions]
    return Results(
        runs=tuple(run for run in runs if not run.factor),
        conditions=tuple(said),
        command=command_line(study.config),
        notes=tuple(_notes(study, laid_out, entrants, finished)),
        ablation=tuple(run for run in runs if run.factor),
        protocol=protocol_of(study),
        agent_facts=tuple(_facts(study, entrants, runs)),
        bases=_bases(study),
    )


def protocol_of(study: Study) -> dict[str, Any]:
    """The protocol as results.json has it: with what the command itself changed of the environment, and of single games."""
    games = {game.name: plain(dict(game.options)) for game in study.games if game.options}
    return study.protocol.as_dict() | _given(study) | ({"games": games} if games else {})


def _given(study: Study) -> dict[str, Any]:
    """What of the environment the command itself changed; part of the protocol's conditions."""
    given = pairs(study.config.env_option, "--env-option")
    if not given:
        return {}
    words = ", ".join(f"{name}={value}" for name, value in given.items())
    return {"env": plain(given), "name": f"{study.protocol.name}, {words}"}


def _facts(study: Study, entrants: Entrants, runs: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for agent, entrant in _playing(study, entrants):
        served = [run.model_served for run in runs if run.agent == agent.label]
        parts = dict.fromkeys(part for names in served for part in names.split(" | ") if part)
        yield {
            "agent": agent.label,
            "name": agent.name,
            "model": entrant.model,
            "model_served": " | ".join(parts),
            "base_url": entrant.base_url,
            "options": plain(agent.options),
        }


def _playing(study: Study, entrants: Entrants) -> Iterator[tuple[AgentSpec, Entrant]]:
    """The agents that play here, in the study's order."""
    for agent in study.agents:
        if named(Variant(agent)) in entrants:
            yield agent, entrants[named(Variant(agent))]


def _bases(study: Study) -> dict[str, dict[str, Any]]:
    """The value of each factor's option in the study itself, by agent."""
    bases: dict[str, dict[str, Any]] = {}
    for agent in study.agents:
        given = {**study.asking, **agent.options}
        bases[agent.label] = {
            factor.name: given.get(factor.option, FACTORS[factor.name].default)
            for factor in study.factors
        }
    return bases


def _notes(
    study: Study, laid_out: Sequence[Cell], entrants: Entrants, finished: Finished
) -> Iterator[str]:
    if not study.shard.is_whole:
        yield f"Shard {study.shard} of a study: its other runs are in the other shards, report merge puts them together."
    missing = sum(
        spec.episode not in finished.rows for cell in laid_out for spec in cell.everything
    )
    if missing:
        yield f"Unfinished: {missing} episodes are still to be played; the same command continues."
    if study.protocol.max_steps is not None:
        yield f"Episodes are cut after {study.protocol.max_steps:,} steps; published scores are of whole episodes."
    yield from dict.fromkeys(note for entrant in entrants.values() for note in entrant.notes)
    absent = [(a.label, g.name) for a in study.agents for g in study.games if not study.joins(a, g)]
    for agent, game in absent:
        yield f"{agent} does not know {game} and does not play it."


def _answered(
    study: Study, laid_out: Sequence[Cell], entrants: Entrants, finished: Finished
) -> Iterator[tuple[str, str]]:
    """What answered for each agent that may cost something, and how much of its play was not its own."""
    journal = finished.journal
    for agent, entrant in _playing(study, entrants):
        if entrant.vlm is None or not (entrant.is_paid or asks_for_money(agent)):
            continue
        mine = [cell for cell in laid_out if cell.agent == agent.label]
        episodes = [spec.episode for cell in mine for spec in cell.everything]
        replies = (call.reply for e in episodes for call in journal.calls(e) if call.reply)
        asked = answered(entrant.vlm.name, replies, entrant.base_url or None, None)
        for name, value in asked.items():
            yield f"{name} ({agent.label})", value
        rows = [row for row in journal.episodes() if row.episode in set(episodes)]
        said, _ = verdict(journal, rows)
        if said:
            yield f"fallbacks ({agent.label})", said
