"""Columns of a replay: their shapes and types, values held to them, and arrays that lie in files."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, MismatchError, RunError
from atari_vlm.files import naming, replacing

_RESIDENT = 256 << 20  # bytes of a file that stay mapped in; the rest is left to the page cache
_ZEROS = 1 << 20


@dataclass(frozen=True)
class Column:
    """One value a step, of ``shape`` and ``dtype`` (bool, integers, floats).

    ``on_disk``: in a memory-mapped file where the replay has a folder. ``written_back``: zero until the learner writes it; in
    RAM a checkpoint holds it, on disk a log (:mod:`atari_vlm.experience.revised`) brings it back as the checkpoint knew it.
    """

    shape: tuple[int, ...]
    dtype: str
    on_disk: bool = False
    written_back: bool = False

    def __post_init__(self) -> None:
        if np.dtype(self.dtype).kind not in "biuf" or not all(size > 0 for size in self.shape):
            raise ConfigError(
                f"a column is of bool, integers or floats with sizes above 0, got {self}"
            )

    @property
    def step_bytes(self) -> int:
        """Bytes of one step."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def checked(self, value: Any, what: str) -> np.ndarray:
        """One step's value in this type; ``MismatchError`` where shape, type, range or a NaN do not fit."""
        given, dtype = np.asarray(value), np.dtype(self.dtype)
        if given.shape != self.shape or not np.can_cast(given.dtype, dtype, "same_kind"):
            raise MismatchError(f"{what} is {dtype} {self.shape}, got {given.dtype} {given.shape}")
        kept = given if given.dtype == dtype else _cast(given, dtype)
        if dtype.kind == "f" and not np.isfinite(kept).all():
            raise MismatchError(f"{what} holds numbers, got {_first(given, ~np.isfinite(kept))}")
        if dtype.kind in "iu" and given.dtype != dtype and (kept != given).any():
            raise MismatchError(
                f"{what} is {dtype}, which cannot hold {_first(given, kept != given)}"
            )
        return kept


def _cast(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _first(values: np.ndarray, where: np.ndarray) -> Any:
    return values[where].flat[0].item()


class FileColumn:
    """An array in a file of exactly its bytes, mapped into memory: opened when first used, its room reserved when first added to.

    Raises ``RunError`` where the file is absent, of another size or no plain file, and ``StorageError`` on a full disk.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.path, self.shape, self.dtype = path, shape, dtype
        self.size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._rows: np.ndarray | None = None
        self._touched = 0
        self._reserved = False

    def __getitem__(self, slots: np.ndarray | slice) -> np.ndarray:
        values = np.asarray(self._opened()[slots])
        self._touch(values.nbytes)
        return values

    def __setitem__(self, slots: int | np.ndarray, values: np.ndarray) -> None:
        self._opened()[slots] = values
        self._touch(np.asarray(values).nbytes)

    def reserve(self) -> None:
        """Make the file unless it is there, and hold room on the disk for all of it."""
        if self._reserved:
            return
        if not os.path.lexists(self.path):
            _make(self.path, self.size)
        descriptor = self._descriptor()
        try:
            with naming(self.path):
                _hold_room(descriptor, self.size)
        finally:
            os.close(descriptor)
        self._reserved = True

    def flush(self) -> None:
        """Make what was written durable."""
        if self._rows is not None:
            self._map.flush()

    def saved(self) -> None:
        """A checkpoint is about to know what is there."""
        self.flush()

    def checksums(self, slots: np.ndarray) -> Iterator[int]:
        """CRC-32 of each slot's bytes, in order."""
        rows = self._opened()
        self._advise("MADV_SEQUENTIAL")
        for slot in slots.tolist():
            yield zlib.crc32(rows[slot])
            self._touch(self.size // len(rows))
        self._advise("MADV_RANDOM")

    def _opened(self) -> np.ndarray:
        if self._rows is None:
            descriptor = self._descriptor()
            try:
                self._map = mmap.mmap(descriptor, self.size)
            finally:
                os.close(descriptor)
            self._advise("MADV_RANDOM")
            self._rows = np.frombuffer(self._map, self.dtype).reshape(self.shape)
        return self._rows

    def _descriptor(self) -> int:
        """The open file: never through a link, never a pipe or a device."""
        flags = (
            os.O_RDWR
            | getattr(os, "O_NOFOLLOW", 0)
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_BINARY", 0)
        )
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError as error:
            raise RunError(
                f"{self.path} is missing: the steps of this run's replay lie in it"
            ) from error
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be opened as a replay's file: {error.strerror}"
            ) from error
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size == self.size:
            return descriptor
        os.close(descriptor)
        what = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "no plain file"
        raise RunError(f"{self.path} has {what}, a replay of this size {self.size}")

    def _touch(self, size: int) -> None:
        self._touched += size
        if self._touched > _RESIDENT:
            self._advise("MADV_DONTNEED")  # a shared mapping loses nothing by it
            self._touched = 0

    def _advise(self, advice: str) -> None:
        if hasattr(mmap, advice):
            self._map.madvise(getattr(mmap, advice))


def _make(path: Path, size: int) -> None:
    """A file of zeros with all its room, which appears under its name when it is complete."""
    with replacing(path) as unfinished, open(unfinished, "r+b") as file:
        _hold_room(file.fileno(), size)


def _hold_room(descriptor: int, size: int) -> None:
    """Blocks for every byte, so that no later write meets a full disk; zeros where the system cannot just reserve them."""
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    os.lseek(descriptor, 0, os.SEEK_END)
    while (missing := size - os.fstat(descriptor).st_size) > 0:
        os.write(descriptor, bytes(min(missing, _ZEROS)))
