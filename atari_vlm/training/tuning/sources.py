"""Teachers by word: what ``--from`` means, and the episodes that come of it; in all a pupil looks on (:mod:`teaching`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.runs.run_folder import read_config
from atari_vlm.training.tuning.from_minari import MINARI, recorded_in_minari
from atari_vlm.training.tuning.from_play import bundled_player, planner, played
from atari_vlm.training.tuning.from_runs import asked_in, recorded
from atari_vlm.training.tuning.lessons import PlayedEpisode, TeachingConfig, Watch, pupil_options
from atari_vlm.training.tuning.teaching import TaughtDecision

SCRIPTED = "scripted"
ALLOWED = f"{SCRIPTED}, mcts@emulator, {MINARI}ID and run folders"


def unwatched(decision: TaughtDecision) -> None:
    """Nobody looks on."""


def played_episodes(
    source: str | Path,
    games: Sequence[GameSpec],
    config: TeachingConfig,
    watch: Watch = unwatched,
) -> Iterator[PlayedEpisode]:
    """The episodes of a source, one after the other; ``watch`` sees every decision as it is made.

    ``source`` is ``scripted`` (the bundled player), ``mcts@emulator`` with a study's options, ``minari:ID`` or a run folder;
    ``ConfigError`` for what is none of them.
    """
    word = str(source)
    if word == SCRIPTED:
        return played(bundled_player, games, config, watch)
    if word.startswith(MINARI):
        return recorded_in_minari(word, games, config, watch)
    if Path(source).is_dir():
        return recorded(Path(source), games, config, watch)
    if "@" in word:
        return played(planner(word), games, config, watch)
    raise ConfigError(f"--from takes {ALLOWED}, and {word} is none of them")


def frames_of(source: str | Path, config: TeachingConfig) -> int:
    """How many pictures a question of the pupil holds: those of a run are what the run had."""
    folder = Path(source)
    if not folder.is_dir():
        return config.frames
    return pupil_options(asked_in(folder, read_config(folder)["settings"]), None).frames
