"""What a shared folder may hold, by name and by content: data that nothing runs, under names that lead nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from atari_vlm.errors import ConfigError
from atari_vlm.experience.npz_files import boundary, read_headers
from atari_vlm.files import open_real

CARD = "README.md"
MOST_FILES, MOST_BYTES = 20_000, 1 << 44
WORDS = (".json", ".jsonl", ".yaml", ".yml", ".csv", ".md", ".tex", ".txt")
_JOURNAL = (".sqlite", ".mark")
_DATA = (".safetensors", ".npz", ".parquet")
_LEFT_OUT = {
    "code": (".py", ".pyc", ".pyx", ".so", ".sh", ".bat", ".exe", ".dll", ".js", ".ipynb", ".jar"),
    "pickled": (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill"),
    "a page, which the programs make again": (".html", ".htm", ".svg"),
    "a film or picture, which the programs make again": (".mp4", ".gif", ".png", ".webp", ".jpg"),
}
_PART = re.compile(r"[A-Za-z0-9_.=+-][A-Za-z0-9_.=+@, -]{0,127}")
_OF_THE_HUB = (".gitattributes", ".gitignore")
_MAGIC = {".sqlite": b"SQLite format 3\0", ".parquet": b"PAR1"}
_AT_ONCE = 1 << 20


def check_name(name: str) -> None:
    """Raise ``ConfigError`` for the name of a file in a repository that could lead out of its folder."""
    path = PurePosixPath(name)
    parts = name.split("/")
    sound = all(_PART.fullmatch(part) and part.strip(". ") for part in parts)
    if not sound or path.is_absolute() or ".." in parts or len(name) > 1000:
        raise ConfigError(
            f"it holds a file that is named {name!r:.200}, which could lead elsewhere"
        )


def check_names(names: Iterable[str]) -> None:
    """:func:`check_name` of all; also refused: two names that one disk takes for one, a file that is a folder too."""
    seen: set[str] = set()
    listed = list(names)
    if len(listed) > MOST_FILES:
        raise ConfigError(f"it holds more than {MOST_FILES:,} files")
    for name in listed:
        check_name(name)
        if name.lower() in seen:
            raise ConfigError(f"it holds {name!r:.200} twice")
        seen.add(name.lower())
    for name in listed:
        if any(str(parent).lower() in seen for parent in PurePosixPath(name).parents):
            raise ConfigError(f"{name!r:.200} lies in a folder that is a file, too")


def why_left_out(name: str) -> str | None:
    """Why a file is not shared, in a word or two; ``None`` for one that is, ``""`` where it is not worth a word."""
    path = PurePosixPath(name)
    if path.name in _OF_THE_HUB or path.name == "lock":
        return ""
    suffix = path.suffix.lower()
    for reason, suffixes in _LEFT_OUT.items():
        if suffix in suffixes:
            return reason
    hidden = any(part.startswith(".") for part in path.parts)
    return None if suffix in (*_DATA, *WORDS, *_JOURNAL) and not hidden else "of another kind"


def check_content(path: Path, name: str) -> None:
    """Raise ``ConfigError`` for a file that is not what its name says: a pickle named weights.safetensors, an npz of objects."""
    suffix = PurePosixPath(name).suffix.lower()
    check: Callable[[Path], object] = {
        ".npz": read_headers,
        ".safetensors": _check_tensors,
        ".sqlite": _check_magic,
        ".parquet": _check_magic,
    }.get(suffix, _check_words)
    with boundary(name, "is not what its name says"):
        check(path)


def left_out_words(left_out: Iterable[tuple[str, str]], most: int = 20) -> list[str]:
    """Lines for what was left out, the names of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out:
        if reason:
            by_reason.setdefault(reason, []).append(name)
    lines = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - most} more" if len(names) > most else ""
        lines.append(f"left out ({reason}): {', '.join(sorted(names)[:most])}{more}")
    return lines


def _check_magic(path: Path) -> None:
    magic = _MAGIC[path.suffix.lower()]
    with open_real(path, MOST_BYTES) as file:
        if file.read(len(magic)) != magic:
            raise ConfigError(f"it does not begin with {magic!r}")


def _check_tensors(path: Path) -> None:
    """The length of the header and its first letter; loaders look at all of it."""
    with open_real(path, MOST_BYTES) as file:
        head, size = file.read(9), os.fstat(file.fileno()).st_size
    if len(head) < 9 or int.from_bytes(head[:8], "little") > size - 8 or head[8:] != b"{":
        raise ConfigError("it is no safetensors file")


def _check_words(path: Path) -> None:
    """Text in UTF-8 without NUL, block by block."""
    rest = b""
    with open_real(path, MOST_BYTES) as file:
        while block := file.read(_AT_ONCE):
            block = rest + block
            if b"\0" in block:
                raise ConfigError("it is not text")
            cut = len(block) - _unfinished(block)
            block[:cut].decode("utf-8")
            rest = block[cut:]
    if rest:
        raise ConfigError("it is not text in UTF-8")


def _unfinished(block: bytes) -> int:
    """How many bytes at the end begin a character that the next block goes on with."""
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if wanted > back else 0
        if byte < 0x80:
            return 0
    return 0
