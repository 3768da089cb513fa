"""Where a run's data set is written: an npz file, or a local Minari data set, each there as a whole or not at all.

What somebody else made is never replaced. A run notes in ``writing/`` what it is about to put where, so that the same command
goes on after it was killed meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.minari import About
from atari_vlm.experience.minari_places import local_folder, put_local
from atari_vlm.files import atomic_write


class Output(Protocol):
    """A place for a data set."""

    @property
    def name(self) -> str:
        """What ``--dataset`` takes."""
        ...

    def claim(self) -> None:
        """Raise ``ConfigError`` where something is there already that this run has not written."""
        ...

    def write(self, episodes: Sequence[Episode], about: About, frame_skip: int) -> None:
        """Put the data set there; each episode is read more than once, and not kept."""
        ...


class _Noted:
    """What a run has written, or was about to, at a place."""

    def __init__(self, run: Path, place: Path):
        self.place = place.absolute()
        digest = hashlib.sha256(str(self.place).encode()).hexdigest()[:16]
        self._note = run / "writing" / digest

    def claim(self, what: str) -> None:
        if self.place.exists() and not self._note.exists():
            raise ConfigError(
                f"{what} is there already, and not of this run; delete it or choose another name"
            )

    def note(self) -> None:
        self._note.parent.mkdir(exist_ok=True)
        atomic_write(self._note, f"{self.place}\n")


class NpzOutput:
    """An npz file."""

    def __init__(self, run: Path, path: Path):
        self._path, self._noted = path, _Noted(run, path)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def claim(self) -> None:
        """Whether it may be written."""
        self._noted.claim(self.name)

    def write(self, episodes: Sequence[Episode], about: About, frame_skip: int) -> None:
        """Write it; it appears when it is complete."""
        self._noted.note()
        write_episodes(self._path, episodes, about.action_space, frame_skip)


class MinariOutput:
    """A local Minari data set, written in the run's folder and moved to its place as a whole."""

    def __init__(self, run: Path, dataset_id: str):
        self._id, self._stage = dataset_id, run / "minari"
        self._noted = _Noted(run, local_folder(dataset_id))

    @property
    def name(self) -> str:
        """Its id."""
        return self._id

    def claim(self) -> None:
        """Whether it may be written."""
        self._noted.claim(f"the local Minari dataset {self._id!r}")

    def write(self, episodes: Sequence[Episode], about: About, frame_skip: int) -> None:
        """Write it. What the run had put there before, whole or not, is replaced."""
        self._noted.note()
        put_local(self._id, episodes, about, self._stage)
