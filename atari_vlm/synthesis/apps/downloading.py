"""The public data set, fetched and unpacked as a stranger's archive: what is not a problem's file is left out, links end it.

The archive holds ``APPS/train/NNNN`` and ``APPS/test/NNNN``, 5,000 problems each (about 0.4 GB, 1.3 GB unpacked).
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from atari_vlm.errors import ConfigError, UnavailableError, reading
from atari_vlm.files import naming, open_real
from atari_vlm.synthesis.apps.problems import FILES

URL = "https://people.eecs.berkeley.edu/~hendrycks/APPS.tar.gz"
PARTS = ("test", "train")
_MEMBER = re.compile(
    rf"(?:\./)?(?:APPS/)?({'|'.join(PARTS)})/(\d{{4,8}})/({'|'.join(map(re.escape, FILES))})"
)
_CHUNK = 1 << 20
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ArchiveLimits:
    """How much is taken from an archive: bytes of itself, of one file, of all files, and how many entries it may have."""

    archive_bytes: int = 2 << 30
    file_bytes: int = 128 << 20
    all_bytes: int = 8 << 30
    members: int = 200_000


def download(
    out: Path, url: str = URL, limits: ArchiveLimits | None = None, *, say: Callable[[str], None] = lambda text: None
) -> dict[str, int]:  # fmt: skip
    """Fetch the archive of an address (http or https) and :func:`unpack` it; returns how many problems each part has.

    Raises ``ConfigError`` for an address that is none, an ``out`` that holds problems already, and an archive that is none;
    ``UnavailableError`` where nothing answers.
    """
    limits = limits or ArchiveLimits()
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"--url is an address that begins with https:// or http://, got {url!r}")
    check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apps-", dir=out) as folder:
        archive = Path(folder) / "archive"
        say(f"fetching {url}")
        with naming(archive), open(archive, "xb") as file:
            _fetch(url, file, limits.archive_bytes)
        return unpack(archive, out, limits, say=say)


def check_free(out: Path) -> None:
    """Raise ``ConfigError`` where there is something already in the place of the problems."""
    for part in PARTS:
        if (out / part).exists() or (out / part).is_symlink():
            raise ConfigError(f"{out / part} exists: name another --out, or use it with --test-loc")


def unpack(
    archive: Path, out: Path, limits: ArchiveLimits | None = None, *, say: Callable[[str], None] = lambda text: None
) -> dict[str, int]:  # fmt: skip
    """Unpack the problems of an archive (tar, compressed or not) to ``out/test`` and ``out/train``, all of them or none.

    Raises ``ConfigError`` for a file that is no archive, holds a link, a device or a name that leads elsewhere, is larger than
    the limits, or holds no problem.
    """
    limits = limits or ArchiveLimits()
    check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apps-", dir=out) as folder:
        say(f"unpacking {archive}")
        made = Path(folder)
        with (
            reading(archive, ConfigError),
            open_real(archive, limits.archive_bytes, links=True) as file,
            tarfile.open(fileobj=file, mode="r|*") as members,
        ):
            _take(members, made, limits)
        found = {
            part: len(list((made / part).glob("*"))) for part in PARTS if (made / part).is_dir()
        }
        if not found:
            raise ConfigError(f"{archive} holds no problems: it is not the archive of APPS")
        for part in found:
            (made / part).replace(out / part)
    return found


def _fetch(url: str, file: IO[bytes], most: int) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "atari-vlm"})
    taken = 0
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            while data := answer.read(_CHUNK):
                taken += len(data)
                if taken > most:
                    raise ConfigError(
                        f"{url} sends more than {most:,} bytes: that is not the archive of APPS"
                    )
                file.write(data)
            wanted = answer.headers.get("Content-Length")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(
            f"APPS cannot be fetched from {url} ({reason}); where there is a network, fetch it there and unpack it here with "
            "codewm apps download --archive FILE --out FOLDER. The bundled problems need nothing"
        ) from error
    if wanted is not None and wanted.isdecimal() and int(wanted) != taken:
        raise UnavailableError(
            f"{url} broke off after {taken:,} of {int(wanted):,} bytes; try again"
        )


def _take(members: tarfile.TarFile, made: Path, limits: ArchiveLimits) -> None:
    total = 0
    for number, member in enumerate(members):
        if number >= limits.members:
            raise ConfigError(f"more than {limits.members:,} entries")
        _check(member)
        total += member.size
        if member.size > limits.file_bytes or total > limits.all_bytes:
            raise ConfigError(f"{member.name!r} makes it larger than it may be")
        found = _MEMBER.fullmatch(member.name)
        if not member.isreg() or found is None:
            continue
        place = made.joinpath(*found.groups())
        source = members.extractfile(member)
        assert source is not None
        place.parent.mkdir(parents=True, exist_ok=True)
        with naming(place), open(place, "xb") as file:
            shutil.copyfileobj(source, file, _CHUNK)


def _check(member: tarfile.TarInfo) -> None:
    """Raise ``ConfigError`` for what no honest archive of problems holds."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise ConfigError(f"the name {member.name!r} leads out of the archive")
    if not (member.isreg() or member.isdir()):
        raise ConfigError(f"{member.name!r} is a link or a device")
