"""What both programs of tuning do around a training: the run's folder is opened, finished where it ended, and closed."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from atari_vlm.errors import BudgetExhaustedError
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages


class TimeLimit:
    """So many ``minutes`` from when this was made; ``None``: no limit."""

    def __init__(self, minutes: float | None = None):
        self.minutes, self.began_s = minutes, time.monotonic()

    def check(self, done: str) -> None:
        """Raise ``BudgetExhaustedError`` after the time, for a run whose last checkpoint is of what is ``done``."""
        if self.minutes is not None and time.monotonic() - self.began_s >= 60 * self.minutes:
            raise BudgetExhaustedError(
                f"--max-minutes {self.minutes:g} are over after {done}; the same command goes on from there",
                "minutes",
            )


def in_run_folder(request: RunRequest, train: Callable[[RunFolder, Console, Stop], int]) -> int:
    """The exit code of ``train``; 0 at once for a run that is finished. Signals stop it."""
    console = messages()
    with stop_on_signals() as stop:
        folder = RunFolder.open(request, journal=False)
        try:
            if folder.finished:
                console.print(f"{folder.path} is finished: {folder.path / 'results.json'}")
                return 0
            code = train(folder, console, stop)
            if code == 0:
                folder.finish()
            return code
        finally:
            folder.close()
