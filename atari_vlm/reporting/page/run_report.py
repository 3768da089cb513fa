"""The report of a run folder: its journal, what its config.yaml says of the conditions, and pictures from the emulator."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm import prompts
from atari_vlm.errors import ConfigError
from atari_vlm.files import atomic_write
from atari_vlm.reporting.page.html import RunFacts, report_page
from atari_vlm.reporting.page.replayed import environment_replay
from atari_vlm.reporting.page.run_data import Replay
from atari_vlm.reporting.tree.tree_report import holds_search, write_tree
from atari_vlm.runs.answered import answered_in
from atari_vlm.runs.command_line import recorded_line
from atari_vlm.runs.continuing import started_in
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import module_of
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.run_folder import read_config
from atari_vlm.settings import flat
from atari_vlm.spaces import Env

_SHOWN = (
    *(
        "game_name",
        "games",
        "agents",
        "vlm_type",
        "model",
        "endpoint",
        "prompt_type",
        "use_in_context_learning",
    ),
    *("in_context.strategy", "latency", "seed", "seeds", "max_steps"),
)


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    max_mb: float = 24.0,
    trusted: Collection[str] = (),
    watch: Callable[[Replay], Replay] = lambda replay: replay,
) -> Path:
    """Write the report of a run folder to ``out`` (default ``report.html`` in it, ``tree.html`` of a search); returns its path.

    The run may still be going on. Games of a module of somebody's own are played again for their pictures only where that
    module is ``trusted`` or in use already: to import is to run. ``watch`` may look on while episodes are played again.
    Raises ``ConfigError`` when ``run`` is no run folder and ``RunError`` when its journal is damaged.
    """
    folder = Path(run)
    config = read_config(folder)
    if holds_search(config):
        return write_tree(folder, out, max_mb)
    settings = dict(config["settings"])
    if settings.get("dream") is not None:
        settings["dream"] = str(started_in(config) / settings["dream"])
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        environment = scenes_of(journal, settings, trusted)

        facts = run_facts(
            folder.resolve().name, config, journal.episodes(), answered_in(journal, settings)
        )
        page = report_page(journal, facts, watch(environment_replay(environment)), max_mb)
    target = Path(out) if out is not None else folder / "report.html"
    atomic_write(target, page)
    return target


def scenes_of(
    journal: Journal, settings: Mapping[str, Any], trusted: Collection[str] = ()
) -> Callable[[EpisodeRow], Env]:
    """How the environments of a run's episodes are made anew; ``ConfigError`` for a game whose module is not trusted."""
    meta = journal.meta()
    return lambda row: env_of_scene(scene_of(meta, row.episode, settings), trusted)


def env_of_scene(scene: Mapping[str, Any], trusted: Collection[str] = ()) -> Env:
    """The environment of an episode, made anew; ``ConfigError`` for a game whose module is not trusted."""
    module = module_of(str(scene["game_name"]))
    if module and module not in trusted and module not in sys.modules:
        raise ConfigError(
            f"{scene['game_name']} is of the module {module}, which is not imported for a run's sake; if you trust it: "
            f"--trust-module {module}"
        )
    return make_env(scene)


def scene_of(meta: Mapping[str, Any], episode: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an episode's environment: those of the run, or its own where the run notes any."""
    scenes, number = meta.get("environments", []), meta.get("environment_of", {}).get(str(episode))
    if number is not None:
        return dict(scenes[number])
    game = meta.get("games", {}).get(str(episode), settings.get("game_name"))
    return {**settings, "game_name": game}


def run_facts(
    name: str,
    config: Mapping[str, Any],
    rows: Sequence[EpisodeRow] = (),
    answered: Mapping[str, str] | None = None,
) -> RunFacts:
    """Title, conditions and command of a run from its config.yaml, its episodes, and what answered in it."""
    settings = {
        key: value
        for key, value in flat(config["settings"]).items()
        if value not in (None, "", [], {})
    }
    conditions = [(_words(key), _value(settings[key])) for key in _SHOWN if key in settings]
    for phase in ("train", "eval"):
        seeds = [row.seed for row in rows if row.phase == phase]
        if seeds:
            conditions.append((f"{phase} episodes", f"{len(seeds)}, seeds {_seeds(seeds)}"))
    if "prompt_type" in settings:
        style = settings["prompt_type"]
        conditions.append(
            (
                "prompt version",
                f"{prompts.prompt_version(style)}, sha256 {prompts.prompt_hash(style)}",
            )
        )
    conditions += [
        (name, value) for name, value in (answered or {}).items() if name.startswith("model")
    ]
    versions = {"atari-vlm": config.get("atari_vlm", "unknown"), **config.get("versions", {})}
    conditions.append(
        ("versions", ", ".join(f"{package} {version}" for package, version in versions.items()))
    )
    others = [(_words(key), _value(value)) for key, value in settings.items() if key not in _SHOWN]
    command = recorded_line(config)
    return RunFacts(name, _subtitle(settings), conditions, others, command)


def _seeds(seeds: Sequence[int]) -> str:
    unique = sorted(set(seeds))
    return ", ".join(map(str, unique)) if len(unique) <= 12 else f"{unique[0]} to {unique[-1]}"


def _subtitle(settings: Mapping[str, Any]) -> str:
    games = settings.get("games") or [settings.get("game_name")]
    players = settings.get("agents") or [settings.get("vlm_type")]
    words = [", ".join(map(str, filter(None, games))), ", ".join(map(str, filter(None, players)))]
    if settings.get("prompt_type"):
        words.append(f"{settings['prompt_type']} prompt")
    if settings.get("use_in_context_learning"):
        words.append("in-context learning")
    return " · ".join(word for word in words if word)


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
