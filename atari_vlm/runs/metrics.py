"""The files of a run: checkpoints of everything (the newest two are kept), metrics, and pictures.

::

    <run>/checkpoints/epoch-000120/   weights, optimizers, random numbers, replay and game: one verified checkpoint folder
    <run>/model/                      the same weights alone, for load_world_model and for others
    <run>/replay/frames.u8            frames of the replay, memory-mapped
    <run>/metrics.jsonl               one line per epoch        <run>/tensorboard/, wandb/  the same
    <run>/reconstructions/*.png, <run>/media/   see :mod:`atari_vlm.training.imagination.media`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from atari_vlm.errors import CheckpointError
from atari_vlm.files import append, atomic_write
from atari_vlm.runs.progress import warn
from atari_vlm.runs.trackers import LogConfig, open_trackers


class MetricsLog:
    """``metrics.jsonl`` and trackers. Lines of epochs after ``epoch`` are dropped: the run goes on from there."""

    def __init__(
        self,
        folder: Path,
        epoch: int,
        config: LogConfig | None = None,
        say: Callable[[str], None] = warn,
    ):
        self.path = folder / "metrics.jsonl"
        self.lines: list[dict[str, Any]] = []
        if self.path.is_file():
            self.lines = [
                line
                for line in map(_line, self.path.read_text().splitlines())
                if line["epoch"] <= epoch
            ]
        atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))
        self._trackers = open_trackers(folder, config or LogConfig(), self.lines, say)

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write one epoch."""
        line = {"epoch": epoch, **values}
        self.lines.append(line)
        append(self.path, json.dumps(line) + "\n")
        for tracker in self._trackers:
            tracker.add(line)

    def close(self) -> None:
        """Finish the trackers."""
        while self._trackers:
            self._trackers.pop().close()


def _line(text: str) -> dict[str, Any]:
    """One line of metrics; a line that a kill cut short counts as none."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError:
        return {"epoch": float("inf")}
    if not isinstance(record, dict) or "epoch" not in record:
        raise CheckpointError(f"metrics.jsonl holds a line that is no epoch: {text[:80]}")
    return record
