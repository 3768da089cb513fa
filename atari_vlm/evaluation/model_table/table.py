"""The table: measured model by model, as ``fidelity.json`` and ``fidelity.md``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from atari_vlm.conditions import hardware, machine
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.model_table.contestants import Contestant, contestant
from atari_vlm.evaluation.model_table.deciding import decision_value
from atari_vlm.evaluation.model_table.kept_play import keep_play
from atari_vlm.evaluation.model_table.measuring import (
    beginnings,
    changed_play,
    divergence,
    fidelity_figures,
    one_step_figures,
    seconds_per_step,
)
from atari_vlm.evaluation.model_table.options import AHEAD, FidelityConfig
from atari_vlm.evaluation.model_table.real_play import FRAME_SKIP, WARM_UP, record
from atari_vlm.files import atomic_write
from atari_vlm.runs.command_line import command_line
from atari_vlm.scores.tables import table_lines
from atari_vlm.world_models.code.shipped import table_space

Table = dict[str, Any]
_UNKNOWN = "–"


def write_table(config: FidelityConfig, say: Callable[[str], object] = lambda line: None) -> Table:
    """Measure every model and write both files; the content of ``fidelity.json``. ``say`` is told of every model that begins.

    Everything named is opened before anything is measured. Raises ``UnknownNameError`` for a game without object tables and for
    an unknown model, and what :func:`~atari_vlm.evaluation.model_table.contestants.contestant` raises.
    """
    table_space(config.game)
    if len(set(config.models)) < len(config.models):
        raise ConfigError("--models names a model twice")
    recorder, play = record(config.game, WARM_UP + config.steps + max(AHEAD), config.seed)
    if config.keep_play is not None:
        keep_play(config.keep_play, recorder, play)
    opened: dict[str, Contestant] = {}
    try:
        for name in config.models:
            opened[name] = contestant(name, recorder, config.draws)
        begins = beginnings(play, config)
        changed = changed_play(play, begins, recorder, config.seed)
        rows = {}
        for name, one in opened.items():
            say(f"{name} ...")
            rows[name] = {
                **fidelity_figures(one, play, begins, config.seed),
                **one_step_figures(one, play, config.steps, config.seed),
                "divergence": divergence(one, play, changed, config.seed),
                "decision_value": decision_value(one, recorder, config),
                "seconds_per_step": seconds_per_step(one, play, begins, config.seed),
                "cost_usd": one.costs.usd,
                "cpu_seconds": one.costs.cpu_seconds,
            }
    finally:
        for one in opened.values():
            one.close()
        recorder.close()
    counts = {
        "steps": len(play.actions),
        "beginnings": len(begins),
        "points": int((play.rewards != 0).sum()),
        "ends": int(play.ends.sum()),
    }
    table = {
        "game": recorder.table.game,
        "command": command_line(config),
        "frame_skip": FRAME_SKIP,
        "seed": config.seed,
        "counts": counts,
        "decision_steps": config.decision_steps,
        "decision_games": config.decision_games,
        "machine": machine(),
        "models": rows,
    }
    _write(config, table)
    return table


def _write(config: FidelityConfig, table: Table) -> None:
    config.save_dir.mkdir(parents=True, exist_ok=True)
    atomic_write(config.save_dir / "fidelity.json", json.dumps(table, indent=1) + "\n")
    atomic_write(config.save_dir / "fidelity.md", to_markdown(table))


def to_markdown(table: Table) -> str:
    """The page."""
    counts, games = table["counts"], table["decision_games"]
    often = f", {games} times" if games > 1 else ""
    lines = [
        f"# World models of {table['game']}, side by side",
        "",
        f"`{table['command']}`",
        "",
        hardware(),
        "",
        f"{counts['steps']:,} steps of real play without sticky actions, {table['frame_skip']} frames a step; dreams begin at "
        f"{counts['beginnings']} of them; in them {counts['points']} points and {counts['ends']} ends of a game. In square "
        "brackets: 95 % intervals from drawing beginnings (or steps) anew. A dash: not to be measured, or not known.",
        "",
        "Of what changed on the screen, in truth or in the dream, the share that is right after so many steps:",
        "",
        *_part(
            table, {f"{kind} {k}": (kind, str(k)) for kind in ("object", "pixel") for k in AHEAD}
        ),
        "",
        "One step ahead: events that were foretold, and how far chances can be believed; after ten changed actions: the share of",
        "what they changed that is wrong:",
        "",
        *_part(table, _ONE_STEP),
        "",
        f"What it is worth and what it takes ({table['decision_steps']} steps of the real game by a planner in the model{often};",
        "times with their quartiles):",
        "",
        *_part(table, _WORTH),
        "",
    ]
    return "\n".join(lines)


_ONE_STEP = {
    "points recalled": ("event_recall", "points"),
    "lives recalled": ("event_recall", "lives"),
    "calibration": ("calibration",),
    "of rewards": ("calibration", "rewards"),
    "of ends": ("calibration", "ends"),
    "divergence": ("divergence",),
}
_WORTH = {
    "points won": ("decision_value",),
    "ms a step": ("seconds_per_step",),
    "dollars": ("cost_usd",),
    "CPU seconds": ("cpu_seconds",),
}


def _part(table: Table, columns: Mapping[str, tuple[str, ...]]) -> list[str]:
    rows = []
    for name, row in table["models"].items():
        cells = [
            _cell(_at(row, path), 1000.0 if "ms" in title else 1.0)
            for title, path in columns.items()
        ]
        rows.append([name.replace("|", "\\|"), *cells])
    return table_lines(["model", *columns], rows)


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for word in path:
        row = None if row is None else row[word]
    return row


def _cell(value: Any, unit: float) -> str:
    if value is None:
        return _UNKNOWN
    if not isinstance(value, Mapping):
        return f"{value:g}"
    mean, low, high = (f"{unit * value[name]:.3g}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
