"""The files of a REM run: checkpoints of everything (the newest two are kept), metrics, and pictures.

::

    <run>/checkpoints/epoch-000120/   weights, optimizers, random numbers, replay and game: one verified checkpoint folder
    <run>/model/                      the same weights alone, for load_world_model and for others
    <run>/replay/frames.u8            frames of the replay, memory-mapped
    <run>/metrics.jsonl               one line per epoch        <run>/tensorboard/, wandb/  the same
    <run>/reconstructions/*.png, <run>/media/   see :mod:`atari_vlm.training.imagination.media`
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import CheckpointError
from atari_vlm.files import atomic_write
from atari_vlm.picture import encode_png
from atari_vlm.runs.progress import warn
from atari_vlm.runs.trackers import LogConfig, open_trackers
from atari_vlm.world_models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint

KEPT = 2


class Checkpoints:
    """The checkpoints of a run, by epoch."""

    def __init__(self, folder: Path):
        self.folder = folder

    def epochs(self) -> list[int]:
        """Epochs that have a checkpoint, ascending."""
        names = (path.name for path in self.folder.glob("epoch-*") if path.is_dir())
        return sorted(int(name[6:]) for name in names if name[6:].isdigit())

    def save(
        self, epoch: int, config: dict[str, Any], tensors: Mapping[str, np.ndarray], provenance: dict[str, Any]
    ) -> None:
        """Write a checkpoint as a whole, then remove all but the newest two."""
        provenance = {**provenance, "epoch": epoch}
        save_checkpoint(self._path(epoch), kind="rem", config=config, tensors=tensors, provenance=provenance)
        for old in self.epochs()[:-KEPT]:
            shutil.rmtree(self._path(old))

    def newest(self) -> tuple[int, Checkpoint] | None:
        """The newest checkpoint; ``None`` if there is none. ``CheckpointError`` for one that is damaged."""
        epochs = self.epochs()
        return (epochs[-1], read_checkpoint(self._path(epochs[-1]))) if epochs else None

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:06d}"


class MetricsLog:
    """``metrics.jsonl`` and trackers. Lines of epochs after ``epoch`` are dropped: the run goes on from there."""

    def __init__(self, folder: Path, epoch: int, config: LogConfig | None = None, say: Callable[[str], None] = warn):
        self.path = folder / "metrics.jsonl"
        self.lines: list[dict[str, Any]] = []
        if self.path.is_file():
            self.lines = [line for line in map(_line, self.path.read_text().splitlines()) if line["epoch"] <= epoch]
        atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))
        self._trackers = open_trackers(folder, config or LogConfig(), self.lines, say)

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write one epoch."""
        line = {"epoch": epoch, **values}
        self.lines.append(line)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for tracker in self._trackers:
            tracker.add(line)

    def close(self) -> None:
        """Finish the trackers."""
        while self._trackers:
            self._trackers.pop().close()


def _line(text: str) -> dict[str, Any]:
    """One line of metrics; a line that a kill cut short counts as none."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {"epoch": float("inf")}
    if not isinstance(found, dict) or "epoch" not in found:
        raise CheckpointError(f"metrics.jsonl holds a line that is no epoch: {text[:80]}")
    return found


def write_reconstructions(path: Path, originals: np.ndarray, decoded: np.ndarray, scale: int = 2) -> None:
    """A PNG: frames ``(N, H, W, 3)`` in a row, what the tokenizer makes of them below."""
    rows = [np.concatenate(list(frames), axis=1) for frames in (originals, decoded)]
    atomic_write(path, encode_png(np.concatenate(rows).repeat(scale, 0).repeat(scale, 1)))
