"""What a folder is, and what its card says of it: taken from where the numbers are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from atari_vlm.errors import AtariVLMError, ConfigError, reading
from atari_vlm.experience.transition_files import FORMAT as BUFFER
from atari_vlm.files import read_real
from atari_vlm.plain_json import plain_json
from atari_vlm.reporting.atari100k.run_folders import read_run
from atari_vlm.reporting.hub.card import Card, Score
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.outputs import done_episodes
from atari_vlm.runs.run_folder import read_config
from atari_vlm.scores.statistics import Estimate, aggregate
from atari_vlm.world_models.checkpoint import Checkpoint, read_checkpoint
from atari_vlm.world_models.checkpoint_files import FORMAT, MANIFEST

Kind = Literal["run", "checkpoint", "dataset"]
ABOUT = "dataset.json"
_MOST_BYTES = 1 << 27
_MINARI = ("data/main_data.hdf5", "data/metadata.json")
_OF_STUDY = "95 % stratified bootstrap over runs; a run is one seed of one agent on one game."
_OF_EPISODES = "95 % bootstrap over episodes of this one run."
_OF_LEARNING = "95 % normal interval over the games of the run's last evaluation; one run says nothing of other seeds."


def kind_of(folder: Path) -> Kind:
    """Whether a folder is a run, a checkpoint or a data set; ``ConfigError`` for anything else."""
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: a run, a checkpoint or a data set is")
    if (folder / "config.yaml").is_file():
        read_config(folder)
        return "run"
    if is_checkpoint(folder):
        return "checkpoint"
    if is_minari(folder) or any(_data_files(folder)):
        return "dataset"
    raise ConfigError(
        f"{folder} is neither a run (config.yaml), nor a checkpoint (manifest.json), nor a data set (npz or Parquet files, or "
        "the folder of a Minari data set)"
    )


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder's manifest is that of a world model."""
    file = folder / MANIFEST
    if not file.is_file():
        return False
    with reading(file, ConfigError):
        content = plain_json(read_real(file, 1 << 20))
    return isinstance(content, dict) and content.get("format") == FORMAT


def is_minari(folder: Path) -> bool:
    """Whether a folder is one that Minari wrote."""
    return all((folder / name).is_file() for name in _MINARI)


def card_of(folder: Path, kind: Kind, game: str | None = None) -> Card:
    """The card of a folder; ``game`` is what a data set is of that does not say so itself."""
    title = folder.resolve().name
    if kind == "run":
        return _of_run(folder, title)
    if kind == "checkpoint":
        return _of_checkpoint(folder, title, read_checkpoint(folder))
    return _of_data_set(folder, title, game)


def _of_run(folder: Path, title: str) -> Card:
    config = read_config(folder)
    results = _json(folder / "results.json")
    command = str(results.get("command") or config.get("command_line") or "")
    if {"games", "agents", "protocol"} <= results.keys():
        return _of_study(title, results, command)
    settings = config["settings"]
    rows = _episode_rows(folder)
    scores = _by_phase(settings, rows) if rows else _learned(folder)
    answered = results.get("answered")
    facts = {
        "game": settings.get("game_name") or settings.get("source") or settings.get("env"),
        "agents": settings.get("endpoint") or next(iter(settings), ""),
        "models": answered if isinstance(answered, Mapping) else None,
        "versions": config.get("versions"),
    }
    names = ("seed", "max_steps", "prompt_type", "env", "latency", "eval_episodes")
    protocol = {name: settings[name] for name in names if settings.get(name) not in (None, {})}
    interval = _OF_EPISODES if rows else _OF_LEARNING
    return Card("run", title, facts, protocol, scores, interval if scores else "", (), command)


def _of_study(title: str, results: Mapping[str, Any], command: str) -> Card:
    agents = results["agents"]
    facts = {
        "game": list(dict.fromkeys(row["game"] for row in results["games"])),
        "agents": [agent["agent"] for agent in agents],
        "models": {a["agent"]: a.get("model_served") or a["model"] for a in agents if a["model"]},
    }
    protocol = {n: v for n, v in results.get("conditions", {}).items() if isinstance(v, str)}
    scores = [
        Score(row["game"], row["agent"], _estimate(row["score"]), row["episodes"], _conditions(row))
        for row in results["games"]
    ]
    notes = [str(note) for note in results.get("notes", ())]
    return Card("run", title, facts, protocol, scores, _OF_STUDY, notes, command)


