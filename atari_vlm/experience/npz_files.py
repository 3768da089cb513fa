"""npz files as strangers write them: no array is read before all headers are, and none that the machine has no memory for."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from atari_vlm.conditions import free_memory
from atari_vlm.errors import AtariVLMError, ConfigError, MissingDependencyError, NotSupportedError
from atari_vlm.files import open_real, replacing

_MOST_BYTES = 1 << 44
_AT_ONCE = 4 << 20  # bytes of the file in one read: the directory of the archive, too
_HEADER_BYTES = 1000
_KINDS = "biufU"
_LONGEST_TEXT = 256  # characters of one string
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Header:
    """What an array file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Streamed:
    """An array that is written part by part along its first axis."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    parts: Iterable[np.ndarray]


class _Bounded(io.RawIOBase):
    """A file of which nobody reads much at once: its own numbers do not say how much memory is taken."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        part = self._file.read(min(size, _AT_ONCE + 1) if size >= 0 else _AT_ONCE + 1)
        if len(part) > _AT_ONCE:
            raise ConfigError(f"one part of it has more than {_AT_ONCE:,} bytes")
        return part

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


@contextmanager
def boundary(what: object, verdict: str) -> Iterator[None]:
    """Whatever goes wrong inside is a ``ConfigError`` of one sentence: what, the verdict, and the reason.

    What says that something is missing here, rather than wrong there, passes as it is.
    """
    try:
        yield
    except (MissingDependencyError, NotSupportedError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, (AtariVLMError, OSError)) else f"{type(error).__name__}: "
        raise ConfigError(
            f"{what} {verdict}: {kind}{' '.join(str(error).split())[:400]}"
        ) from error


def read_arrays(
    path: Path, wanted: Callable[[str], bool], check: Callable[[Mapping[str, Header]], None]
) -> dict[str, np.ndarray]:
    """:func:`arrays_in` of a real file; ``ConfigError`` for links, pipes and devices."""
    with open_real(path, _MOST_BYTES) as file:
        return arrays_in(file, wanted, check)


def arrays_in(
    file: BinaryIO, wanted: Callable[[str], bool], check: Callable[[Mapping[str, Header]], None]
) -> dict[str, np.ndarray]:
    """The ``wanted`` arrays of an npz file, by name, after ``check`` found nothing wrong with their headers.

    Arrays are of bool, integers, floats or strings. Raises ``ConfigError`` where they need more memory than is free; a damaged
    file raises whatever its parsers do, for the caller's :func:`boundary`.
    """
    with zipfile.ZipFile(_Bounded(file)) as archive:
        members = _members(archive, wanted)
        headers = {name: _header_of(archive, info) for name, info in members.items()}
        check(headers)
        needed, free = sum(header.nbytes for header in headers.values()), free_memory()
        if free is not None and needed > free:
            raise ConfigError(
                f"it needs {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are free"
            )
        return {name: _array(archive, info) for name, info in members.items()}


def read_headers(path: Path) -> dict[str, Header]:
    """What every array of an npz file says of itself, none of them read; a damaged file raises whatever its parsers do."""
    with open_real(path, _MOST_BYTES) as file, zipfile.ZipFile(_Bounded(file)) as archive:
        members = _members(archive, lambda name: True)
        return {name: _header_of(archive, info) for name, info in members.items()}


def _members(archive: zipfile.ZipFile, wanted: Callable[[str], bool]) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members or info.compress_type not in _METHODS:
            raise ConfigError(
                f"the array {name!r} is there twice, or packed in a way that is not read here"
            )
        archive.open(info).close()  # the directory and the archive name it alike
        if info.filename != name and wanted(name):
            members[name] = info
    return members


def _header_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call]
        if version not in ((1, 0), (2, 0)):
            raise ConfigError(f"{info.filename} is an array file of version {version}")
        raw = member.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(raw, "little")
        if length > _HEADER_BYTES:
            raise ConfigError(f"{info.filename} has a header of {length} bytes")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(io.BytesIO(raw + member.read(length)))  # type: ignore[no-untyped-call]
        header = Header(shape, dtype)
        content = info.file_size - member.tell()
    if dtype.hasobject:
        raise ConfigError(
            f"{info.filename} is an array of objects: Python objects can run code and are refused"
        )
    whole = all(type(size) is int and size >= 0 for size in shape)
    if dtype.kind not in _KINDS or dtype.itemsize > 4 * _LONGEST_TEXT or not whole:
        raise ConfigError(f"{info.filename} is an array of {dtype} {shape}")
    if header.nbytes != content:
        more = "more" if header.nbytes > content else "less"
        raise ConfigError(f"{info.filename} claims {dtype} {shape}, {more} than it holds")
    return header


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)  # type: ignore[no-untyped-call]
        member.read(1)  # the end, where the checksum is compared
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise ConfigError(f"{info.filename} has bools that are neither 0 nor 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_npz(path: Path) -> None:
    """``ConfigError`` for a name that does not say what the file is."""
    if path.suffix != ".npz":
        raise ConfigError(f"the file's name ends in .npz, got {path.name!r}")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray | Streamed]) -> None:
    """Write a compressed npz file, which appears under its name when it is complete; big arrays part by part."""
    with (
        replacing(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, array in arrays.items():
            streamed = (
                array
                if isinstance(array, Streamed)
                else Streamed(array.shape, array.dtype, [array])
            )
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write(member, streamed)


def _write(member: IO[bytes], array: Streamed) -> None:
    described = np.lib.format.dtype_to_descr(array.dtype)  # type: ignore[no-untyped-call]
    header = {"descr": described, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(member, header)  # type: ignore[no-untyped-call]
    for part in array.parts:
        rows = max(1, _AT_ONCE // max(1, part[:1].nbytes))
        for begin in range(0, len(part), rows):
            member.write(np.ascontiguousarray(part[begin : begin + rows], array.dtype).tobytes())
