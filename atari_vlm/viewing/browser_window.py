"""A window for an :class:`EpisodeBrowser`.

Left and right go one step, page down and page up ten; down and up go to the previous and next episode; space plays and stops;
t, y, i show only train, test or imagined episodes. Enter goes to the beginning, ``.`` pauses, ``,`` records, Escape ends.
"""

from __future__ import annotations

from pathlib import Path

from atari_vlm.viewing.episode_browser import EpisodeBrowser, keys_of
from atari_vlm.viewing.game_window import TurnedWindow, free_name
from atari_vlm.viewing.recording import Recording


class BrowserWindow(TurnedWindow):
    """The window of a browser: a turn is a picture."""

    def __init__(self, browser: EpisodeBrowser, fps: float):
        self.browser = browser
        self._recording: Recording | None = None
        self._recorded = (0, 0)
        self._keys = {
            **keys_of(browser),
            "return": lambda: browser.other(0),
            "space": self._toggle_playing,
            ".": self._toggle_playing,
            ",": self._toggle_recording,
        }
        super().__init__(browser.picture(), fps)

    def turn(self) -> None:
        """Hear the keys, move on if playing, show the picture, wait for the next one's time."""
        for key, down in self._window.keys():
            if down and key in self._keys:
                self._keys[key]()
        self.browser.tick()
        self._record()
        marks = {"paused": not self.browser.playing, "recording": self._recording is not None}
        self._window.show(self.browser.picture(), marks, self.fps)

    def end_recording(self) -> None:
        """Finish the film that is being written, if there is one."""
        if self._recording is not None:
            self.saved.append(self._recording.close())
            self._recording = None

    def _toggle_playing(self) -> None:
        self.browser.playing = not self.browser.playing

    def _toggle_recording(self) -> None:
        if self._recording is not None:
            self.end_recording()
            return
        self._recording = Recording(free_name(), self.fps)
        self._start_recording()

    def _start_recording(self) -> None:
        assert self._recording is not None
        self._recording.start(
            self.browser.episode.pictures[self.browser.step], self.browser.picture()
        )
        self._recorded = (self.browser.at, self.browser.step)

    def _record(self) -> None:
        """Keep what is new to see: the next step as a step, any other place as a new beginning."""
        place = (self.browser.at, self.browser.step)
        if self._recording is None or place == self._recorded:
            return
        if place == (self._recorded[0], self._recorded[1] + 1):
            observed = self.browser.episode.pictures[self.browser.step]
            self._recording.step(self.browser.outcome(), observed, self.browser.picture())
            self._recorded = place
        else:
            self._start_recording()


def browse_in_window(browser: EpisodeBrowser, fps: float, steps: int | None = None) -> Path | None:
    """Browse until the window is closed, or for ``steps`` turns; the path of the last recording, if any was made."""
    return BrowserWindow(browser, fps).run(steps)
