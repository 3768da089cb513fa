"""The folder of a run: who may write it, what it was made with, and where its parts lie.

::

    <save_dir>/<run name>/
        config.yaml       settings (what the results depend on) with their hash, versions, how it was run, and which journal is
                          its own; never a key
        journal.sqlite    everything that happened (:mod:`atari_vlm.runs.journal`); all else is made from it. Runs that ask nobody
                          have none
        metrics.jsonl  episodes.csv  results.json  tensorboard/  videos/*.mp4  report.html
        lock              held while a process writes the run

A run is *continued* by asking for the same settings while the latest run made with them is unfinished, or by naming it. Once
it is finished, the same settings make a new run, unless it is named: then it is read again, and nothing is played.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

import atari_vlm
from atari_vlm.conditions import versions
from atari_vlm.errors import ConfigError, RunError, StorageError
from atari_vlm.files import atomic_write, check_no_links, child_folder, remove_left_behind
from atari_vlm.runs.continuing import ResumeRules, continued, differences
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_mark import check_made
from atari_vlm.runs.run_lock import hold_lock
from atari_vlm.yaml_files import read_yaml

_PACKAGES = (
    "gymnasium",
    "ale-py",
    "numpy",
    "opencv-python-headless",
    "torch",
    "transformers",
    "openai",
    "anthropic",
)
_BEFORE_CONFIG = {"lock", *(f"journal.sqlite{end}" for end in ("", "-wal", "-shm", ".mark"))}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True)
class RunRequest:
    """Which run is wanted.

    ``settings`` (plain data) is everything the results depend on; ``execution`` is how it is carried out, which may change from
    one start to the next. ``resume`` is the name of a run in ``save_dir`` or the path of a run folder. ``command`` is what a
    program needs to be started again, and ``command_line`` the line that does so.
    ``rules`` say what may be asked for otherwise when a run is continued.
    """

    save_dir: Path
    label: str
    settings: Mapping[str, Any]
    execution: Mapping[str, Any]
    run_name: str | None = None
    resume: str | None = None
    command: Mapping[str, Any] = field(default_factory=dict)
    command_line: str = ""
    rules: ResumeRules = field(default_factory=ResumeRules)

    @property
    def identity(self) -> str:
        """SHA-256 of the settings, hex."""
        return identity_of(self.settings)


class RunFolder:
    """A run that this process writes. Holds the lock until :meth:`close`."""

    def __init__(self, path: Path, lock: IO[str], *, resumed: bool):
        self.path, self.resumed = path, resumed
        self.parts: list[
            dict[str, Any]
        ] = []  # what was asked for before the run was extended, oldest first
        self._lock = lock
        self._groups = 0
        self._journal: Journal | None = None

    @classmethod
    def open(cls, request: RunRequest, *, journal: bool = True) -> RunFolder:
        """Find the run that is to be continued or make a new one, lock it, and open its journal if it is to have one.

        Raises ``ConfigError`` for a name that is none, a folder that cannot be written or that holds links, and ``RunError`` when
        the run is being written by another process, was made with other settings, or has lost its journal or a part of it.
        """
        try:
            path, resumed = _locate(request)
            if not resumed:
                path.mkdir(parents=True, exist_ok=True)
            check_no_links(path)
            run = cls(path, hold_lock(path), resumed=resumed)
        except StorageError:
            raise
        except OSError as error:
            raise ConfigError(f"no run can be written in {request.save_dir}: {error}") from error
        try:
            run._begin(request, journal)
        except BaseException:
            run.close()
            raise
        return run

    def _begin(self, request: RunRequest, journal: bool) -> None:
        """The journal first, then ``config.yaml`` with its id: a run that has one never lacks the other.

        A run that is extended is marked unfinished before its config says so: killed between the two it is as it was, and
        unfinished, so that either command goes on with it.
        """
        config: dict[str, Any] = {}
        extended = False
        if self.resumed:
            recorded = read_config(self.path)
            config, extended = continued(self.path, recorded, request.settings, request.rules)
        self.parts = config.get("parts", [])
        remove_left_behind(self.path)
        if journal:
            file = self.path / "journal.sqlite"
            check_made(self.path, file)
            self._journal = Journal(file, noted_id=config.get("journal"))
            if not self.resumed and any(self._journal.replies()):
                raise RunError(
                    f"{file} holds the answers of a run whose config.yaml is gone: put it back, or choose another name"
                )
        if extended and self._journal is not None:
            self._journal.set_meta(finished=False)
        facts = (
            {"finished": bool(config.get("finished", False)) and not extended}
            if self._journal is None
            else {"journal": self._journal.id}
        )
        _write_config(
            self.path, request, {**facts, **({"parts": self.parts} if self.parts else {})}
        )

    @property
    def journal(self) -> Journal:
        """What happens in the run; ``RunError`` for a run that was opened without one."""
        if self._journal is None:
            raise RunError(f"the run {self.path} has no journal")
        return self._journal

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def finished(self) -> bool:
        """Whether everything that was asked for is done."""
        if self._journal is None:
            return bool(read_config(self.path).get("finished", False))
        return bool(self._journal.meta().get("finished", False))

    def finish(self) -> None:
        """Note that everything that was asked for is done."""
        if self._journal is None:
            _rewrite_config(self.path, {**read_config(self.path), "finished": True})
        else:
            self._journal.set_meta(finished=True)

    def record_group(
        self, phase: str, episodes: Sequence[int], conditions: Mapping[str, Any]
    ) -> None:
        """Note that a group of episodes (a round, an evaluation) begins, under which conditions.

        A run that is continued must come to the same groups in the same order; else :class:`RunError`. Conditions that one
        of two versions does not know are not compared: until version 0.1 ``memory`` was a digest of PNG files, whose bytes
        change with the encoder.
        """
        groups = self.journal.meta().get("groups", [])
        group = {"phase": phase, "episodes": list(episodes), **conditions}
        recorded = groups[self._groups] if self._groups < len(groups) else group
        if any(recorded[name] != group[name] for name in recorded.keys() & group.keys()):
            raise RunError(
                f"{self.path} diverged: its next episodes were {recorded}, asked for now are {group}"
            )
        if self._groups == len(groups):
            self.journal.set_meta(groups=[*groups, group], finished=False)
        self._groups += 1

    def discard(self) -> None:
        """Take back a new run that was refused before anything was done in it: a mended command may have its name.

        A run that was there before is left as it is.
        """
        if self.resumed:
            return
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == "config.yaml"):
            if entry.name.startswith((".", "journal")):  # may have been there when it was made
                continue
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def close(self) -> None:
        """Close the journal and let go of the lock."""
        if self._journal is not None:
            self._journal.close()
        self._lock.close()


def identity_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of plain data."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> dict[str, Any]:
    """A run folder's ``config.yaml``; ``ConfigError`` if there is none that can be read."""
    file = path / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"{path} is not a run folder: it has no config.yaml")
    content = read_yaml(file, links=False)
    if not {"identity", "settings"} <= content.keys() or not all(
        isinstance(content.get(part, {}), dict)
        for part in ("settings", "execution", "command", "versions")
    ):
        raise ConfigError(f"{file} is not the config.yaml of a run")
    return content


