"""Saved episodes, step by step: forwards, backwards, from one to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.experience.episodes import Episode
from atari_vlm.viewing.panels import Panel, action_text, draw_panels
from atari_vlm.viewing.recording import Recording

_HEIGHT = 420  # pixels that a picture is enlarged to, about


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
        of_kind = [episode for episode in self.all if episode.kind == kind]
        self.shown = self.all if of_kind == self.shown or not of_kind else of_kind
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
        action, reward = (
            (action_text(episode.actions[n - 1], episode.action_names), episode.rewards[n - 1])
            if n
            else ("none", 0.0)
        )
        total = float(episode.rewards[:n].sum())
        over = n > 0 and (episode.terminated[n - 1] or episode.truncated[n - 1])
        text = (
            f"{where}   step {self.step}   action {action}   reward {reward:g}   return {total:g}"
        )
        return text + ("   over" if over else "")

    def picture(self) -> np.ndarray:
        """What is to be seen now: uint8 ``(H, W, 3)`` with even sides, the same for all episodes."""
        canvas = np.zeros((*self._size, 3), np.uint8)
        shown = self.episode.pictures[self.step]
        canvas[: shown.shape[0], : shown.shape[1]] = shown
        return draw_panels([Panel(canvas)], self.status() if self.header else "", self._zoom)

    def outcome(self) -> tuple[Any, float, bool, bool]:
        """Action, reward, terminated and truncated of the step that led here; undefined at step 0."""
        episode, n = self.episode, self.step - 1
        ends = bool(episode.terminated[n]), bool(episode.truncated[n])
        return episode.actions[n], float(episode.rewards[n]), *ends

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
