"""What a run folder says of its score: one reader for each program that plays games."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import AtariVLMError, ConfigError, UnknownNameError
from atari_vlm.games import game as known_game
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.outputs import cut_episodes
from atari_vlm.runs.run_folder import read_config
from atari_vlm.world_models.families import kinds_in

FINISHED = "finished"


@dataclass(frozen=True, eq=False)
class OwnRun:
    """One seed of one own method on one game. ``score`` is ``None`` before the first evaluation.

    ``state``: ``"finished"`` or how far it is. ``steps``: decisions made in training, where the run counts them.
    ``fallback_rate``: of the evaluation, where a VLM decides. ``curve``: (steps, mean return) of each evaluation. ``cut``: an
    episode of it ended at a limit of steps before the game was over, so it is not held against whole games.
    """

    method: str
    folder: str
    game: str
    seed: int
    score: float | None
    episodes: int
    state: str
    conditions: str
    settings: Mapping[str, Any]
    steps: int | None = None
    fallback_rate: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    cut: bool = False

    @property
    def normalised(self) -> float | None:
        """The human-normalised score; ``None`` without a score, for cut episodes and outside the Atari-57 reference."""
        try:
            return (
                None
                if self.score is None or self.cut
                else known_game(self.game).human_normalised(self.score)
            )
        except UnknownNameError:
            return None


def read_run(word: str) -> list[OwnRun]:
    """The runs of a folder given as ``RUN`` or ``NAME=RUN``: one, or one a cell of an evaluation."""
    name, _, path = ("", "", word) if Path(word).exists() else word.rpartition("=")
    if name and not name[0].isalnum():
        raise ConfigError(f"the name of a method begins with a letter or a digit, got {name!r}")
    folder = Path(path)
    config = read_config(folder)
    try:
        return list(_runs(folder, config, name))
    except AtariVLMError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{folder} is not as this version writes its runs: {type(error).__name__} {error}"
        ) from error


def _runs(folder: Path, config: Mapping[str, Any], name: str) -> Iterator[OwnRun]:
    settings, title = config["settings"], folder.resolve().name
    kind = next(kinds_in(settings), None)
    if kind is not None:
        yield _imagination_run(folder, config, kind, name)
    elif settings.get("program") == "evaluate":
        yield from _evaluate_runs(folder, title, settings, name)
    elif "vlm_type" in settings:
        yield from _vlm_runs(folder, title, settings, name)
    else:
        raise ConfigError(
            f"{folder} was made by none of the programs that play games: dream, train, plan, evaluate"
        )


def _imagination_run(folder: Path, config: Mapping[str, Any], kind: str, name: str) -> OwnRun:
    settings, options = config["settings"], config.get("command") or {}
    learner = settings[kind]
    lines = _metrics(folder)
    evaluated = [line for line in lines if "evaluation/return" in line]
    curve = tuple(
        (float(_steps(lines, line["epoch"]) or 0), _number(folder, line)) for line in evaluated
    )
    last = evaluated[-1] if evaluated else None
    play = learner["play"]
    cut, temperature = play["eval_max_steps"], play["eval_temperature"]
    return OwnRun(
        method=name or f"own {options.get('preset', kind)}",
        folder=folder.resolve().name,
        game=_game_name(str(settings["source"])),
        seed=int(settings["seed"]),
        score=curve[-1][1] if curve else None,
        episodes=int(last["evaluation/episodes"]) if last else 0,
        state=_learning_state(lines, last, learner["epochs"], bool(options.get("dataset"))),
        conditions=f"temperature {temperature:g}, sticky actions 0, episodes cut after {cut:,} steps",
        settings=settings,
        steps=_steps(lines, math.inf),
        curve=curve,
    )


def _learning_state(
    lines: Sequence[Mapping[str, Any]], last: Mapping[str, Any] | None, epochs: int, offline: bool
) -> str:
    reached = lines[-1]["epoch"] if lines else 0
    state = FINISHED if reached >= epochs else f"epoch {reached} of {epochs}"
    if last is None:
        return f"{state}, {'trained offline, plays no game' if offline else 'no evaluation yet'}"
    return state if last["epoch"] == reached else f"{state}, evaluated at {last['epoch']}"


def _metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line that a kill cut short counts as none."""
    file = folder / "metrics.jsonl"
    texts = (
        file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    )
    entries = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            if number == len(texts):
                break
            raise ConfigError(f"{file}, line {number}, cannot be read: {error}") from error
        if not isinstance(line, dict):
            raise ConfigError(f"{file}, line {number}, holds no named values")
        entries.append(line)
    return entries


