"""The files of a checkpoint, read as if a stranger had made them.

Nothing here runs what it reads: JSON, arrays of plain numbers, safetensors. Sizes are looked at before memory is asked for.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import CheckpointError, ConfigError
from atari_vlm.world_models.base import StartFrames

MANIFEST, CONFIG, PROVENANCE = "manifest.json", "config.json", "provenance.json"
WEIGHTS, START = "weights.safetensors", "start.npz"
FORMAT, VERSION = "atari_vlm world model", 1
_MOST_BYTES = {MANIFEST: 1 << 16, CONFIG: 1 << 22, PROVENANCE: 1 << 22, WEIGHTS: 1 << 35, START: 1 << 30}
_MOST_START_BYTES = 1 << 31  # unpacked
_MOST_HEADER_BYTES = 1 << 24
_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".dill"}
_NUMBERS = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}


def manifest_of(contents: Mapping[str, bytes]) -> bytes:
    """The manifest that vouches for ``contents``: name, size and SHA-256 of each file."""
    files = {name: {"bytes": len(raw), "sha256": _sha256(raw)} for name, raw in sorted(contents.items())}
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
        raw = read_real_file(folder, name)
        if len(raw) != size or _sha256(raw) != digest:
            raise CheckpointError(f"{folder / name} is damaged: it is not the file that {MANIFEST} describes")
        contents[name] = raw
    return contents


def _read_manifest(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and digest by file name; only the names that a checkpoint can have."""
    path = folder / MANIFEST
    if not path.exists():
        raise CheckpointError(f"{folder} is not a checkpoint of this package: it has no {MANIFEST}")
    manifest = from_json(read_real_file(folder, MANIFEST), str(path))
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        found = f"{manifest.get('format')!r} version {manifest.get('version')!r}"
        raise CheckpointError(f"{path} describes {found:.120}; this package reads {FORMAT!r} version {VERSION}")
    files, known = manifest.get("files"), {CONFIG, PROVENANCE, WEIGHTS, START}
    if not isinstance(files, dict) or not {CONFIG, PROVENANCE} <= files.keys() <= known:
        raise CheckpointError(f"{path} must name {CONFIG} and {PROVENANCE}, and nothing but {sorted(known)}")
    try:
        return {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: every file needs its bytes and sha256") from error


def read_real_file(folder: Path, name: str) -> bytes:
    """The content of ``folder/name``, unless it is a link, a device, or larger than such a file can be."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        reason = "a symbolic link is not followed" if path.is_symlink() else error.strerror
        raise CheckpointError(f"{path} cannot be read: {reason}") from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_BYTES[name]:
        os.close(descriptor)
        raise CheckpointError(f"{path} is no real file of at most {_MOST_BYTES[name]} bytes")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(about.st_size)


def to_json(value: Any) -> bytes:
    """Readable JSON with sorted keys; ``ConfigError`` for what JSON cannot say (also NaN)."""
    try:
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a checkpoint's descriptions are plain JSON: {error}") from error


def from_json(raw: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object; ``CheckpointError`` for anything else."""
    try:
        value = json.loads(raw, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} is damaged: it holds no JSON object")
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def pack_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as a safetensors file; ``ConfigError`` for an array that is not plain numbers."""
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    if wrong := sorted(name for name, array in arrays.items() if array.dtype.kind not in "fiub"):
        raise ConfigError(f"weights are arrays of floats, integers or bools; these are not: {wrong}")
    packed: bytes = require("safetensors.numpy", "train").save(arrays)
    return packed


def unpack_tensors(raw: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, writable copies, after its header is found to be sound."""
    check_tensor_header(raw, where)
    loaded = require("safetensors.numpy", "train").load(raw)
    return {name: np.array(array) for name, array in loaded.items()}


def check_tensor_header(raw: bytes, where: str) -> None:
    """Raise ``CheckpointError`` unless the header describes exactly the bytes that follow it.

    Format: 8 bytes little-endian length, that many bytes of JSON, then the arrays without holes or overlaps.
    """
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > min(len(raw) - 8, _MOST_HEADER_BYTES):
        raise CheckpointError(
            f"{where} is damaged: its header claims {length} bytes, the file has {max(0, len(raw) - 8)} after the length "
            f"and a header may have {_MOST_HEADER_BYTES}"
        )
    header = from_json(raw[8 : 8 + length], f"the header of {where}")
    header.pop("__metadata__", None)
    spans = sorted(_span(name, entry, where) for name, entry in header.items())
    ends = [0, *(end for _, end in spans)]
    if any(begin != end for (begin, _), end in zip(spans, ends, strict=False)) or ends[-1] != len(raw) - 8 - length:
        raise CheckpointError(f"{where} is damaged: its arrays overlap, leave holes or reach beyond the file")


def _span(name: str, entry: Any, where: str) -> tuple[int, int]:
    """Begin and end of one array in the bytes after the header."""
    try:
        shape, (begin, end), size = entry["shape"], entry["data_offsets"], _NUMBERS[entry["dtype"]]
        sound = len(shape) <= 16 and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
        if sound and end - begin == math.prod(shape) * size:
            return begin, end
    except (TypeError, KeyError, ValueError):
        pass
    raise CheckpointError(f"{where} is damaged: the description of the array {name[:80]!r} contradicts itself")


def pack_start(start: StartFrames) -> bytes:
    """Start frames as a compressed npz."""
    file = io.BytesIO()
    np.savez_compressed(file, observations=start.observations, actions=start.actions)
    return file.getvalue()


def unpack_start(raw: bytes, where: str) -> StartFrames:
    """Read start frames; ``CheckpointError`` for another content, for Python objects, and for what unpacks to too much."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            sizes = {item.filename: item.file_size for item in archive.infolist()}
            if sorted(sizes) != ["actions.npy", "observations.npy"] or sum(sizes.values()) > _MOST_START_BYTES:
                raise CheckpointError(
                    f"{where} must hold observations and actions of at most {_MOST_START_BYTES} bytes"
                )
            observations, actions = (_read_array(archive, name, sizes) for name in ("observations.npy", "actions.npy"))
        if actions.dtype.kind not in "if":
            raise CheckpointError(f"{where} holds actions of type {actions.dtype}")
        return StartFrames(observations, actions)
    except (ValueError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{where} is damaged: {error}") from error


def _read_array(archive: zipfile.ZipFile, name: str, sizes: Mapping[str, int]) -> np.ndarray:
    """One array of plain numbers, whose header asks for no more memory than the archive says it has."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise CheckpointError(f"{name} has the unknown npy version {version}")
        shape, _, dtype = readers[version](file)
    if dtype.hasobject or dtype.kind not in "fiub":
        raise CheckpointError(f"{name} holds {dtype}, not plain numbers: Python objects can run code and are refused")
    if math.prod(shape) * dtype.itemsize > sizes[name]:
        raise CheckpointError(f"{name} claims the shape {shape}, more than it holds")
    with archive.open(name) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
