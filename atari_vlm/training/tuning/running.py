"""What both programs of tuning do around a training: the run's folder is opened, finished where it ended, and closed.

Under ``torchrun`` every process trains; the first one alone holds the folder, writes and talks.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from atari_vlm.errors import BudgetExhaustedError
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import build_player
from atari_vlm.world_models.learned.team import Team, device_of_rank, open_team, text_from_first


class TimeLimit:
    """So many ``minutes`` from when this was made; ``None``: no limit. The first clock of a ``team`` to say so ends them all."""

    def __init__(self, minutes: float | None = None, team: Team | None = None):
        self.minutes, self.began_s, self._team = minutes, time.monotonic(), team or Team()

    def check(self, done: str) -> None:
        """Raise ``BudgetExhaustedError`` after the time, for a run whose last checkpoint is of what is ``done``."""
        if self.minutes is None:
            return
        if self._team.any(time.monotonic() - self.began_s >= 60 * self.minutes):
            raise BudgetExhaustedError(
                f"--max-minutes {self.minutes:g} are over after {done}; the same command goes on from there",
                "minutes",
            )


@dataclass(frozen=True)
class Place:
    """Where a process trains: the run's folder, which the first one alone has ``held``, and a console, quiet in the others."""

    path: Path
    console: Console
    stop: Stop
    team: Team
    held: RunFolder | None

    def discard(self) -> None:
        """Take back a new run that was refused before anything was done in it."""
        if self.held is not None:
            self.held.discard()

    def local(self, options: LocalOptions) -> LocalOptions:
        """How this process loads the base: on a device of its own, where there are such."""
        return dataclasses.replace(options, device=device_of_rank(options.device))

    def new_base(self, seed: int) -> Path:
        """Where the small model that ``seed`` gives lies: in the run's folder, into which the first process writes it."""
        where = self.path / "base"
        if self.held is not None:
            build_player(where, seed)
        return Path(text_from_first(self.team, str(where)))  # the others go on when it is there


def in_run_folder(request: RunRequest, train: Callable[[Place], int]) -> int:
    """The exit code of ``train``; 0 at once for a run that is finished. Signals stop it, in all processes of it."""
    with open_team() as team, stop_on_signals() as stop:
        console = messages() if team.rank == 0 else Console(quiet=True)
        held = _opened(request, team) if team.rank == 0 else None
        try:
            path = Path(text_from_first(team, "" if held is None else str(held.path)))
            if team.any(held is not None and held.finished):
                console.print(f"{path} is finished: {path / 'results.json'}")
                return 0
            code = train(Place(path, console, stop, team, held))
            if code == 0 and held is not None:
                held.finish()
            return code
        finally:
            if held is not None:
                held.close()


def _opened(request: RunRequest, team: Team) -> RunFolder:
    execution = {**request.execution, "processes": team.size}
    return RunFolder.open(dataclasses.replace(request, execution=execution), journal=False)
