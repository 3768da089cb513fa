"""Files that are never half-written, and names that never leave their folder."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from atari_vlm.errors import ConfigError

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` so that ``path`` holds either its old content or all of the new one, also after a power cut."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less the umask, as any other file
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def child_folder(root: str | Path, name: str) -> Path:
    """``root/name`` for a plain name; raise ``ConfigError`` for anything that could lead elsewhere.

    Allowed: 1 to 64 letters, digits, ``.``, ``_``, ``-``, starting with a letter or digit; no symbolic link.
    """
    if not _SAFE_NAME.fullmatch(name) or name.split(".")[0].lower() in _RESERVED or name.endswith("."):
        raise ConfigError(
            f"{name!r} cannot name a run: use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit; "
            "not ending in '.', and not a device of Windows such as CON or NUL"
        )
    path = Path(root) / name
    if path.is_symlink():
        raise ConfigError(f"{path} is a symbolic link; a run folder must be a real folder")
    return path
