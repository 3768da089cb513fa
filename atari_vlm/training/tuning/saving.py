"""The checkpoints of a tuning run: the newest two, each one file that is whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from atari_vlm.errors import CheckpointError, RunError
from atari_vlm.files import atomic_write
from atari_vlm.world_models.checkpoint_files import pack_tensors, unpack_tensors

_KEPT = 2


class TuningCheckpoints:
    """Arrays by the number of updates, in ``folder``; ``identity`` (hex) is of what was learned from."""

    def __init__(self, folder: Path, identity: str):
        self.folder = folder
        self._identity = np.frombuffer(bytes.fromhex(identity), np.uint8).copy()

    def save(self, update: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a checkpoint, then remove all but the newest two."""
        self.folder.mkdir(exist_ok=True)
        atomic_write(self._path(update), pack_tensors({**arrays, "data": self._identity}))
        for old in self._numbers()[:-_KEPT]:
            self._path(old).unlink()

    def newest(self, say: Callable[[str], None]) -> dict[str, np.ndarray] | None:
        """The newest one that can be read, ``None`` where there is none; ``say`` is told of those that are passed over.

        ``CheckpointError`` where none is whole, ``RunError`` where it learned from something else.
        """
        damaged: list[str] = []
        for number in reversed(self._numbers()):
            path = self._path(number)
            try:
                arrays = unpack_tensors(path.read_bytes(), str(path))
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            if not np.array_equal(arrays.pop("data", np.zeros(0)), self._identity):
                raise RunError(f"{path} learned from other decisions than the source gives now")
            for reason in damaged:
                say(f"{reason}; going on from update {number} instead")
            return arrays
        if damaged:
            raise CheckpointError(
                f"{'; '.join(damaged)}; no whole checkpoint is left to go on from"
            )
        return None

    def _numbers(self) -> list[int]:
        names = (path.name[7:-12] for path in self.folder.glob("update-*.safetensors"))
        return sorted(int(name) for name in names if name.isdigit())

    def _path(self, update: int) -> Path:
        return self.folder / f"update-{update:08d}.safetensors"
