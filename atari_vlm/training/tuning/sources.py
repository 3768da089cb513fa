"""Teachers: a run folder, or ``scripted``, the bundled player; in both a pupil looks on (:mod:`teaching`).

The episodes of a run are played again from their seeds and actions, exactly, and nobody is asked; the bundled player plays
new ones.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL

from atari_vlm.agents.specs import parse_agents
from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.reporting.page.run_report import scenes_of
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.recorded import RecordedAgent
from atari_vlm.runs.rollout import play_episode
from atari_vlm.runs.run_folder import read_config
from atari_vlm.runs.seeds import eval_seed, train_seed
from atari_vlm.settings import from_plain
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.teaching import TaughtAgent, TaughtDecision
from atari_vlm.types import Image, Message, Part, Text
from atari_vlm.vlm.scripted import ScriptedVLM

SCRIPTED = "scripted"
_WORDS = ("frames", "frame_layout", "turns", "turn_images", "feedback", "overlay", "scale")


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode of a teacher: its decisions in order, its game, whether it is held out, and its return."""

    game: str
    held_out: bool
    episode_return: float
    decisions: tuple[TaughtDecision, ...]


@dataclass(frozen=True)
class TeachingConfig:
    """How a source is turned into decisions.

    ``episodes`` and ``held_out`` count those of the bundled player in each game; of a run ``held_out`` of a hundred are taken.
    ``best`` keeps that share of a run's episodes, those of the highest return in their game. ``explore``: share of random
    actions while the bundled player teaches. ``thin``: of this many decisions in a row one is kept.
    """

    prompt_type: str = "basic"
    frames: int = 2
    episodes: int = 64
    held_out: int = 16
    max_steps: int = 200
    explore: float = 0.2
    best: float = 1.0
    thin: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(episodes=self.episodes, held_out=self.held_out, max_steps=self.max_steps)
        check_count(thin=self.thin)
        if not 0 <= self.explore < 1:
            raise ConfigError(f"explore is a share from 0 to below 1, got {self.explore!r}")
        if not 0 < self.best <= 1:
            raise ConfigError(f"best is a share above 0, at most 1, got {self.best!r}")


def played_episodes(
    source: str | Path,
    games: Sequence[GameSpec],
    config: TeachingConfig,
    watch: Callable[[TaughtDecision], None] = lambda decision: None,
) -> Iterator[PlayedEpisode]:
    """The episodes of a source, one after the other; ``watch`` sees every decision as it is made."""
    if str(source) == SCRIPTED:
        yield from _scripted(games, config, watch)
        return
    folder = Path(source)
    if not folder.is_dir():
        raise ConfigError(
            f"--from takes a run folder or {SCRIPTED}, and {source} is neither; planners and Minari cannot teach yet"
        )
    yield from _recorded(folder, games, config, watch)


def frames_of(source: str | Path, config: TeachingConfig) -> int:
    """How many pictures a question of the pupil holds: those of a run are what the run had."""
    if str(source) == SCRIPTED:
        return config.frames
    folder = Path(source)
    return _pupil_options(_asked_in(folder, read_config(folder)["settings"]), None).frames


def _scripted(
    games: Sequence[GameSpec], config: TeachingConfig, watch: Callable[[TaughtDecision], None]
) -> Iterator[PlayedEpisode]:
    """Training episodes on even seeds, held-out ones on odd seeds; the latter are explored as much."""
    seeds = [
        *((train_seed(config.seed, n), False) for n in range(config.episodes)),
        *((eval_seed(config.seed, n), True) for n in range(config.held_out)),
    ]
    number = 0
    for game in games:
        env = make_env({"game_name": game.name, "env": dict(game.options)})
        try:
            for seed, held_out in seeds:
                teacher = VLMAgent(ScriptedVLM(), prompt_type="basic")
                lesson = _Lesson(config, _pupil_options({}, config.frames), watch, number)
                agent = lesson.agent(teacher, explore=config.explore)
                played = play_episode(env, agent, seed=seed, max_steps=config.max_steps)
                yield PlayedEpisode(game.name, held_out, played.episode_return, tuple(lesson.kept))
                number += 1
        finally:
            env.close()