def existing_run(save_dir: Path, run: str) -> Path:
    """The folder that ``--resume RUN`` means: a name in ``save_dir``, or the path of a run folder."""
    given = Path(run)
    path = child_folder(given.parent if given.name != run else save_dir, given.name)
    if not path.is_dir():
        raise ConfigError(
            f"there is no run {run!r} to resume in {path.parent}; {_runs_there(path.parent)}"
        )
    read_config(path)
    return path


def _runs_there(folder: Path) -> str:
    names = sorted(path.name for path, _ in _runs(folder))
    return f"runs there: {', '.join(names[-8:])}" if names else "there are no runs"


def _locate(request: RunRequest) -> tuple[Path, bool]:
    """The folder and whether the run exists already."""
    if request.resume is not None:
        return existing_run(request.save_dir, request.resume), True
    if request.run_name is not None:
        path = child_folder(request.save_dir, request.run_name)
        exists = (path / "config.yaml").is_file()
        if (
            not exists
            and path.is_dir()
            and any(
                entry.name not in _BEFORE_CONFIG and entry.name[0] != "."
                for entry in path.iterdir()
            )
        ):
            raise ConfigError(f"{path} exists and is not a run; choose another --run-name")
        return path, exists
    same = {
        path: config
        for path, config in _runs(request.save_dir)
        if not differences(config, request.settings, request.rules)
    }
    latest = max(same, key=_number, default=None)
    if latest is not None and not _finished(latest, same[latest]):
        return latest, True
    return _new_folder(request), False


def _runs(save_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(save_dir.glob("*/config.yaml")):
        try:
            yield file.parent, read_config(file.parent)
        except ConfigError:
            continue  # somebody else's folder


def _finished(path: Path, config: Mapping[str, Any]) -> bool:
    if config.get("finished", False):
        return True
    if not (path / "journal.sqlite").is_file():
        return False
    try:
        with Journal(path / "journal.sqlite", read_only=True) as journal:
            return bool(journal.meta().get("finished", False))
    except RunError:  # stopped before the journal began; if it is damaged, opening it will say so
        return False


def _number(path: Path) -> int:
    digits = re.search(r"(\d+)$", path.name)
    return int(digits[1]) if digits else -1


def _new_folder(request: RunRequest) -> Path:
    """``<label>-001`` or the next free number; made here, so that two processes never get the same."""
    label = _NOT_IN_A_NAME.sub("-", request.label).strip("-.")[:56] or "run"
    request.save_dir.mkdir(parents=True, exist_ok=True)
    taken = [_number(path) for path in request.save_dir.glob(f"{label}-*")]
    number = max(taken, default=0) + 1
    while True:
        path = child_folder(request.save_dir, f"{label}-{number:03d}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


def _write_config(path: Path, request: RunRequest, noted: Mapping[str, Any]) -> None:
    content = {
        "atari_vlm": atari_vlm.__version__,
        "identity": request.identity,
        "settings": dict(request.settings),
        "execution": dict(request.execution),
        "command": dict(request.command),
        "command_line": request.command_line,
        "directory": os.getcwd(),
        "versions": versions(_PACKAGES),
        **noted,
    }
    _rewrite_config(path, content)


def _rewrite_config(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write(path / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
