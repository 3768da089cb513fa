"""What a run of problems leaves, a file a problem, and how it is read again, as a stranger's.

::

    <run>/problems/0000/     the search of one problem: config.yaml, journal.sqlite, nodes.csv, programs/, tree.html, best.py
                             and solution.json, once it is done
    <run>/codes.json         {"0000": [program, ...], ...}: every program by problem, in the order of the calls
    <run>/results.json       what was found, as it was judged on the way
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, RunError, reading
from atari_vlm.files import atomic_write, read_real
from atari_vlm.runs.run_folder import read_config
from atari_vlm.settings import typed
from atari_vlm.world_models.code.sandbox import check_text

PROBLEMS, SOLUTION, CODES, RESULTS = "problems", "solution.json", "codes.json", "results.json"
_NAME = re.compile(r"\d{4,8}")
_MOST_BYTES = 256 << 20
_OF_A_PART = ("problems", "tests")  # settings in which the parts of a set differ


@dataclass(frozen=True)
class Solved:
    """What was written for one problem.

    ``programs`` are in the order of the calls, ``None`` for a reply without one; ``chosen`` is the place of the one that was
    chosen, ``None`` for none. ``score`` is the share of the tests that it passed when it was chosen.
    """

    problem: str
    programs: tuple[str | None, ...]
    chosen: int | None = None
    score: float = 0.0
    calls: int = 0
    cost_usd: float | None = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def best(self) -> str | None:
        """The chosen program."""
        return None if self.chosen is None else self.programs[self.chosen]


@dataclass(frozen=True)
class SavedRun:
    """A run of problems, or several that are parts of one set: folders, settings, and what was written by problem."""

    folders: tuple[Path, ...]
    settings: Mapping[str, Any]
    solved: Mapping[str, Solved]
    asked: int

    @property
    def complete(self) -> bool:
        """Whether every problem that was asked for is done."""
        return len(self.solved) == self.asked


def write_solved(folder: Path, solved: Solved) -> None:
    """Note that a problem is done."""
    content = json.dumps(asdict(solved), indent=1)
    atomic_write(folder / SOLUTION, content.encode("utf-8", "surrogatepass"))


def write_codes(folder: Path, solved: Mapping[str, Solved]) -> None:
    """Write ``codes.json`` of a run."""
    codes = {name: [code for code in one.programs if code] for name, one in solved.items()}
    content = json.dumps(codes, indent=1) + "\n"
    atomic_write(folder / CODES, content.encode("utf-8", "surrogatepass"))


def read_runs(folder: Path) -> SavedRun:
    """The run in a folder, or all runs that lie in it if they are parts of one set.

    Raises ``ConfigError`` where there are none, where they are not of one kind, for a problem that two of them hold, and
    ``RunError`` for a file that no run writes.
    """
    folders = [folder] if (folder / PROBLEMS).is_dir() else _runs_in(folder)
    if not folders:
        raise ConfigError(f"{folder} holds no run of codewm apps (zero-shot, gif-mcts, worldcoder)")
    configs = [_settings(each) for each in folders]
    kinds = [_kind(config) for config in configs]
    if any(kind != kinds[0] for kind in kinds):
        raise ConfigError(
            f"{folder} holds runs of several kinds ({', '.join(each.name for each in folders)}): name one of them"
        )
    solved: dict[str, Solved] = {}
    for each in folders:
        for one in _solved_in(each):
            if one.problem in solved:
                raise ConfigError(
                    f"{folder} holds problem {one.problem} twice: name one of its runs"
                )
            solved[one.problem] = one
    asked = sum(len(config["problems"]) for config in configs)
    return SavedRun(tuple(folders), configs[0], dict(sorted(solved.items())), asked)


def _runs_in(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [each for each in found if (each / PROBLEMS).is_dir() and not each.is_symlink()]


def _settings(folder: Path) -> dict[str, Any]:
    settings = read_config(folder)["settings"]
    names = settings.get("problems")
    if settings.get("task") != "apps" or not isinstance(names, list):
        raise ConfigError(f"{folder} is no run of codewm apps")
    return dict(settings)


def _kind(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _OF_A_PART}


def _solved_in(folder: Path) -> Iterator[Solved]:
    for place in sorted((folder / PROBLEMS).iterdir()):
        file = place / SOLUTION
        if _NAME.fullmatch(place.name) and not place.is_symlink() and file.is_file():
            yield _read_solved(file, place.name)


def _read_solved(file: Path, problem: str) -> Solved:
    with reading(file, RunError):
        content = json.loads(read_real(file, _MOST_BYTES))
        solved = Solved(**typed(Solved, content, str(file)))
        for program in solved.programs:
            if program is not None:
                check_text(program)
        inside = solved.chosen is None or 0 <= solved.chosen < len(solved.programs)
        if (
            solved.problem != problem
            or not inside
            or (solved.chosen is not None and not solved.best)
        ):
            raise ValueError("it is not what a run writes")
    return solved
