"""The values of steps: in every column a row a slot, in RAM or in a file, and what a checkpoint needs to know of them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from atari_vlm.errors import MismatchError, RunError
from atari_vlm.experience.columns import Column, FileColumn
from atari_vlm.experience.revised import RevisedColumn
from atari_vlm.experience.rings import PER_ENV

FILES = {"image": "frames"}  # the name of a column's file, where it is not the column's


class Store:
    """``num_slots`` rows of ``columns``; those on disk lie in ``folder``, where there is one.

    ``arrays`` are the columns in RAM, by name. Of what a game shows on disk a checksum a row is kept, so that a checkpoint
    never goes on with other files; what a learner writes back on disk can be brought back as a checkpoint knew it.
    """

    def __init__(self, columns: Mapping[str, Column], num_slots: int, folder: Path | None):
        self.columns = dict(columns)
        self.arrays: dict[str, np.ndarray] = {}
        self._files: dict[str, FileColumn] = {}
        for name, column in columns.items():
            shape, dtype = (num_slots, *column.shape), np.dtype(column.dtype)
            if column.on_disk and folder is not None:
                path = folder / f"{FILES.get(name, name)}.{dtype.kind}{8 * dtype.itemsize}"
                kind = RevisedColumn if column.written_back else FileColumn
                self._files[name] = kind(path, shape, dtype)
            else:
                self.arrays[name] = np.zeros(shape, dtype)
        shown = [name for name, c in columns.items() if c.on_disk and not c.written_back]
        self._checksums = {name: np.zeros(num_slots, np.uint32) for name in shown}

    def reserve(self) -> None:
        """Hold room on the disk for all files."""
        for file in self._files.values():
            file.reserve()

    def put(self, slot: int, values: Mapping[str, np.ndarray]) -> None:
        """A new row; zeros where a learner writes back."""
        for name, array in self.arrays.items():
            array[slot] = values.get(name, 0)
        for name, file in self._files.items():
            if isinstance(file, RevisedColumn):
                file.begin(slot)
            else:
                file[slot] = values[name]
        for name, checksums in self._checksums.items():
            checksums[slot] = zlib.crc32(values[name].tobytes())

    def read(self, name: str, slots: np.ndarray) -> np.ndarray:
        """A column's values, a copy ``(*slots.shape, *column.shape)``."""
        return self._files[name][slots] if name in self._files else self.arrays[name][slots]

    def view(self, name: str, slots: np.ndarray) -> np.ndarray:
        """The same, read-only and where the slots are neighbours no copy: not to be kept."""
        store = self._files.get(name, self.arrays.get(name))
        assert store is not None
        together = len(slots) > 0 and slots[-1] - slots[0] == len(slots) - 1
        values = store[slice(slots[0], slots[-1] + 1) if together else slots]
        values.flags.writeable = False
        return values

    def write(self, name: str, slots: np.ndarray, values: np.ndarray) -> None:
        """Replace values of kept steps: what a learner keeps with them, or what :meth:`restore` could not know."""
        column = self.columns[name]
        wanted = (*slots.shape, *column.shape)
        if values.shape != wanted or not np.can_cast(values.dtype, column.dtype, "same_kind"):
            raise MismatchError(
                f"{name} is {column.dtype} {wanted} here, got {values.dtype} {values.shape}"
            )
        if name in self._files:
            self._files[name][slots] = values
        else:
            self.arrays[name][slots] = values
        if name in self._checksums:
            rows = self.read(name, slots.ravel())
            self._checksums[name][slots.ravel()] = [zlib.crc32(row.tobytes()) for row in rows]

    def saved(self) -> None:
        """A checkpoint is about to know what is there."""
        for file in self._files.values():
            file.saved()

    def known(self) -> dict[str, np.ndarray]:
        """The columns that a checkpoint holds itself; what a game shows is not among them where it would be on disk if there
        were a folder.
        """
        return {name: array for name, array in self.arrays.items() if name not in self._checksums}

    def facts(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs to know besides: checksums, shapes of columns on disk, which are a learner's, their logs."""
        facts = {f"checksum.{name}": values for name, values in self._checksums.items()}
        for name, column in self.columns.items():
            if column.on_disk:
                facts[f"shape.{name}.{column.dtype}"] = np.array(column.shape, np.int64)
            if column.written_back:
                facts[f"back.{name}"] = np.ones(1, np.bool_)
        for name, file in self._files.items():
            if isinstance(file, RevisedColumn):
                facts[f"undo.{name}"] = np.array([file.number])
        return facts

    def restore(
        self, arrays: Mapping[str, np.ndarray], kept: np.ndarray, serial: np.ndarray
    ) -> None:
        """Bring the files back to a checkpoint's ``arrays``, or refuse them; ``kept`` are the slots that are held to it, and
        ``serial`` ``(num_slots,)`` the positions of the steps in them.
        """
        for name, file in self._files.items():
            if isinstance(file, RevisedColumn) and f"undo.{name}" in arrays:
                file.restore(int(arrays[f"undo.{name}"][0]))
        for name, checksums in self._checksums.items():
            known = arrays.get(f"checksum.{name}")
            if known is not None:
                checksums[:] = known
            if name in self._files and len(kept):
                self._check(name, known, kept, serial)

    def _check(
        self, name: str, known: np.ndarray | None, kept: np.ndarray, serial: np.ndarray
    ) -> None:
        """Take the checksums of the kept steps anew, and refuse the file where they are not the known ones."""
        file, checksums = self._files[name], self._checksums[name]
        checksums[kept] = list(file.checksums(kept))
        differs = np.zeros(len(kept), bool) if known is None else checksums[kept] != known[kept]
        if differs.any():
            number = serial[kept[differs][0]] % PER_ENV
            raise RunError(
                f"{file.path} does not hold what this checkpoint knows: {differs.sum()} of {len(kept)} steps differ, step "
                f"{number} first. Put the run's own file back, or begin a new run"
            )


def restore_column(name: str, array: np.ndarray, given: np.ndarray | None) -> None:
    """Fill a column from a checkpoint's; ``RunError`` for one of another shape or type, or none."""
    if given is None or given.dtype != array.dtype or given.shape[1:] != array.shape[1:]:
        raise RunError(
            f"the saved replay has no column {name} of {array.dtype} {array.shape[1:]} a step"
        )
    if len(given) != len(array):
        raise RunError(f"the saved replay has {len(given)} slots, this one {len(array)}")
    array[:] = given