def _of_checkpoint(folder: Path, title: str, checkpoint: Checkpoint) -> Card:
    config, made = checkpoint.config, checkpoint.provenance
    run = folder.resolve().parent
    is_of_run = (run / "config.yaml").is_file()
    scores = _learned(run) if is_of_run else []
    facts = {
        "game": config.get("game") or made.get("env") or (scores[0].game if scores else None),
        "agents": f"its own policy and model, kind {checkpoint.kind}",
        "actions": checkpoint.action_names,
        "made with": {n: v for n, v in made.items() if isinstance(v, (int, float)) or n == "steps"},
        "versions": made.get("versions"),
    }
    protocol = {
        "frame skip": config["frame_skip"],
        "reward transform": config["reward_transform"],
    }
    command = made.get("command") if isinstance(made.get("command"), str) else ""
    command = command or (str(read_config(run).get("command_line", "")) if is_of_run else "")
    interval = _OF_LEARNING if scores else ""
    return Card("checkpoint", title, facts, protocol, scores, interval, (), command)


def _of_data_set(folder: Path, title: str, game: str | None) -> Card:
    about = {**_json(folder / "data" / "metadata.json"), **_json(folder / ABOUT)}
    buffers = [b for b in map(_json, sorted(folder.glob("*.json"))) if b.get("format") == BUFFER]
    facts = {
        "game": game or about.get("game") or _id_in(about) or [b.get("env_id") for b in buffers],
        "agents": about.get("algorithm") or about.get("algorithm_name"),
        "episodes": about.get("episodes") or about.get("total_episodes"),
        "steps": about.get("steps") or about.get("total_steps"),
        "description": about.get("description"),
        "files": len(list(_data_files(folder))) or None,
    }
    return Card("dataset", title, facts, _conditions_of(buffers))


def _id_in(metadata: Mapping[str, Any]) -> str | None:
    """The id of the environment that Minari noted."""
    spec = metadata.get("env_spec")
    written = plain_json(spec) if isinstance(spec, str) else spec
    return str(written["id"]) if isinstance(written, Mapping) and "id" in written else None


def _conditions_of(buffers: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"of buffer {n + 1}": b.get("provenance") for n, b in enumerate(buffers)}


def _data_files(folder: Path) -> Iterator[Path]:
    return (path for end in ("npz", "parquet") for path in sorted(folder.rglob(f"*.{end}")))


def _episode_rows(folder: Path) -> list[tuple[str, EpisodeRow]]:
    """Finished episodes of a run's journal, each with who played it where the journal says so, else its phase."""
    file = folder / "journal.sqlite"
    if not file.is_file():
        return []
    with Journal(file, read_only=True) as journal:
        labels = journal.meta().get("labels", {})
        return [
            (str(labels.get(str(row.episode), row.phase)), row) for row in done_episodes(journal)
        ]


def _by_phase(settings: Mapping[str, Any], rows: list[tuple[str, EpisodeRow]]) -> list[Score]:
    game, scores = str(settings.get("game_name", "")), []
    for label in dict.fromkeys(label for label, _ in rows):
        mine = [row for name, row in rows if name == label]
        returns = np.array([row.episode_return for row in mine], np.float64)
        fallback = np.mean([row.fallback_rate or 0.0 for row in mine])
        estimate = aggregate(returns[:, None], "mean")
        scores.append(Score(game, label, estimate, len(mine), f"fallback {fallback:.1%}"))
    return scores


def _learned(run: Path) -> list[Score]:
    """The last evaluation of a run that learns in imagination."""
    try:
        found = [one for one in read_run(str(run)) if one.score is not None]
    except AtariVLMError:
        return []  # a run that plays no games
    spread = next(
        (s for line in reversed(_lines(run)) if (s := line.get("evaluation/return_std"))), None
    )
    return [
        Score(one.game, one.method, _normal(one.score or 0.0, spread, one.episodes), one.episodes, one.conditions)
        for one in found
    ]  # fmt: skip


def _lines(run: Path) -> list[dict[str, Any]]:
    file = run / "metrics.jsonl"
    lines = read_real(file, _MOST_BYTES).decode().splitlines() if file.is_file() else []
    return [line for line in map(json.loads, filter(None, lines)) if isinstance(line, dict)]


def _normal(mean: float, spread: float | None, count: int) -> Estimate:
    if spread is None or count < 2:
        return Estimate(mean, math.nan, math.nan)
    margin = 1.96 * spread / math.sqrt(count - 1)
    return Estimate(mean, mean - margin, mean + margin)


def _estimate(found: Mapping[str, float | None]) -> Estimate:
    low, high = found.get("low"), found.get("high")
    value = float(found["value"] or 0.0)
    return Estimate(value, math.nan if low is None else low, math.nan if high is None else high)


def _conditions(row: Mapping[str, Any]) -> str:
    return f"fallback {row['fallback_rate']:.1%}, {row['runs']} runs"


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    with reading(file, ConfigError):
        content = plain_json(read_real(file, _MOST_BYTES))
    return content if isinstance(content, dict) else {}
