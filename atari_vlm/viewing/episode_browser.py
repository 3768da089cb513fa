"""Saved episodes, step by step: forwards, backwards, from one to the next."""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.viewing.panels import Panel, draw_panels
from atari_vlm.viewing.recording import Recording

_HEIGHT = 420  # pixels that a picture is enlarged to, about
KINDS = ("train", "test", "imagination")


@dataclass(frozen=True, eq=False)
class Episode:
    """``pictures`` uint8 ``(T + 1, H, W, 3)`` (``T`` where the last one was not kept), ``actions`` int64 ``(T,)``, ``rewards``
    ``(T,)``, ``terminated`` and ``truncated`` bool ``(T,)``. ``kind`` is the folder it lay in, one of ``KINDS``, or ``""``.
    """

    name: str
    kind: str
    pictures: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    action_names: tuple[str, ...] = ()


def read_episodes(path: str | Path) -> list[Episode]:
    """Every episode of an npz file, or of all npz files below a folder, in the order of their names.

    A file holds ``observations`` (or ``frames``), ``actions`` and ``rewards``, and where it has them ``terminated``,
    ``truncated``, ``starts`` and ``action_names``: what :class:`~atari_vlm.viewing.recording.Recording` and the data sets of
    :mod:`atari_vlm.experience.episode_files` hold. Raises ``ConfigError`` for other files.
    """
    path = Path(path)
    files = sorted(path.rglob("*.npz")) if path.is_dir() else [path]
    episodes = [episode for file in files for episode in _read(file, len(files) > 1)]
    if not episodes:
        raise ConfigError(f"{path} holds no episodes: no npz file with observations, actions and rewards")
    return episodes


def _read(path: Path, one_of_many: bool) -> list[Episode]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        pictures = arrays["observations"] if "observations" in arrays else arrays["frames"]
        steps, none = len(arrays["actions"]), np.zeros(len(arrays["actions"]), np.bool_)
        columns = [
            arrays["actions"],
            arrays["rewards"],
            *(arrays.get(name, none) for name in ("terminated", "truncated")),
        ]
        names = tuple(map(str, arrays.get("action_names", ())))
        starts = arrays["starts"].tolist() if "starts" in arrays else [0]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is no file of episodes: {error}") from error
    fits = pictures.dtype == np.uint8 and pictures.ndim in (3, 4) and {len(column) for column in columns} == {steps}
    if not fits or len(pictures) not in (steps, steps + len(starts)) or starts != sorted({0, *starts}):
        raise ConfigError(f"{path} is no file of episodes: its arrays do not fit together")
    if "starts" not in arrays and len(pictures) == steps:
        starts = [0, *(np.flatnonzero((columns[2] | columns[3])[:-1]) + 1).tolist()]
    if pictures.ndim == 3:
        pictures = pictures[..., None].repeat(3, axis=-1)
    kind = next((part for part in reversed(path.parts[:-1]) if part in KINDS), "") if one_of_many else ""
    episodes = _cut(path.stem, pictures, columns, starts)
    return [dataclasses.replace(episode, kind=kind, action_names=names) for episode in episodes]


def _cut(name: str, pictures: np.ndarray, columns: list[np.ndarray], starts: list[int]) -> list[Episode]:
    """The episodes of one file: episode n has one picture more than it has steps, where last pictures were kept."""
    extra = int(len(pictures) > len(columns[0]))
    episodes = []
    for n, (begin, end) in enumerate(zip(starts, [*starts[1:], len(pictures)], strict=True)):
        first = begin - n * extra
        actions, rewards, terminated, truncated = (column[first : first + end - begin - extra] for column in columns)
        title = f"{name} {n + 1}/{len(starts)}" if len(starts) > 1 else name
        episodes.append(Episode(title, "", pictures[begin:end], actions, rewards, terminated, truncated))
    return episodes


