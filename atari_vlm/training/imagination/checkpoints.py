"""The checkpoints of a run: the newest ones, each complete."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
