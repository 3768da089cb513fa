"""``report export``: its options, and what it says."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError
from atari_vlm.reporting.export.lerobot import write_lerobot
from atari_vlm.reporting.export.minari import write_minari_export
from atari_vlm.reporting.export.retelling import Choice, retold_episodes
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.options import Options
from atari_vlm.runs.terminal import messages, results

_EXPORT = """Write a run's episodes as a data set of another format: pictures, actions, rewards, and what was said.

    python -m atari_vlm.report export RUN --format lerobot --out FOLDER            # extra lerobot
    python -m atari_vlm.report export RUN --format minari --out FOLDER/NAME-v0     # extra datasets
    python -m atari_vlm.report export RUN --format lerobot --out FOLDER --game Pong --phase eval

Every finished episode is played again from its seed and its actions, and every picture is read back and compared. A study of
several games is exported game by game.
"""


@dataclass(frozen=True)
class ExportConfig(Options):
    """Which run, as what, and where to."""

    program = "report"

    run: Annotated[Path, tyro.conf.Positional]
    """the folder of the run"""
    format: Literal["lerobot", "minari"]
    """lerobot: Parquet with PNGs, LeRobot v3.0; minari: HDF5"""
    out: Path
    """the folder, which is not there yet; of a Minari data set its name is the id (NAME-v0)"""
    game: str | None = None
    """of a run with several games: which"""
    phase: Literal["train", "eval"] | None = None
    """only training or only evaluation episodes"""
    trust_module: tuple[str, ...] = ()
    """modules of games of your own (module:Id) that may be imported for the run's pictures"""


_WRITERS = {"lerobot": write_lerobot, "minari": write_minari_export}


def run_export(argv: Sequence[str]) -> int:
    """The program ``report export``; its exit code."""
    config = parse(ExportConfig, argv, _EXPORT)
    count, steps = export(config)
    messages().print(
        f"{count} episodes, {steps:,} steps; every picture read back is the one that was played"
    )
    results().print(config.out)
    return 0


def export(config: ExportConfig) -> tuple[int, int]:
    """Write the data set; how many episodes and steps. Nothing is left where it fails.

    Raises ``ConfigError`` where something lies at the place already, and what :func:`retold_episodes` raises.
    """
    for module, extra in {"lerobot": [("pyarrow", "lerobot")], "minari": [("minari", "datasets")]}[
        config.format
    ]:
        require(module, extra)
    if config.out.exists() or config.out.is_symlink():
        raise ConfigError(f"{config.out} is there already; name a folder that is not")
    try:
        config.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{config.out} cannot be made: {error.strerror}") from error
    choice = Choice(config.game, config.phase, config.trust_module)
    try:
        return _WRITERS[config.format](config.out, retold_episodes(config.run, choice))
    except BaseException:
        shutil.rmtree(config.out, ignore_errors=True)
        raise
