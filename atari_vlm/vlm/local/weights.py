"""Where the weights are, and whether they fit: found on disk or downloaded, measured before anything is loaded.

Every way to fail here ends in one ``ModelNotAvailableError`` that says what is missing and what else can be done.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

from atari_vlm import hub
from atari_vlm._lazy import require
from atari_vlm.conditions import free_memory
from atari_vlm.files import open_real
from atari_vlm.vlm.local.checkpoint_folder import (
    FILES,
    check_adapter,
    check_files,
    unavailable,
    with_alternatives,
)
from atari_vlm.vlm.local.options import LocalOptions

_HEADROOM = 1.1  # activations, the attention cache, fragmentation
_MOST_HEADER_BYTES = 100 << 20  # as the format's own library has it
_BLOCK = 1 << 24
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    struct.error,
    RecursionError,
)
"""What reading a file's header may raise where the file is damaged."""


def find_folder(model: str, options: LocalOptions) -> Path:
    """The folder that holds ``model``: itself, or the hub id's snapshot, downloaded if it is not there yet."""
    patterns = [*FILES, *(["*.py"] if options.trust_remote_code else [])]
    with with_alternatives():
        return hub.find_folder(model, patterns, revision=options.revision, offline=options.offline)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, as its index names them."""
    with with_alternatives():
        return hub.weight_files(folder)


def parameters(folder: Path) -> int:
    """How many numbers the weights hold, read from the files' headers alone."""
    return sum(
        math.prod(tensor["shape"])
        for file in weight_files(folder)
        for tensor in read_headers(file).values()
    )


def digest(folder: Path) -> str:
    """SHA-256 (hex) of a checkpoint's weights: names, types, shapes and numbers, however they are spread over files."""
    tensors = {
        name: (file, at) for file in weight_files(folder) for name, at in read_headers(file).items()
    }
    sha = hashlib.sha256()
    for name, (file, at) in sorted(tensors.items()):
        sha.update(json.dumps([name, at["dtype"], at["shape"]]).encode())
        with open_real(file, 1 << 50, links=True) as stream:
            stream.seek(at["start"])
            left = at["bytes"]
            while left and (block := stream.read(min(left, _BLOCK))):
                sha.update(block)
                left -= len(block)
    return sha.hexdigest()


def read_headers(file: Path) -> dict[str, dict[str, Any]]:
    """Every tensor's ``dtype``, ``shape``, ``start`` in the file and ``bytes``; ``ValueError`` for a file that is cut."""
    with open_real(file, 1 << 50, links=True) as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(min(size, _MOST_HEADER_BYTES)))
        data = stream.seek(0, 2) - 8 - size
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if math.prod(entry["shape"]) < 0 or not 0 <= start <= end <= data:
            raise ValueError(f"{file.name} is cut off")
        place = {"start": 8 + size + start, "bytes": end - start}
        tensors[name] = {"dtype": entry["dtype"], "shape": entry["shape"], **place}
    return tensors


def check_weights(model: str, folder: Path) -> None:
    """Raise unless the folder holds a configuration and complete, readable safetensors files."""
    if not (folder / "config.json").is_file():
        raise unavailable(f"{folder} has no config.json: it is not a checkpoint of {model}")
    check_files(folder)
    check_adapter(folder)
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        what = ", ".join(missing) or "*.safetensors"
        raise unavailable(
            f"{folder} lacks weights: {what} (pickled weights such as pytorch_model.bin are not read)"
        )
    try:
        parameters(folder)
    except UNREADABLE as error:
        raise unavailable(
            f"the weights in {folder} are damaged ({error}): fetch them again"
        ) from error


def needed_bytes(folder: Path, dtype: str, load_in: str | None) -> int:
    """Memory for the weights once loaded, with headroom; quantised weights count with their scales."""
    per_parameter = {"4bit": 0.7, "8bit": 1.2}.get(
        load_in or "", 4.0 if dtype == "float32" else 2.0
    )
    return int(parameters(folder) * per_parameter * _HEADROOM)


def check_memory(model: str, needed: int, device: str, free: int | None) -> None:
    """Raise when ``needed`` bytes are more than are ``free`` (``None``: unknown, not checked)."""
    if free is None or needed <= free:
        return
    kind = "memory" if device == "cpu" else f"memory of {device}"
    raise unavailable(
        f"{model} needs about {needed / 1e9:.1f} GB of {kind}; {free / 1e9:.1f} GB are free. "
        "Less is needed with load_in='4bit' or '8bit', or a smaller model of the family"
    )


def free_bytes(device: str) -> int | None:
    """Free memory of a torch device; ``None``: unknown."""
    if device.startswith("cuda"):
        torch = require("torch", "local")
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if device != "cpu":
        return None
    return free_memory()
