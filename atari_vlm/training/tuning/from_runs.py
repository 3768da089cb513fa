"""Runs as teachers: their episodes are played again from seeds and actions, exactly, and nobody is asked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL

from atari_vlm.agents.specs import parse_agents
from atari_vlm.errors import ConfigError
from atari_vlm.reporting.page.run_report import scenes_of
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.recorded import RecordedAgent
from atari_vlm.runs.rollout import play_episode
from atari_vlm.runs.run_folder import read_config
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.lessons import (
    Lesson,
    PlayedEpisode,
    TeachingConfig,
    Watch,
    best_of,
    held_out_of,
    pupil_options,
)
from atari_vlm.types import Image, Message, Part, Text


def recorded(
    folder: Path, games: Sequence[GameSpec], config: TeachingConfig, watch: Watch
) -> Iterator[PlayedEpisode]:
    """The finished episodes of a run in order, of each game the last held out.

    ``ConfigError`` for a run without a journal or a finished episode, of other games than asked for, or of several agents.
    """
    settings: Mapping[str, Any] = read_config(folder)["settings"]
    if not (folder / "journal.sqlite").is_file():
        raise ConfigError(f"the run {folder} has no journal: its episodes cannot be learned from")
    asked = pupil_options(asked_in(folder, settings), None)
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        scene = scenes_of(journal, settings)
        rows = [row for row in journal.episodes() if row.status == "done"]
        rows = best_of(
            rows,
            config.best,
            lambda row: _game_of(journal, settings, row),
            lambda row: row.episode_return or 0.0,
        )
        names = [_game_of(journal, settings, row) for row in rows]
        if not rows:
            raise ConfigError(
                f"the run {folder} is empty: it has no finished episode to learn from"
            )
        _check_games(folder, set(names), games)
        held_out = held_out_of(names, config.held_out)
        for number, row in enumerate(rows):
            examples = _examples(journal, row, settings)
            lesson = Lesson(config, asked, watch, number, examples)
            env = scene(row)
            try:
                total = _again(env, journal, row, lesson)
            finally:
                env.close()
            kept = tuple(lesson.kept)
            yield PlayedEpisode(names[number], held_out[number], total, kept)


def asked_in(folder: Path, settings: Mapping[str, Any]) -> Any:
    """How the agent of a run was asked; ``ConfigError`` for a study of several agents, of whom nobody says which is to teach."""
    agents = settings.get("agents")
    if not agents:
        return settings.get("agent")
    specs = parse_agents(agents)
    if len(specs) != 1:
        raise ConfigError(
            f"the run {folder} has several agents ({', '.join(spec.label for spec in specs)}); one of them teaches: play it by "
            "itself"
        )
    return {**(settings.get("asking") or {}), **specs[0].options}


def _again(env: Env, journal: Journal, row: EpisodeRow, lesson: Lesson) -> float:
    """Play a recorded episode again; its return."""
    steps = journal.steps(row.episode)
    if not all(isinstance(step.action, int) for step in steps):
        raise ConfigError("a model that scores choices learns from numbered actions only")
    agent = lesson.agent(RecordedAgent(row, steps))
    played = play_episode(env, agent, seed=row.seed, max_steps=len(steps))
    return played.episode_return


def _examples(
    journal: Journal, row: EpisodeRow, settings: Mapping[str, Any]
) -> tuple[Message, ...]:
    """The in-context examples that an episode was shown: what stood between instructions and question at its first step."""
    if not settings.get("use_in_context_learning"):
        return ()
    calls = journal.calls(row.episode)
    first = next((call for call in calls if call.request), None)
    if first is None:
        return ()
    messages = [
        Message(role, tuple(_part(journal, kind, sha) for kind, sha in parts))
        for role, parts in first.request
    ]
    between = messages[1:-1] if messages and messages[0].role == "system" else messages[:-1]
    return tuple(between)


def _part(journal: Journal, kind: str, sha: str) -> Part:
    data = journal.blob(sha)
    if kind == "text":
        return Text(data.decode())
    with PIL.open(io.BytesIO(data), formats=("PNG",)) as picture:
        return Image(np.asarray(picture.convert("RGB")))


def _game_of(journal: Journal, settings: Mapping[str, Any], row: EpisodeRow) -> str:
    games = journal.meta().get("games", {})
    return str(games.get(str(row.episode), settings.get("game_name")))


def _check_games(folder: Path, played: set[str], games: Sequence[GameSpec]) -> None:
    wanted = {game.name for game in games}
    for game in sorted(played):
        if game not in wanted:
            raise ConfigError(
                f"the run {folder} played {game}, and --game asks for {', '.join(sorted(wanted))}: their actions are others"
            )
    for game in sorted(wanted - played):
        raise ConfigError(f"the run {folder} has no finished episode of {game}, which --game names")
