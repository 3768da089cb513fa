"""The report of a run folder: its journal, what its config.yaml says of the conditions, and pictures from the emulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm import prompts
from atari_vlm.files import atomic_write
from atari_vlm.reporting.html import RunFacts, report_page
from atari_vlm.reporting.replayed import environment_replay
from atari_vlm.reporting.rerun import command_line
from atari_vlm.training.environments import make_env
from atari_vlm.training.journal import EpisodeRow, Journal
from atari_vlm.training.rollout import Env
from atari_vlm.training.run_folder import read_config

_FIRST = (
    "game_name",
    "games",
    "agents",
    "vlm_type",
    "model",
    "endpoint",
    "prompt_type",
    "use_in_context_learning",
    "seed",
    "seeds",
)


def write_report(run: str | Path, out: str | Path | None = None, max_mb: float = 24.0) -> Path:
    """Write the report of a run folder to ``out`` (default ``report.html`` in it); returns its path.

    The run may still be going on. Raises ``ConfigError`` when ``run`` is no run folder and ``RunError`` when its journal is
    damaged.
    """
    folder = Path(run)
    config = read_config(folder)
    settings = config["settings"]
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        games = journal.meta().get("games", {})

        def environment(row: EpisodeRow) -> Env:
            return make_env({**settings, "game_name": games.get(str(row.episode), settings.get("game_name"))})

        page = report_page(journal, run_facts(folder.resolve().name, config), environment_replay(environment), max_mb)
    target = Path(out) if out is not None else folder / "report.html"
    atomic_write(target, page)
    return target


def run_facts(name: str, config: Mapping[str, Any]) -> RunFacts:
    """Title, conditions and command of a run from its config.yaml."""
    settings = flat(config["settings"])
    names = [*(name for name in _FIRST if name in settings), *(name for name in settings if name not in _FIRST)]
    conditions = [(_words(name), _value(settings[name])) for name in names if settings[name] not in (None, "", [], {})]
    if "prompt_type" in settings:
        conditions.append(("prompt version", str(prompts.prompt_version(settings["prompt_type"]))))
    versions = {"atari-vlm": config.get("atari_vlm", "unknown"), **config.get("versions", {})}
    conditions.append(("versions", ", ".join(f"{package} {version}" for package, version in versions.items())))
    command = command_line(settings.get("program", "train"), config.get("command") or {})
    return RunFacts(name, _subtitle(settings), conditions, command)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


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
