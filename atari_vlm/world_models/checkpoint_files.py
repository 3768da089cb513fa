"""The files of a checkpoint, read as if a stranger had made them.

Nothing here runs what it reads: JSON, arrays of plain numbers, safetensors. Sizes are looked at before memory is asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.conditions import free_memory
from atari_vlm.errors import CheckpointError, ConfigError, reading
from atari_vlm.files import open_real
from atari_vlm.plain_json import plain_json

MANIFEST, CONFIG, PROVENANCE = "manifest.json", "config.json", "provenance.json"
WEIGHTS, START, PROGRAM = "weights.safetensors", "start.npz", "program.py"
MOST_PROGRAM_BYTES = 1 << 18
FORMAT, VERSION = "atari_vlm world model", 1
_MOST_BYTES = {
    MANIFEST: 1 << 16,
    CONFIG: 1 << 22,
    PROVENANCE: 1 << 22,
    WEIGHTS: 1 << 35,
    START: 1 << 30,
    PROGRAM: MOST_PROGRAM_BYTES,
}
MOST_HEADER_BYTES = 1 << 24
_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".dill"}
_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1"},
}
_SHA256 = re.compile("[0-9a-f]{64}")


def manifest_of(contents: Mapping[str, bytes]) -> bytes:
    """The manifest that vouches for ``contents``: name, size and SHA-256 of each file."""
    files = {
        name: {"bytes": len(raw), "sha256": _sha256(raw)} for name, raw in sorted(contents.items())
    }
    return to_json({"format": FORMAT, "version": VERSION, "files": files})


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of every file that the manifest of ``folder`` names, each compared with it.

    Raises ``CheckpointError`` for a folder that is no checkpoint, holds a pickle, is damaged or is not made of real files.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a checkpoint: there is no such folder")
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICKLES):
        raise CheckpointError(
            f"{folder} holds {', '.join(pickles)}: pickled files can run code when they are loaded and are refused; "
            f"a checkpoint holds its weights in {WEIGHTS}"
        )
    contents = {}
    for name, (size, digest) in _read_manifest(folder).items():
        raw = read_real_file(folder, name, size)
        if _sha256(raw) != digest:
            raise CheckpointError(
                f"{folder / name} is damaged: it is not the file that {MANIFEST} describes"
            )
        contents[name] = raw
    return contents


def _read_manifest(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and digest by file name; only the names that a checkpoint can have."""
    path = folder / MANIFEST
    if not path.exists():
        inside = folder / "model"
        hint = f"; the model of the run is {inside}" if (inside / MANIFEST).exists() else ""
        raise CheckpointError(
            f"{folder} is not a checkpoint of this package: it has no {MANIFEST}{hint}"
        )
    manifest = from_json(read_real_file(folder, MANIFEST), str(path))
    version = manifest.get("version")
    if manifest.get("format") != FORMAT or type(version) is not int or version != VERSION:
        written = f"{manifest.get('format')!r} version {version!r}"
        raise CheckpointError(
            f"{path} describes {written:.120}; this package reads {FORMAT!r} version {VERSION}"
        )
    files, known = manifest.get("files"), _MOST_BYTES.keys() - {MANIFEST}
    if not isinstance(files, dict) or not {CONFIG, PROVENANCE} <= files.keys() <= known:
        raise CheckpointError(
            f"{path} must name {CONFIG} and {PROVENANCE}, and nothing but {sorted(known)}"
        )
    entries = {name: _size_and_digest(entry) for name, entry in files.items()}
    if None in entries.values():
        raise CheckpointError(f"{path} is damaged: every file needs its bytes and sha256")
    return {name: entry for name, entry in entries.items() if entry is not None}