def _recorded(
    folder: Path,
    games: Sequence[GameSpec],
    config: TeachingConfig,
    watch: Callable[[TaughtDecision], None],
) -> Iterator[PlayedEpisode]:
    recorded = read_config(folder)
    settings: Mapping[str, Any] = recorded["settings"]
    if not (folder / "journal.sqlite").is_file():
        raise ConfigError(f"the run {folder} has no journal: its episodes cannot be learned from")
    asked = _pupil_options(_asked_in(folder, settings), None)
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        scene = scenes_of(journal, settings)
        rows = [row for row in journal.episodes() if row.status == "done"]
        rows = _best(journal, settings, rows, config.best)
        if not rows:
            raise ConfigError(
                f"the run {folder} is empty: it has no finished episode to learn from"
            )
        _check_games(folder, {_game_of(journal, settings, row) for row in rows}, games)
        for number, row in enumerate(rows):
            examples = _examples(journal, row, settings)
            lesson = _Lesson(config, asked, watch, number, examples)
            env = scene(row)
            try:
                total = _again(env, journal, row, lesson)
            finally:
                env.close()
            yield PlayedEpisode(
                _game_of(journal, settings, row),
                _is_held_out(number, len(rows), config.held_out),
                total,
                tuple(lesson.kept),
            )


def _asked_in(folder: Path, settings: Mapping[str, Any]) -> Any:
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


class _Lesson:
    """What is kept of one episode."""

    def __init__(
        self,
        config: TeachingConfig,
        options: VLMAgentOptions,
        watch: Callable[[TaughtDecision], None],
        number: int,
        examples: Sequence[Message] = (),
    ):
        self._config, self._options, self._examples = config, options, examples
        self._watch, self._number, self._seen = watch, number, 0
        self.kept: list[TaughtDecision] = []

    def agent(self, teacher: Any, explore: float = 0.0) -> TaughtAgent:
        """The teacher, looked on."""
        return TaughtAgent(
            teacher,
            self._config.prompt_type,
            self._options,
            self._keep,
            examples=self._examples,
            explore=explore,
        )

    def _keep(self, messages: tuple[Message, ...], names: tuple[str, ...], action: int) -> None:
        self._seen += 1
        if (self._seen - 1) % self._config.thin:
            return
        decision = TaughtDecision(messages, names, action, self._number)
        self._watch(decision)
        self.kept.append(decision)


def _again(env: Env, journal: Journal, row: EpisodeRow, lesson: _Lesson) -> float:
    """Play a recorded episode again; its return."""
    steps = journal.steps(row.episode)
    if not all(isinstance(step.action, int) for step in steps):
        raise ConfigError("a model that scores choices learns from numbered actions only")
    agent = lesson.agent(RecordedAgent(row, steps))
    played = play_episode(env, agent, seed=row.seed, max_steps=len(steps))
    return played.episode_return


def _pupil_options(asked: Any, frames: int | None) -> VLMAgentOptions:
    """How the pupil is asked: as the run's agent was, where a run says so, but for scores."""
    given = {
        name: value
        for name, value in (asked if isinstance(asked, Mapping) else {}).items()
        if name in (*_WORDS, "decide_every")
    }
    if frames is not None:
        given["frames"] = frames
    options = from_plain(VLMAgentOptions, given, "the run's agent")
    if options.scale != 1 or options.overlay:
        raise ConfigError(
            "a run whose pictures were scaled or had axes cannot be learned from: its examples hold them already"
        )
    return dataclasses.replace(options, answer="scores")


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


def _best(
    journal: Journal, settings: Mapping[str, Any], rows: Sequence[EpisodeRow], share: float
) -> list[EpisodeRow]:
    """Of each game's episodes that share with the highest returns, in the order of the run."""
    if share == 1:
        return list(rows)
    kept: set[int] = set()
    for game in {_game_of(journal, settings, row) for row in rows}:
        own = [row for row in rows if _game_of(journal, settings, row) == game]
        own.sort(key=lambda row: (-(row.episode_return or 0.0), row.episode))
        kept |= {row.episode for row in own[: max(1, round(share * len(own)))]}
    return [row for row in rows if row.episode in kept]


def _is_held_out(number: int, count: int, percent: int) -> bool:
    """Whether an episode is one of the last ``percent`` of a hundred, at least one."""
    return number >= count - max(1, round(count * percent / 100))


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