class EpisodeBrowser:
    """A place in a list of episodes. ``playing`` says whether :meth:`tick` moves on."""

    def __init__(self, episodes: list[Episode], *, header: bool = True, zoom: int | None = None):
        self.all, self.header = episodes, header
        self.shown = list(episodes)
        self.at, self.step, self.playing = 0, 0, False
        height, width = (max(e.pictures.shape[i] for e in episodes) for i in (1, 2))
        self._size, self._zoom = (height, width), zoom or max(1, round(_HEIGHT / height))

    @property
    def episode(self) -> Episode:
        """The one that is looked at."""
        return self.shown[self.at]

    def move(self, steps: int) -> None:
        """Go forwards or backwards within the episode, at most to its ends."""
        self.step = int(np.clip(self.step + steps, 0, len(self.episode.pictures) - 1))

    def other(self, episodes: int) -> None:
        """Go to the beginning of a later or earlier episode, at most to the last or first."""
        self.at, self.step = int(np.clip(self.at + episodes, 0, len(self.shown) - 1)), 0

    def only(self, kind: str) -> None:
        """Show the episodes of one kind, or all again if they are shown already or there are none."""
        chosen = [episode for episode in self.all if episode.kind == kind]
        self.shown = self.all if chosen == self.shown or not chosen else chosen
        self.at = self.step = 0

    def tick(self) -> None:
        """One step forwards if playing; at the end of the episode it stands still."""
        if self.playing:
            self.move(1)
            self.playing = self.step < len(self.episode.pictures) - 1

    def status(self) -> str:
        """One line: episode, step, action, reward, return."""
        episode, n = self.episode, min(self.step, len(self.episode.actions))
        where = f"{episode.kind + ' ' if episode.kind else ''}{episode.name} ({self.at + 1} of {len(self.shown)})"
        action, reward = (self._name(int(episode.actions[n - 1])), episode.rewards[n - 1]) if n else ("none", 0.0)
        total = float(episode.rewards[:n].sum())
        over = n > 0 and (episode.terminated[n - 1] or episode.truncated[n - 1])
        line = f"{where}   step {self.step}   action {action}   reward {reward:g}   return {total:g}"
        return line + ("   over" if over else "")

    def picture(self) -> np.ndarray:
        """What is to be seen now: uint8 ``(H, W, 3)`` with even sides, the same for all episodes."""
        canvas = np.zeros((*self._size, 3), np.uint8)
        shown = self.episode.pictures[self.step]
        canvas[: shown.shape[0], : shown.shape[1]] = shown
        return draw_panels([Panel(canvas)], self.status() if self.header else "", self._zoom)

    def outcome(self) -> tuple[int, float, bool, bool]:
        """Action, reward, terminated and truncated of the step that led here; undefined at step 0."""
        episode, n = self.episode, self.step - 1
        ends = bool(episode.terminated[n]), bool(episode.truncated[n])
        return int(episode.actions[n]), float(episode.rewards[n]), *ends

    def _name(self, action: int) -> str:
        names = self.episode.action_names
        return names[action] if 0 <= action < len(names) else str(action)

    def record(self, recording: Recording, steps: int | None = None) -> Path:
        """Write all shown episodes, or their first ``steps`` pictures, to ``recording``; returns the video's path."""
        left = steps if steps is not None else sum(len(episode.pictures) for episode in self.shown)
        for at in range(len(self.shown)):
            self.at, self.step = at, 0
            if left > 0:
                recording.start(self.episode.pictures[0], self.picture())
            for _ in range(min(left, len(self.episode.actions), len(self.episode.pictures) - 1)):
                self.move(1)
                recording.step(self.outcome(), self.episode.pictures[self.step], self.picture())
            left -= len(self.episode.pictures)
        return recording.close()


def keys_of(browser: EpisodeBrowser) -> dict[str, Any]:
    """What the keys do, by pygame's names."""
    return {
        "left": lambda: browser.move(-1),
        "right": lambda: browser.move(1),
        "page down": lambda: browser.move(-10),
        "page up": lambda: browser.move(10),
        "up": lambda: browser.other(1),
        "down": lambda: browser.other(-1),
        "t": lambda: browser.only("train"),
        "y": lambda: browser.only("test"),
        "i": lambda: browser.only("imagination"),
    }
