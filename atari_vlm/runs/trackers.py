"""Where the metrics of a run go besides its ``metrics.jsonl``: TensorBoard, W&B, trackio.

W&B and trackio are one adapter: trackio has W&B's calls. Both work without a network: W&B writes below the run's folder (later:
``wandb sync``) unless the environment's ``WANDB_MODE`` says otherwise, trackio into its local database.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from atari_vlm._lazy import require
from atari_vlm.errors import UnknownNameError
from atari_vlm.files import atomic_write
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.outputs import public_columns

TRACKERS = ("tensorboard", "wandb", "trackio")
PROJECT = "atari-vlm"


class Tracker(Protocol):
    """Shows metrics somewhere; ``line`` maps names to numbers and has ``epoch``."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Show one epoch."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


@dataclass(frozen=True)
class LogConfig:
    """Further places for metrics.

    ``trackers``: names of ``TRACKERS``; TensorBoard is written wherever it is installed. ``settings`` (plain data) is shown with
    the run.
    """

    trackers: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.trackers:
            if name not in TRACKERS:
                raise UnknownNameError("tracker", name, TRACKERS)


def check_installed(trackers: Sequence[str]) -> None:
    """Raise ``MissingDependencyError`` for a tracker that is not installed."""
    for name in trackers:
        require(name, "train" if name == "tensorboard" else name)


def open_trackers(
    folder: Path, config: LogConfig, lines: Sequence[Mapping[str, Any]], say: Callable[[str], None]
) -> list[Tracker]:
    """The trackers of a run, each brought up to the epochs that are there already (``lines``).

    ``say`` is told, once, of a tracker that fails; it gets nothing more. Raises ``MissingDependencyError`` for one that is not
    installed.
    """
    check_installed(config.trackers)
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder / "tensorboard"),
        "wandb": lambda: Experiment("wandb", folder, config.settings),
        "trackio": lambda: Experiment("trackio", folder, config.settings),
    }
    names = dict.fromkeys(config.trackers)
    if importlib.util.find_spec("tensorboard") is not None:
        names["tensorboard"] = None
    trackers: list[Tracker] = [Guarded(name, makers[name], say) for name in names]
    for line in lines:
        for tracker in trackers:
            tracker.add(line)
    return trackers


class Guarded:
    """A tracker whose failure is said once and never ends the run."""

    def __init__(self, name: str, make: Callable[[], Tracker], say: Callable[[str], None]):
        self._name, self._say = name, say
        self._tracker: Tracker | None = None
        self._try(lambda: setattr(self, "_tracker", make()))

    def add(self, line: Mapping[str, Any]) -> None:
        """Show one epoch, unless it failed before."""
        if self._tracker is not None:
            self._try(lambda tracker=self._tracker: tracker.add(line))  # type: ignore[misc]

    def close(self) -> None:
        """Finish, unless it failed before."""
        if self._tracker is not None:
            self._try(self._tracker.close)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever a tracker, its server or its disk may come up with
            self._tracker = None
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(
                f"{self._name} failed and gets no more metrics of this run ({said}); metrics.jsonl has them all"
            )


class TensorBoard:
    """Event files, written anew with every start: an epoch that is done again is there once."""

    def __init__(self, folder: Path):
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = require("tensorboard.summary", "train").Writer(str(folder))

    def add(self, line: Mapping[str, Any]) -> None:
        """One scalar per metric."""
        for name, value in _numbers(line).items():
            self._writer.add_scalar(name, value, line["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()


class Experiment:
    """A run of W&B, or of trackio: ``module`` has ``init``, and what it returns ``log`` and ``finish``.

    ``<run>/trackers.json`` keeps the run's id there, so that a run that is continued goes on, and the last epoch that was told,
    so that an epoch that is done again is not told twice.
    """

    def __init__(self, module: str, folder: Path, settings: Mapping[str, Any]):
        self._path, self._module = folder / "trackers.json", module
        self._note = {"id": secrets.token_hex(4), "epoch": 0, **self._notes().get(module, {})}
        name = f"{folder.name}-{self._note['id']}"
        options: dict[str, Any] = {
            "project": PROJECT,
            "name": name,
            "config": dict(settings),
            "resume": "allow",
        }
        if module == "wandb":
            options |= {
                "id": name,
                "dir": str(folder),
                "mode": os.environ.get("WANDB_MODE", "offline"),
            }
        self._run = require(module, module).init(**options)

    def add(self, line: Mapping[str, Any]) -> None:
        """Tell one epoch as a step, if it is a new one."""
        if line["epoch"] > self._note["epoch"]:
            self._run.log({**_numbers(line), "epoch": line["epoch"]}, step=line["epoch"])
            self._note["epoch"] = line["epoch"]
            atomic_write(self._path, json.dumps({**self._notes(), self._module: self._note}))

    def close(self) -> None:
        """Finish the run: everything that was told is on disk, or sent."""
        self._run.finish()

    def _notes(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._path.read_text()) if self._path.is_file() else {}
        return state


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in line.items() if isinstance(v, (int, float)) and k != "epoch"}


class EpisodeLog:
    """The finished episodes of a run, in order, in its trackers; ``epoch`` is the episode's number, counted from 1.

    Trackers are opened with the first episode. ``say`` is told of one that fails.
    """

    def __init__(self, folder: Path, config: LogConfig, say: Callable[[str], None]):
        check_installed(config.trackers)
        self._folder, self._config, self._say = folder, config, say
        self._logged: set[int] = set()
        self._trackers: list[Tracker] | None = None

    def update(self, rows: Sequence[EpisodeRow]) -> None:
        """Tell the episodes that were not told yet, up to the first that is not finished."""
        finished = itertools.takewhile(lambda row: row.status == "done", rows)
        new = [row for row in finished if row.episode not in self._logged]
        if not new:
            return
        if self._trackers is None:
            self._trackers = open_trackers(self._folder, self._config, (), self._say)
        for row in new:
            self._logged.add(row.episode)
            for tracker in self._trackers:
                tracker.add(_line_of(row))

    def close(self) -> None:
        """Finish them all."""
        for tracker in self._trackers or ():
            tracker.close()
        self._trackers = None


def _line_of(row: EpisodeRow) -> dict[str, Any]:
    names = ("episode", "phase", "seed")
    values = {
        name: value
        for name, value in public_columns(row).items()
        if name not in names and value is not None
    }
    return {
        "epoch": row.episode + 1,
        **{f"{row.phase}/{name}": float(value) for name, value in values.items()},
    }
