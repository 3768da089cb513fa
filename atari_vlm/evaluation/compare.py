"""Several runs of one protocol as one: their runs merged, with every table of a study over all of them.

A run folder may be a stranger's: only numbers and words are taken from its tables, and nothing of it is run.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, MismatchError, reading
from atari_vlm.evaluation.protocols import conditions_of_protocol
from atari_vlm.evaluation.results import Results, Run
from atari_vlm.evaluation.results_files import EPISODES, write_results
from atari_vlm.files import read_real
from atari_vlm.settings import flat

_MOST_BYTES = 1 << 27
_TEXTS = ("game", "agent", "model", "model_served", "base_url")
_COUNTS = ("input_tokens", "output_tokens")
_NAMING = ("base", "name")


@dataclass(frozen=True)
class Read:
    """What the tables of a run folder hold."""

    path: Path
    protocol: dict[str, Any]
    runs: tuple[Run, ...]
    agents: Mapping[str, Mapping[str, Any]]
    episodes: tuple[Mapping[str, Any], ...]


def compare(folders: Sequence[str | Path], out: str | Path) -> Results:
    """Write the tables over all runs into ``out``; what they hold.

    Raises ``ConfigError`` for a folder without a study's tables, and ``MismatchError`` for two protocols and for two results of
    one agent, game and seed.
    """
    found = [read_study(Path(folder)) for folder in folders]
    if not found:
        raise ConfigError("give at least one run")
    for other in found[1:]:
        _check_protocol(found[0], other)
    labels = _labels(found)
    runs = _merged(found, labels)
    facts = {
        labels[read.path, agent]: {**read.agents[agent], "agent": labels[read.path, agent]}
        for read in found
        for agent in read.agents
    }
    games = {name: told for read in found for name, told in _keywords(read).items()}
    results = Results(
        runs=tuple(runs),
        conditions=(("runs", ", ".join(str(read.path) for read in found)),),
        protocol=found[0].protocol | ({"games": games} if games else {}),
        agent_facts=tuple(facts.values()),
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder, results, _episodes(found, labels))
    return results


def read_study(path: Path) -> Read:
    """The tables of a run folder; ``ConfigError`` where they are not a study's."""
    file = path / "results.json"
    if not file.is_file():
        raise ConfigError(f"{path} holds no results.json: it is no study, or has not begun")
    with reading(file, ConfigError):
        content = json.loads(read_real(file, _MOST_BYTES))
        protocol = content.get("protocol")
        if not isinstance(protocol, dict) or not {"name", "version"} <= protocol.keys():
            raise ValueError("it names no protocol; the study was made by an earlier version")
        normalises = protocol.get("references") is not None
        rows = [row for row in content["runs"] if "factor" not in row]
        runs = tuple(_run(row, normalises) for row in rows)
        agents = {str(facts["agent"]): dict(facts) for facts in content["agents"]}
    with reading(path / "episodes.csv", ConfigError):
        text = read_real(path / "episodes.csv", _MOST_BYTES).decode("utf-8")
        episodes = tuple(_episode(row) for row in csv.DictReader(io.StringIO(text)))
    return Read(path, protocol, runs, agents, episodes)


def _run(row: Mapping[str, Any], normalises: bool) -> Run:
    returns = tuple(float(value) for value in row["returns"])
    steps = int(row["steps"])
    cost = row["cost_usd"]
    counts = {name: None if row[name] is None else int(row[name]) for name in _COUNTS}
    texts: dict[str, Any] = {name: str(row[name]) for name in _TEXTS}
    return Run(
        **texts,
        seed=int(row["seed"]),
        returns=returns,
        steps=steps,
        fallbacks=float(row["fallback_rate"]) * steps,
        cost_usd=None if cost is None else float(cost),
        cut=int(row["truncated"]),
        calls=int(row["calls"]),
        input_tokens=counts["input_tokens"],
        output_tokens=counts["output_tokens"],
        normalises=normalises,
    )


def _episode(row: Mapping[str, Any]) -> dict[str, Any]:
    if missing := [name for name in EPISODES if row.get(name) is None]:
        raise ValueError(f"it has no column {missing[0]!r}")
    return {name: row[name] for name in EPISODES}


def _check_protocol(first: Read, other: Read) -> None:
    shared = {run.game for run in first.runs} & {run.game for run in other.runs}
    ours, theirs = (flat(_conditions(read, shared)) for read in (first, other))
    different = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    if different:
        said = "; ".join(f"{n} {ours.get(n)!r} and {theirs.get(n)!r}" for n in different[:4])
        raise MismatchError(
            f"{first.path} and {other.path} were played under two protocols ({said}): their numbers are not put side by side"
        )


def _conditions(read: Read, shared: Collection[str]) -> dict[str, Any]:
    """What two runs must agree in, keywords of the games that both played among it."""
    games = {game: told for game, told in _keywords(read).items() if game in shared}
    return {**conditions_of_protocol(read.protocol), "name": _base(read), "games": games}


def _keywords(read: Read) -> dict[str, Any]:
    """The keywords of a run's games, where they have some."""
    told = read.protocol.get("games") or {}
    if not isinstance(told, dict):
        raise ConfigError(f"{read.path}: the keywords of its games are no mapping")
    return told


def _base(read: Read) -> str:
    """The protocol's own name, without what a study said otherwise."""
    return str(read.protocol["name"]).split(",")[0]


def _labels(found: Sequence[Read]) -> dict[tuple[Path, str], str]:
    """What each run's agents are called: their label, with the run's name where two different agents have one."""
    known: dict[str, Mapping[str, Any]] = {}
    labels: dict[tuple[Path, str], str] = {}
    for read in found:
        for agent, facts in read.agents.items():
            asked = {k: facts.get(k) for k in ("name", "model", "base_url", "options")}
            is_same = known.setdefault(agent, asked) == asked
            labels[read.path, agent] = agent if is_same else f"{agent} ({read.path.name})"
    return labels


def _merged(found: Sequence[Read], labels: Mapping[tuple[Path, str], str]) -> list[Run]:
    merged: dict[tuple[str, str, int], Run] = {}
    for read in found:
        for run in read.runs:
            named = _named(run, labels.get((read.path, run.agent), run.agent))
            key = (named.game, named.agent, named.seed)
            earlier = merged.setdefault(key, named)
            if earlier.returns != named.returns:
                raise MismatchError(
                    f"{named.agent} has two results on {named.game} with seed {named.seed}, one of them in {read.path}: "
                    "the runs are not of one agent, or not of one version"
                )
    games = list(dict.fromkeys(run.game for run in merged.values()))
    agents = list(dict.fromkeys(run.agent for run in merged.values()))
    order = {name: place for place, name in enumerate((*games, *agents))}
    return sorted(merged.values(), key=lambda run: (order[run.game], order[run.agent], run.seed))


def _named(run: Run, agent: str) -> Run:
    return Run(**{**vars(run), "agent": agent})


def _episodes(
    found: Sequence[Read], labels: Mapping[tuple[Path, str], str]
) -> list[Mapping[str, Any]]:
    rows: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for read in found:
        for row in read.episodes:
            agent = labels.get((read.path, str(row["agent"])), str(row["agent"]))
            named = {**row, "agent": agent}
            rows.setdefault(tuple(str(named[name]) for name in EPISODES[:4]), named)
    return list(rows.values())
