"""From the folder of a finished study to its bundle: what was played as it is in the journal, and no key."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError, RunError, reading
from atari_vlm.evaluation.board.bundle import (
    EPISODES,
    FORMAT,
    MANIFEST,
    SOURCES,
    SUBMISSION,
    Refused,
    manifest_of,
    request_sha256,
)
from atari_vlm.evaluation.board.claims import (
    ClaimedStudy,
    claimed,
    our_versions,
)
from atari_vlm.evaluation.board.games import facts_of
from atari_vlm.evaluation.board.players import prompt_hashes
from atari_vlm.evaluation.board.probing import picture_probe
from atari_vlm.evaluation.board.rows import served_by
from atari_vlm.evaluation.results_files import COLUMNS
from atari_vlm.files import atomic_write, read_real, replacing
from atari_vlm.runs.journal import CallRow, EpisodeRow, Journal, StepRow
from atari_vlm.runs.run_folder import read_config
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.settings import plain
from atari_vlm.vlm.remote.keys import looks_like_key

_MOST_BYTES = 1 << 27
_LETTER = {source: letter for letter, source in SOURCES.items()}


def submit(run: Path, out: Path | None = None, trusted: Collection[str] = ()) -> Path:
    """Write the bundle of a finished study into ``out`` (``submission`` in the run's folder); returns that folder.

    Modules of games are imported only where ``trusted``. Raises ``ConfigError`` for a run that is no study or is not finished,
    for one that no board can play again, and where a key stands in what would be written.
    """
    config = read_config(run)
    if config["settings"].get("program") != "evaluate":
        raise ConfigError(f"{run} is no study (a run of evaluate): only studies are submitted")
    if "shard" in config["settings"]:
        raise ConfigError(
            f"{run} is shard {config['settings']['shard']} of a study: a bundle is of a whole one; merge the shards first "
            "(report merge)"
        )
    content = _results(run)
    try:
        study = claimed(config["settings"], trusted)
    except Refused as reason:
        raise ConfigError(f"no board could play {run} again: {reason}") from reason
    folder = out if out is not None else run / "submission"
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        told = Telling(study, journal)
        rows = told.rows()
        with replacing(folder / EPISODES) as new:
            with open(new, "w", encoding="utf-8") as file:
                for key, row in zip(study.keys, rows, strict=True):
                    file.write(f"{_json(told.episode(key, row))}\n")
            submission = _json(_submission(study, config, content, told), indent=1)
    atomic_write(folder / SUBMISSION, f"{submission}\n")
    atomic_write(folder / MANIFEST, f"{_json(manifest_of(folder), indent=1)}\n")
    return folder


def _submission(
    study: ClaimedStudy, config: Mapping[str, Any], content: Mapping[str, Any], told: Telling
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "protocol": content["protocol"],
        "config": dict(config["settings"]),
        "agents": list(_agents(study, content, told.answers)),
        "games": {game.name: facts_of(game) for game in study.games},
        "versions": _versions(config),
        "results": [{name: row[name] for name in COLUMNS} for row in _own_rows(content)],
        "prompts": sorted(told.prompts),
        "picture_probe": picture_probe(study),
    }


class Telling:
    """The episodes of a journal as a bundle tells them; ``prompts`` and ``answers`` (by agent) grow as they are told."""

    def __init__(self, study: ClaimedStudy, journal: Journal):
        self._study, self._journal = study, journal
        self.prompts: set[str] = set()
        self.answers: dict[str, str] = {}
        self._specs = {spec.label: spec for spec in study.agents}

    def rows(self) -> list[EpisodeRow]:
        """The journal's row of every episode of the study, in its order; ``ConfigError`` unless all are done."""
        labels = self._journal.meta().get("labels", {})
        found = {
            (labels.get(str(row.episode)), row.seed): row
            for row in self._journal.episodes()
            if row.phase == "eval" and row.status == "done"
        }
        wanted = [
            (f"{game}, {agent}", eval_seed(seed, number))
            for game, agent, seed, number in self._study.keys
        ]
        if missing := sum(key not in found for key in wanted):
            raise ConfigError(
                f"the run is not finished: {missing} of {len(wanted)} episodes are still to be played; the same command goes "
                "on with it"
            )
        return [found[key] for key in wanted]

    def episode(self, key: tuple[str, str, int, int], row: EpisodeRow) -> dict[str, Any]:
        """One episode."""
        game, agent, seed, number = key
        steps, calls = self._journal.steps(row.episode), self._journal.calls(row.episode)
        self._note(agent, steps, calls)
        last = steps[-1]
        measured = self._is_measured(self._specs[agent])
        return {
            "game": game,
            "agent": agent,
            "seed": seed,
            "episode": number,
            "env_seed": row.seed,
            "actions": [step.action for step in steps],
            "rewards": [step.reward for step in steps],
            "terminated": last.terminated,
            "truncated": last.truncated and not last.terminated,
            "return": row.episode_return,
            "length": row.length,
            "replies": [_said(call, measured) for call in calls if call.reply is not None],
            "sources": "".join(_LETTER[step.source] for step in steps),
        }

    def _note(self, agent: str, steps: Sequence[StepRow], calls: Sequence[CallRow]) -> None:
        for call in calls:
            self.prompts |= prompt_hashes(call.request)
        answers = (step.decision.get("details", {}).get("answer") for step in steps)
        answer = next((answer for answer in answers if isinstance(answer, str)), None)
        if answer is not None:
            self.answers.setdefault(agent, answer)

    def _is_measured(self, spec: AgentSpec) -> bool:
        """Whether the game went on while the replies were awaited, for as long as they took."""
        options = {**self._study.asking, **spec.options}
        return options.get("latency") == "measured" or bool(options.get("real_time"))


def _said(call: CallRow, measured: bool) -> dict[str, Any]:
    reply = call.reply or {}
    said = {
        "step": call.step,
        "call": call.call,
        "text": reply.get("text", ""),
        "model": reply.get("model", ""),
        "request_sha256": request_sha256(call.request),
    }
    if "scores" in reply:
        said["scores"] = _scores(reply["scores"])
    if reply.get("finish_reason", "stop") != "stop":
        said["finish_reason"] = reply["finish_reason"]
    if reply.get("note"):
        said["note"] = reply["note"]
    if measured:
        said["latency_s"] = reply.get("latency_s", 0.0)
    return said


def _scores(scores: Sequence[float]) -> list[float | None]:
    """Minus infinity as ``null``; scores that are none at all as an empty list, which is no score for each action either."""
    if any(math.isnan(score) or score == math.inf for score in scores):
        return []
    return [None if score == -math.inf else score for score in scores]


def _agents(
    study: ClaimedStudy, content: Mapping[str, Any], answers: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    facts = {entry["agent"]: entry for entry in content["agents"]}
    for spec in study.agents:
        rows = [row for row in _own_rows(content) if row["agent"] == spec.label]
        answer = answers.get(spec.label)
        yield {
            "agent": spec.label,
            "name": spec.name,
            "model": facts[spec.label]["model"],
            "model_served": served_by([row["model_served"] for row in rows]),
            "options": plain(spec.options),
            **({} if answer is None else {"answer": answer}),
        }


def _own_rows(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The study's own runs, without those of an ablation."""
    return [row for row in content["runs"] if "factor" not in row]


def _results(run: Path) -> dict[str, Any]:
    file = run / "results.json"
    if not file.is_file():
        raise ConfigError(f"{run} holds no results.json: the study has not begun")
    with reading(file, ConfigError):
        content: dict[str, Any] = json.loads(read_real(file, _MOST_BYTES))
        if not {"protocol", "runs", "agents"} <= content.keys():
            raise ValueError(
                "it has not the tables of a study; the run was made by an earlier version"
            )
    return content


def _versions(config: Mapping[str, Any]) -> dict[str, str]:
    """Those that the run was made with."""
    noted = config.get("versions", {})
    said = {"ale_py": noted.get("ale-py"), "gymnasium": noted.get("gymnasium")}
    return {
        **our_versions(),
        **{k: v for k, v in said.items() if v},
        "atari_vlm": config["atari_vlm"],
    }


def _json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON; ``ConfigError`` where one of its words looks like a key, ``RunError`` for what JSON cannot say."""
    for word in _words(value):
        if looks_like_key(word):
            raise ConfigError(
                "something in the run (an option, or a reply) looks like a key, and a bundle is for everybody: none was written"
            )
    try:
        return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise RunError(f"the run holds what no bundle can: {error}") from error


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from _words(item)
    elif isinstance(value, (list, tuple)) and not (value and isinstance(value[0], (int, float))):
        for item in value:
            yield from _words(item)