def _size_and_digest(entry: Any) -> tuple[int, str] | None:
    """What the manifest says of a file, or ``None``."""
    size, digest = (
        (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
    )
    if (
        type(size) is not int
        or size < 0
        or not isinstance(digest, str)
        or not _SHA256.fullmatch(digest)
    ):
        return None
    return size, digest


def read_real_file(folder: Path, name: str, size: int | None = None) -> bytes:
    """The content of ``folder/name``, looked at before memory is asked for.

    Raises ``CheckpointError`` for a link or a device, for another ``size`` than the manifest says, for more than such a file can
    hold or than this machine has, and for weights whose header does not describe their file.
    """
    path = folder / name
    with reading(path, CheckpointError), open_real(path, _MOST_BYTES[name]) as file:
        length = os.fstat(file.fileno()).st_size
        if size is not None and length != size:
            raise CheckpointError(
                f"{path} is damaged: it has {length} bytes, {MANIFEST} says {size}"
            )
        copies = 2 if name == WEIGHTS else 1  # weights are copied into their arrays
        _check_memory(path, length * copies)
        if name == WEIGHTS:
            head = file.read(8)
            check_tensor_header(
                head + file.read(min(_header_length(head), MOST_HEADER_BYTES)), str(path), length
            )
            file.seek(0)
        return file.read(length)


def _check_memory(path: Path, needed: int) -> None:
    free = free_memory()
    if free is not None and needed > free:
        raise CheckpointError(
            f"{path} needs {needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free"
        )


def to_json(value: Any) -> bytes:
    """Readable JSON with sorted keys; ``ConfigError`` for what JSON cannot say (also NaN)."""
    try:
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a checkpoint's descriptions are plain JSON: {error}") from error


def from_json(raw: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object; ``CheckpointError`` for anything else."""
    with reading(where, CheckpointError):
        value = plain_json(raw)
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} is damaged: it holds no JSON object")
    return value


def pack_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as a safetensors file; ``ConfigError`` for an array that is not plain numbers."""
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    if wrong := sorted(name for name, array in arrays.items() if array.dtype.kind not in "fiub"):
        raise ConfigError(
            f"weights are arrays of floats, integers or bools; these are not: {wrong}"
        )
    packed: bytes = require("safetensors.numpy", "train").save(arrays)
    return packed


def unpack_tensors(raw: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, writable copies, after its header is found to be sound."""
    header = check_tensor_header(raw, where)
    begin = 8 + _header_length(raw)
    return {
        name: _array(raw, entry, begin, f"the array {name[:80]!r} of {where}")
        for name, entry in header.items()
    }


def _array(raw: bytes, entry: dict[str, Any], begin: int, where: str) -> np.ndarray:
    """One array, copied: aligned and writable."""
    shape, dtype = tuple(entry["shape"]), np.dtype(_TYPES[entry["dtype"]])
    with reading(where, CheckpointError):
        flat = np.frombuffer(raw, dtype, math.prod(shape), begin + entry["data_offsets"][0])
        _check_bools(flat)
        return flat.reshape(shape).copy()


def _check_bools(array: np.ndarray) -> None:
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise ValueError("a bool is neither 0 nor 1")


def _header_length(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "little")


def check_tensor_header(raw: bytes, where: str, size: int | None = None) -> dict[str, Any]:
    """The header, by name; ``CheckpointError`` unless it describes exactly the bytes that follow it.

    Format: 8 bytes little-endian length, that many bytes of JSON, then the arrays without holes or overlaps. ``raw`` may be the
    beginning of a file of ``size`` bytes.
    """
    size = len(raw) if size is None else size
    length = _header_length(raw)
    if len(raw) < 8 or length > min(len(raw) - 8, MOST_HEADER_BYTES):
        raise CheckpointError(
            f"{where} is damaged: its header claims {length} bytes, the file has {max(0, size - 8)} after the length "
            f"and a header may have {MOST_HEADER_BYTES}"
        )
    header = from_json(raw[8 : 8 + length], f"the header of {where}")
    header.pop("__metadata__", None)
    spans = sorted(_span(name, entry, where) for name, entry in header.items())
    ends = [0, *(end for _, end in spans)]
    if (
        any(begin != end for (begin, _), end in zip(spans, ends, strict=False))
        or ends[-1] != size - 8 - length
    ):
        raise CheckpointError(
            f"{where} is damaged: its arrays overlap, leave holes or reach beyond the file"
        )
    return header


def _span(name: str, entry: Any, where: str) -> tuple[int, int]:
    """Begin and end of one array in the bytes after the header."""
    with reading(f"the description of the array {name[:80]!r} of {where}", CheckpointError):
        shape, (begin, end), size = (
            entry["shape"],
            entry["data_offsets"],
            np.dtype(_TYPES[entry["dtype"]]).itemsize,
        )
        sound = len(shape) <= 16 and all(
            type(n) is int and 0 <= n < 1 << 48 for n in (*shape, begin, end)
        )
        if not sound or end - begin != math.prod(shape) * size:
            raise ValueError("it contradicts itself")
        return begin, end


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
