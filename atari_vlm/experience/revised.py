"""A column in a file whose values are replaced again and again, so that what a checkpoint knew can be brought back.

Before a value is replaced for the first time since the last checkpoint, it is appended to a log beside the file,
``<file>.undo-N``. A log is kept until the checkpoint after the next is begun: whenever the process dies, the newest whole
checkpoint finds the logs of everything that was replaced since.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import RunError
from atari_vlm.experience.columns import FileColumn
from atari_vlm.files import naming, read_real


class RevisedColumn(FileColumn):
    """A :class:`~atari_vlm.experience.columns.FileColumn` whose rows can be brought back; ``number`` is that of its log."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]):
        super().__init__(path, shape, dtype)
        self.number = 0
        self._noted = np.zeros(
            shape[0], np.bool_
        )  # rows that the log has already, or that no checkpoint knows
        self._entry = np.dtype([("slot", "<i8"), ("row", dtype, shape[1:])])

    def __setitem__(self, slots: int | np.ndarray, values: np.ndarray) -> None:
        fresh = np.unique(slots)
        self._note(fresh[~self._noted[fresh]])
        super().__setitem__(slots, values)

    def begin(self, slot: int) -> None:
        """Zeros for a new step, whose slot holds nothing that a checkpoint knows."""
        self._noted[slot] = True
        super().__setitem__(slot, np.zeros(self.shape[1:], self.dtype))

    def saved(self) -> None:
        """What is there now is what the checkpoint knows that is written next; :attr:`number` belongs to it."""
        self.flush()
        for number, log in self._logs():
            if number < self.number:
                log.unlink()
        self.number += 1
        self._noted[:] = False

    def restore(self, number: int) -> None:
        """Bring back what the checkpoint with this number knew."""
        for later, log in sorted(self._logs(), reverse=True):
            if later >= number:
                self._bring_back(log)
        for later, log in self._logs():  # only now: dying on the way, it is done once more
            if later >= number:
                log.unlink()
        self.number = number
        self._noted[:] = False

    def _note(self, slots: np.ndarray) -> None:
        if not len(slots):
            return
        entries = np.zeros(len(slots), self._entry)
        entries["slot"], entries["row"] = slots, self[slots]
        log = self._log(self.number)
        with naming(log), open(log, "ab", buffering=0) as file:
            file.write(entries.tobytes())
        self._noted[slots] = True

    def _bring_back(self, log: Path) -> None:
        most = len(self._noted) * self._entry.itemsize
        raw = read_real(log, most)
        entries = np.frombuffer(raw[: len(raw) - len(raw) % self._entry.itemsize], self._entry)
        slots = entries["slot"]
        if len(slots) and not (0 <= slots.min() and slots.max() < len(self._noted)):
            raise RunError(f"{log} is no log of {self.path}: it names rows that are not there")
        super().__setitem__(slots, entries["row"])

    def _log(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.undo-{number}")

    def _logs(self) -> list[tuple[int, Path]]:
        found = []
        for log in self.path.parent.glob(f"{self.path.name}.undo-*"):
            if match := re.fullmatch(r"\d{1,18}", log.name.rpartition("-")[2]):
                found.append((int(match.group()), log))
        return found
