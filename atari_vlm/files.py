"""Files that are never half-written, names that never leave their folder, and strangers' files read within limits."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from atari_vlm.errors import ConfigError, StorageError

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}
_LEFT_BEHIND = re.compile(r"\..+\.[0-9a-f]{16}")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def open_new(path: Path) -> BinaryIO:
    """A new file for writing; ``FileExistsError`` where there is anything already, a link also when it leads nowhere."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")  # less the umask, as any other file


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The name of an empty new file beside ``path``, which takes its place, durably, when the block ends well.

    Nobody can foretell that name, so nothing of somebody else's lies there. ``path`` holds its old content or all of the new
    one at every moment, also after a power cut; a link at ``path`` is replaced, not followed. Raises ``StorageError``, which
    names ``path``, where the disk is full.
    """
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        open_new(temporary).close()
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What keeps a file from being written is a ``StorageError`` that names ``path``; the system's own error often does not."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            if not str(error.filename or "").startswith(str(path.parent)):
                raise
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        raise StorageError(
            f"{path} cannot be written: {error.strerror}. What was written before is kept; make room and go on with the "
            "same command"
        ) from error


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` so that ``path`` holds either its old content or all of the new one, also after a power cut."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def append(path: Path, text: str) -> None:
    """Add ``text`` to a file that is there; a link in its place is not followed (``OSError``)."""
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "ab") as file:
            file.write(text.encode())


def remove_left_behind(folder: Path) -> None:
    """Remove the unfinished files of a process that died while it wrote into ``folder``; nobody else may be writing there."""
    for entry in os.scandir(folder):
        if _LEFT_BEHIND.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_real(path: str | Path, most_bytes: int, *, links: bool = False) -> BinaryIO:
    """An existing file for reading, unless it is a pipe, a device or a folder, or holds more than ``most_bytes``.

    A symbolic link is followed only with ``links``. Raises ``ConfigError`` with the reason.
    """
    flags = (
        os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    )  # a pipe must not be waited for
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = (
            "a symbolic link is not followed" if Path(path).is_symlink() and not links else error
        )
        raise ConfigError(
            f"{path} cannot be read: {getattr(reason, 'strerror', None) or reason}"
        ) from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_size > most_bytes:
        os.close(descriptor)
        raise ConfigError(f"{path} is no real file of at most {most_bytes:,} bytes")
    return os.fdopen(descriptor, "rb")


def read_real(path: str | Path, most_bytes: int, *, links: bool = False) -> bytes:
    """The content of such a file (:func:`open_real`)."""
    with open_real(path, most_bytes, links=links) as file:
        return file.read(most_bytes)


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_no_links(folder: Path) -> None:
    """Raise ``ConfigError`` if anything in ``folder``, at any depth, is a symbolic link: what is written stays inside."""
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(at, name)).is_symlink():
                raise ConfigError(
                    f"{path} is a symbolic link: writing would go elsewhere. A run holds its own files; replace the link by "
                    "what it leads to"
                )


def child_folder(root: str | Path, name: str) -> Path:
    """``root/name`` for a plain name; raise ``ConfigError`` for anything that could lead elsewhere.

    Allowed: 1 to 64 letters, digits, ``.``, ``_``, ``-``, starting with a letter or digit; no symbolic link.
    """
    check_plain_name(name, "a run")
    path = Path(root) / name
    if path.is_symlink():
        raise ConfigError(f"{path} is a symbolic link; a run folder must be a real folder")
    return path


def check_plain_name(name: str, what: str) -> None:
    """Raise ``ConfigError`` for a name of ``what`` that is not plain, see :func:`child_folder`."""
    if (
        not _SAFE_NAME.fullmatch(name)
        or name.split(".")[0].lower() in _RESERVED
        or name.endswith(".")
    ):
        raise ConfigError(
            f"{name!r} cannot name {what}: use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit; "
            "not ending in '.', and not a device of Windows such as CON or NUL"
        )
