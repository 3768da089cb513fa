"""What both programs of tuning do around a training: the run's folder is opened, finished where it ended, and closed."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages


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
