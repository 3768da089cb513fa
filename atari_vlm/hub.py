"""Folders with the weights of a language model, as they lie on a disk or on the Hugging Face hub.

They were downloaded, so their files may be cut off, pointers instead of content, pipes, or made to do harm. Whatever is wrong
ends in one ``ModelNotAvailableError``, within seconds, that names the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, ModelNotAvailableError
from atari_vlm.files import open_real, read_real

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
_MOST_BYTES = 64 << 20  # of a configuration or an index; real ones are under 10 MiB
_LFS = b"version https://git-lfs.github.com/"
_ASKING_S = 4  # until the hub has said that it knows a model


def find_folder(
    model: str, patterns: Sequence[str], *, revision: str | None = None, offline: bool = False
) -> Path:
    """The folder that holds ``model``: itself, or the hub id's snapshot; what of ``patterns`` is not there is downloaded.

    Nothing is asked of the hub when ``offline`` or the variable ``HF_HUB_OFFLINE`` is set.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.startswith(("/", "./", "../", "~")) or model.count("/") != 1:
        raise ModelNotAvailableError(f"{model} is neither a folder nor a model id (owner/name)")
    hub = require("huggingface_hub", "local")
    cached = _cached(hub, model, patterns, revision)
    if cached is not None:
        return cached
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "ON", "YES"):
        raise ModelNotAvailableError(
            f"the weights of {model} are not on this machine and downloading is switched off (offline)"
        )
    return _downloaded(hub, model, patterns, revision)


def _cached(hub: Any, model: str, patterns: Sequence[str], revision: str | None) -> Path | None:
    try:
        cached = Path(
            hub.snapshot_download(
                model, revision=revision, allow_patterns=list(patterns), local_files_only=True
            )
        )
    except (OSError, ValueError):  # not cached; a download says what is wrong with the id
        return None
    return cached if is_complete(cached) else None


def _downloaded(hub: Any, model: str, patterns: Sequence[str], revision: str | None) -> Path:
    try:
        info = hub.HfApi().model_info(
            model, revision=revision, files_metadata=True, timeout=_ASKING_S
        )
        _check_disk(model, info, hub.constants.HF_HUB_CACHE)
        return Path(hub.snapshot_download(model, revision=info.sha, allow_patterns=list(patterns)))
    except ModelNotAvailableError:
        raise
    except Exception as error:  # the hub client has its own errors, its HTTP client's, the system's
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelNotAvailableError(
            f"the weights of {model} are not on this machine and could not be downloaded ({reason})"
        ) from error


def _check_disk(model: str, info: Any, cache: str) -> None:
    import shutil

    size = sum(f.size or 0 for f in info.siblings if f.rfilename.endswith(".safetensors"))
    folder = next((p for p in (Path(cache), *Path(cache).parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ModelNotAvailableError(
            f"{model} needs {size / 1e9:.1f} GB of disk for its download; {free / 1e9:.1f} GB are free"
        )


def is_complete(folder: Path) -> bool:
    """Whether the configuration and every safetensors file that the index names are there."""
    return (
        (folder / CONFIG).is_file()
        and bool(files := weight_files(folder))
        and all(f.is_file() for f in files)
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, as its index names them; they may be absent."""
    index = folder / INDEX
    if not index.exists():
        return sorted(folder.glob("*.safetensors"))
    shards = read_object(index).get("weight_map")
    names = (
        set(shards.values()) if isinstance(shards, dict) and _are_names(shards.values()) else set()
    )
    if not names:
        raise ModelNotAvailableError(
            f"{index} names no files of {folder}; the file is damaged, fetch it again"
        )
    return [folder / name for name in sorted(names)]


def _are_names(values: Iterable[Any]) -> bool:
    """Whether all are plain names, which lead nowhere else."""
    return all(
        isinstance(name, str) and name not in ("", "..") and Path(name).name == name
        for name in values
    )


def check_files(folder: Path, patterns: Sequence[str]) -> None:
    """Raise for parts of a checkpoint that are no real files, or Git LFS pointers instead of the content."""
    for file in sorted(part for pattern in patterns for part in folder.glob(pattern)):
        with _about(file), open_real(file, 1 << 50, links=True) as stream:
            if stream.read(len(_LFS)) == _LFS:
                raise ModelNotAvailableError(
                    f"{file} is a Git LFS pointer, not the file itself: run `git lfs pull` in {folder}"
                )


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``."""
    with _about(file):
        value = json.loads(read_real(file, _MOST_BYTES, links=True).decode("utf-8"))
    if not isinstance(value, dict):
        raise ModelNotAvailableError(
            f"{file} holds no JSON object; the file is damaged, fetch it again"
        )
    return value


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """What goes wrong inside the block is wrong with ``file``."""
    try:
        yield
    except ConfigError as error:
        raise ModelNotAvailableError(str(error)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelNotAvailableError(
            f"{file} is damaged ({reason_of(error)}): fetch it again"
        ) from error


def reason_of(error: BaseException) -> str:
    """An error of somebody else's code on one line: its kind and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *(line[:300] for line in lines[:1])])
