"""Fetching a shared folder: as a stranger's, into a new folder of plain files, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError
from atari_vlm.files import atomic_write, read_real, sha256_of, sync_folder
from atari_vlm.sharing.client import (
    address,
    client,
    is_missing,
    is_own_server,
    speaking,
    there_is_none,
)
from atari_vlm.sharing.contents import MOST_BYTES, check_content, check_names, why_left_out
from atari_vlm.sharing.names import HubName, is_hub_name

RepoType = Literal["model", "dataset"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Listed:
    """A file of a repository; ``sha256`` where the Hub says it (of large files)."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Pulled:
    """A folder that was fetched: of which commit, and what of it was left out (name, reason)."""

    folder: Path
    commit: str
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Found:
    """A repository at one commit."""

    name: HubName
    kind: RepoType
    commit: str


def pull(name: HubName, out: Path) -> Pulled:
    """Fetch a repository into the folder ``out``, which must not hold anything yet.

    What was fetched when a pull was cut lies beside ``out`` and is not fetched again. Raises ``ConfigError`` for names that lead
    elsewhere and files that are not what they say, ``AuthenticationError``, ``UnavailableError``.
    """
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; choose a folder that is not")
    return _fetch(client(), _find(client(), name), out)


def local_folder(place: str | Path, *, types: Sequence[RepoType] = ("model", "dataset")) -> Path:
    """``place`` itself, or for ``hub:OWNER/NAME[@REVISION]`` the folder in the cache that holds it, fetched where it is missing.

    Repositories of the first of ``types`` are looked for first. Only what is still missing is asked of the Hub; nothing is where
    the revision is a whole commit that was fetched before, or ``HF_HUB_OFFLINE`` is set.
    """
    if not is_hub_name(place):
        return Path(place)
    name = HubName.of(str(place))
    cache = _cache() / name.repo.replace("/", "--")
    known = cache / "revisions" / (name.revision or "main").replace("/", "--")
    if name.is_commit and (cache / str(name.revision)).is_dir():
        return cache / str(name.revision)
    if require("huggingface_hub.constants", "hub").HF_HUB_OFFLINE:
        commit = read_real(known, 64).decode("ascii", "replace") if known.is_file() else ""
        if not commit.isalnum() or not (cache / commit).is_dir():
            raise ConfigError(f"{place} was not fetched before, and HF_HUB_OFFLINE is set")
        return cache / commit
    found = _find(client(), name, types)
    folder = cache / found.commit
    if not folder.is_dir():
        _fetch(client(), found, folder)
    atomic_write(known, found.commit)
    return folder


def _cache() -> Path:
    """Where fetched folders are kept; another address has a place of its own."""
    home = Path(require("huggingface_hub.constants", "hub").HF_HOME) / "atari_vlm"
    return home / hashlib.sha256(address().encode()).hexdigest()[:12] if is_own_server() else home


def _find(api: Any, name: HubName, types: Sequence[RepoType] = ("model", "dataset")) -> _Found:
    """Where it is: as a model or as a data set."""
    for kind in types:
        with speaking(name, f"{name} cannot be fetched"):
            try:
                return _at(api, name, kind)
            except Exception as error:
                if not is_missing(error):
                    raise
    raise there_is_none(name)


def _at(api: Any, name: HubName, kind: RepoType) -> _Found:
    commit = str(api.repo_info(name.repo, repo_type=kind, revision=name.revision).sha)
    if not commit.isalnum() or len(commit) > 64:
        raise ConfigError(f"the Hub says that {name} is at {commit!r:.80}, which is no commit")
    return _Found(name, kind, commit)


def _fetch(api: Any, found: _Found, out: Path) -> Pulled:
    """Into a folder beside ``out``, which takes its place when it is whole."""
    listed, others = _listed(api, found)
    with _named(found.name):
        check_names([*(file.name for file in listed), *others])
    reasons = {file.name: why_left_out(file.name) for file in listed}
    reasons |= dict.fromkeys(others, "no plain file")
    wanted = [file for file in listed if reasons[file.name] is None]
    if not wanted:
        raise ConfigError(f"{found.name} holds no file that is shared this way")
    _check_disk(found.name, sum(file.size for file in wanted), out)
    part = out.with_name(f".{out.name}.{found.commit[:16]}.part")
    if part.is_symlink():
        raise ConfigError(f"{part} is a symbolic link; remove it")
    for file in wanted:
        _fetch_file(api, found, file, part)
    whole = out.with_name(f".{out.name}.{found.commit[:16]}.whole")
    shutil.rmtree(whole, ignore_errors=True)
    for file in wanted:
        (whole / file.name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / file.name, whole / file.name)
    if out.is_dir():
        out.rmdir()
    whole.rename(out)
    shutil.rmtree(part, ignore_errors=True)
    sync_folder(out.parent)
    left_out = [(name, reason) for name, reason in reasons.items() if reason is not None]
    return Pulled(out, found.commit, tuple(left_out))


def _listed(api: Any, found: _Found) -> tuple[list[Listed], list[str]]:
    """The files of a repository, and what is neither file nor folder: links, and repositories in it."""
    with speaking(found.name, f"{found.name} cannot be fetched"):
        entries = list(
            api.list_repo_tree(
                found.name.repo, repo_type=found.kind, revision=found.commit, recursive=True
            )
        )
        files = [
            Listed(
                str(file.path),
                int(file.size),
                None if getattr(file, "lfs", None) is None else str(file.lfs.sha256),
            )
            for file in entries
            if hasattr(file, "size")
        ]
    folders = {str(above) for file in files for above in PurePosixPath(file.name).parents}
    rest = [str(entry.path) for entry in entries if not hasattr(entry, "size")]
    return files, [name for name in rest if name not in folders]  # git keeps no empty folder


def _fetch_file(api: Any, found: _Found, file: Listed, part: Path) -> None:
    with speaking(found.name, f"{file.name} of {found.name} cannot be fetched"):
        api.hf_hub_download(
            found.name.repo,
            file.name,
            repo_type=found.kind,
            revision=found.commit,
            local_dir=part,
        )
    path = part / file.name
    with _named(found.name):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{file.name} is no plain file")
        if file.sha256 is not None and sha256_of(path) != file.sha256:
            path.unlink()
            raise ConfigError(f"{file.name} came damaged: fetch it again")
        check_content(path, file.name)


class _named:
    """What is wrong inside is wrong with a repository, which the sentence names."""

    def __init__(self, name: HubName):
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigError):
            raise ConfigError(f"{self._name} is refused: {error}") from error


def _check_disk(name: HubName, size: int, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if size > free:
        raise ConfigError(f"{name} is {size / 1e9:.1f} GB; {free / 1e9:.1f} GB of disk are free")