def _steps(lines: Sequence[Mapping[str, Any]], epoch: float) -> int | None:
    """Steps collected up to an epoch."""
    counts = [
        line["collection/steps"]
        for line in lines
        if "collection/steps" in line and line["epoch"] <= epoch
    ]
    return int(max(counts)) if counts else None


def _number(folder: Path, line: Mapping[str, Any]) -> float:
    value = line["evaluation/return"]
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(
            f"{folder}/metrics.jsonl: the return of epoch {line['epoch']} is no finite number: {value!r}"
        )
    return float(value)


def _evaluate_runs(
    folder: Path, title: str, settings: Mapping[str, Any], name: str
) -> Iterator[OwnRun]:
    """Each agent of an evaluation is a method."""
    file = folder / "results.json"
    if not file.is_file():
        raise ConfigError(
            f"{folder} has no results.json yet; the command that began it continues it"
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    state = (
        "unfinished evaluation"
        if any("Unfinished" in note for note in content["notes"])
        else FINISHED
    )
    for run in content["runs"]:
        yield OwnRun(
            method=f"{name or 'own'} {run['agent']}",
            folder=title,
            game=_game_name(run["game"]),
            seed=int(run["seed"]),
            score=float(run["score"]),
            episodes=len(run["returns"]),
            state=state,
            conditions=_played(settings),
            settings=settings,
            fallback_rate=_fallback_rate(run),
            cut=_is_cut(run, settings),
        )


def _fallback_rate(run: Mapping[str, Any]) -> float:
    """Older results count the fallbacks."""
    if "fallback_rate" in run:
        return float(run["fallback_rate"])
    return float(run["fallbacks"] / max(1, run["steps"]))


def _is_cut(run: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether an episode met the limit of steps; older results say it in another word, or not at all."""
    return bool(run.get("truncated", run.get("cut", settings.get("max_steps") is not None)))


def _vlm_runs(folder: Path, title: str, settings: Mapping[str, Any], name: str) -> Iterator[OwnRun]:
    """A run of ``train`` or ``plan``: the newest evaluation of each strategy, or the evaluation episodes so far."""
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        finished = bool(journal.meta().get("finished", False))
        evaluated = [row for row in journal.episodes() if row.phase == "eval"]
        cut = bool(cut_episodes(journal, evaluated, settings))
    newest = {
        line["strategy"]: line for line in _metrics(folder) if line.get("kind") == "evaluation"
    }
    entries = list(newest.values()) or [_evaluation_so_far(folder)]
    for line in entries:
        returns = line["episode_rewards"]
        own = name or _vlm_name(settings)
        yield OwnRun(
            method=own if len(entries) == 1 else f"{own}: {line['strategy']}",
            folder=title,
            game=_game_name(settings["game_name"])
            + (" (dreamed)" if settings.get("dream") else ""),
            seed=int(settings["seed"]),
            score=float(np.mean(returns)) if returns else None,
            episodes=len(returns),
            state=FINISHED
            if finished and returns
            else "unfinished"
            if returns
            else "no evaluation yet",
            conditions=_played(settings),
            settings=settings,
            fallback_rate=line["fallback_rate"],
            cut=cut,
        )


def _vlm_name(settings: Mapping[str, Any]) -> str:
    way = (
        "plan"
        if settings.get("program") == "plan"
        else "ICL"
        if settings.get("use_in_context_learning")
        else None
    )
    return " ".join(
        map(str, filter(None, ("own", settings["vlm_type"], settings.get("model"), way)))
    )


def _evaluation_so_far(folder: Path) -> dict[str, Any]:
    """The finished episodes of an evaluation that is going on, from episodes.csv."""
    file = folder / "episodes.csv"
    rows = (
        list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        if file.is_file()
        else []
    )
    played = [row for row in rows if row["phase"] == "eval"]
    steps = sum(int(row["length"]) for row in played)
    fallbacks = sum(float(row["fallback_rate"]) * int(row["length"]) for row in played)
    rate = fallbacks / steps if steps else None
    return {
        "episode_rewards": [float(row["episode_return"]) for row in played],
        "fallback_rate": rate,
        "strategy": "",
    }


def _played(settings: Mapping[str, Any]) -> str:
    """The conditions of a game played by a VLM, which are not those of Atari 100k."""
    env, cut = settings.get("env") or {}, settings.get("max_steps")
    sticky = env.get("repeat_action_probability", 0.25)
    limit = env.get("max_episode_steps", 10_000) if cut is None else cut
    return f"no training of weights, sticky actions {sticky:g}, episodes cut after {limit:,} steps"


def _game_name(source: str) -> str:
    try:
        return known_game(source).name
    except UnknownNameError:
        return source
