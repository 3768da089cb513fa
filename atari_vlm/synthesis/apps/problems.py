"""Programming problems in the public format of APPS: a folder ``NNNN`` each, read as a stranger's.

::

    NNNN/question.txt        the problem in words
    NNNN/input_output.json   {"inputs": [...], "outputs": [...]} and, for a function, "fn_name"
    NNNN/solutions.json      a list of programs                     (may be missing)
    NNNN/metadata.json       {"difficulty": ..., "url": ...}        (may be missing)
    NNNN/starter_code.py     what a program begins with             (may be missing)

Without ``fn_name`` an input is what a program reads and an output what it prints: a text, or a list of lines. With it an input is
the list of a function's arguments, and an output what it returns, bare or in a list of one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError
from atari_vlm.files import read_real
from atari_vlm.runs.sharding import Shard

BUNDLED = "bundled"
FILES = ("question.txt", "input_output.json", "solutions.json", "metadata.json", "starter_code.py")
_NAME = re.compile(r"\d{4,8}")
_MOST_BYTES = {"input_output.json": 128 << 20, "solutions.json": 64 << 20}
_MOST_TEXT = 1 << 20


@dataclass(frozen=True)
class Test:
    """What a program is given, and what it has to answer: texts, or a function's arguments and the value that it returns."""

    given: Any
    wanted: Any


@dataclass(frozen=True)
class Problem:
    """One problem. ``fn_name`` is the function that is called, ``None`` for a program that reads and prints."""

    name: str
    question: str
    tests: tuple[Test, ...]
    fn_name: str | None = None
    starter: str = ""
    difficulty: str = "unknown"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what is asked and of the tests."""
        tests = [[test.given, test.wanted] for test in self.tests]
        whole = [self.question, tests, self.fn_name, self.starter]
        return hashlib.sha256(json.dumps(whole).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class ProblemSet:
    """Some problems of a folder, by name."""

    folder: Path
    names: tuple[str, ...]

    def read(self) -> Iterator[Problem]:
        """One after the other; ``ConfigError`` for one that is not of the public format."""
        return (read_problem(self.folder, name) for name in self.names)

    def digest(self) -> str:
        """SHA-256 (hex) of all that is asked and tested; every problem is read for it, a wrong one found before it costs."""
        whole = hashlib.sha256()
        for problem in self.read():
            whole.update(f"{problem.name} {problem.digest}\n".encode())
        return whole.hexdigest()


def bundled_folder() -> Path:
    """The folder of the problems that come with the package."""
    return Path(str(resources.files("atari_vlm") / "data" / "apps"))


def problem_names(folder: Path) -> tuple[str, ...]:
    """The problems of a folder by number. Raises ``ConfigError`` where there are none in the public format."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of APPS problems: there is no such folder")
    names = [
        entry.name
        for entry in folder.iterdir()
        if _NAME.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink()
    ]
    if not names:
        inside = [part for part in ("test", "train") if (folder / part).is_dir()]
        hint = f"; perhaps {folder / inside[0]} is meant" if inside else ""
        raise ConfigError(
            f"{folder} is no folder of APPS problems: it holds no folders NNNN (0000, 0001 ...) with question.txt and "
            f"input_output.json{hint}"
        )
    return tuple(sorted(names, key=lambda name: (int(name), name)))


def chosen_names(
    names: Sequence[str], idx: int, total: int | None, shard: tuple[int, int]
) -> tuple[str, ...]:
    """``total`` problems from number ``idx`` (from 0) on, ``None`` for all the rest; of these part i of n (i from 1), every n-th.

    A part of few problems may hold none. Raises ``ConfigError`` where there are not so many.
    """
    end = len(names) if total is None else idx + total
    if not 0 <= idx < len(names) or end > len(names):
        asked = f"--idx {idx}" + ("" if total is None else f" and --total-tasks {total}")
        raise ConfigError(
            f"there are {len(names)} problems, numbered from 0 to {len(names) - 1}: {asked} goes past the end"
        )
    return Shard(*shard).of(names[idx:end])


def read_problem(folder: Path, name: str) -> Problem:
    """A problem of a folder. Raises ``ConfigError``, which names the file that is not of the public format."""
    if not _NAME.fullmatch(name) or (folder / name).is_symlink():
        raise ConfigError(f"{name!r} is no problem of {folder}: problems are folders NNNN")
    place = folder / name
    question = _text(place / "question.txt")
    tests, fn_name = _tests(place / "input_output.json")
    return Problem(
        name=name,
        question=question.strip(),
        tests=tests,
        fn_name=fn_name,
        starter=_text(place / "starter_code.py").strip() if _is_there(place, FILES[4]) else "",
        difficulty=_difficulty(place) if _is_there(place, FILES[3]) else "unknown",
    )


def read_solutions(folder: Path, name: str) -> tuple[str, ...]:
    """The programs that come with a problem; none where the file is missing."""
    if not _is_there(folder / name, "solutions.json"):
        return ()
    found = _json(folder / name / "solutions.json")
    if not isinstance(found, list) or not all(isinstance(program, str) for program in found):
        raise ConfigError(f"{folder / name / 'solutions.json'} is no list of programs")
    return tuple(found)


def _tests(file: Path) -> tuple[tuple[Test, ...], str | None]:
    content = _json(file)
    if not isinstance(content, dict) or not {"inputs", "outputs"} <= content.keys():
        raise ConfigError(f"{file} is not of the format of APPS: it has no inputs and outputs")
    given, wanted, name = content["inputs"], content["outputs"], content.get("fn_name")
    if not isinstance(given, list) or not isinstance(wanted, list) or len(given) != len(wanted):
        raise ConfigError(
            f"{file} is not of the format of APPS: inputs and outputs are two lists of one length"
        )
    if not given:
        raise ConfigError(f"{file} holds no tests")
    if name is not None:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise ConfigError(f"{file} is not of the format of APPS: fn_name names a function")
        if not all(isinstance(arguments, list) for arguments in given):
            raise ConfigError(f"{file} is not of the format of APPS: a function's inputs are lists")
        return tuple(map(Test, given, wanted)), name
    pairs = zip(given, wanted, strict=True)
    return tuple(Test(_lines(one, file), _lines(other, file)) for one, other in pairs), None


def _lines(value: Any, file: Path) -> str:
    """What is read or printed as one text."""
    if isinstance(value, list) and all(isinstance(line, (str, int, float)) for line in value):
        return "\n".join(map(str, value)) + "\n"
    if not isinstance(value, str):
        raise ConfigError(
            f"{file} is not of the format of APPS: without fn_name inputs and outputs are texts"
        )
    return value


def _difficulty(place: Path) -> str:
    content = _json(place / "metadata.json")
    word = content.get("difficulty") if isinstance(content, dict) else None
    return word[:40] if isinstance(word, str) and word.isprintable() and word else "unknown"


def _is_there(place: Path, name: str) -> bool:
    return (place / name).is_file()


def _text(file: Path) -> str:
    try:
        return read_real(file, _MOST_BYTES.get(file.name, _MOST_TEXT)).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is no text in UTF-8") from None


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{file} is no JSON: {error}") from None
