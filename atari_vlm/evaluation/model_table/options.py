"""What ``python -m atari_vlm.evaluate fidelity`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atari_vlm.errors import ConfigError, check_count, check_positive
from atari_vlm.runs.options import Options

AHEAD = (1, 5, 10, 50)
NAMED = ("emulator", "golden", "copy", "corrupt")


@dataclass(frozen=True)
class FidelityConfig(Options):
    """Which models, and what they are measured on."""

    program = "evaluate fidelity"

    models: tuple[str, ...] = NAMED
    """emulator, golden, copy, corrupt, and folders of checkpoints of any kind"""
    game: str = "Pong"
    """a game whose objects are read from memory"""
    steps: int = 500
    """steps of real play at which the models begin"""
    seed: int = 0
    """of the play, of the changed actions and of the planner"""
    decision_steps: int = 200
    """steps of the real game that a planner plays with each model; 0: none"""
    decision_games: int = 1
    """the planner plays so many times, with a seed each; more than one give its points an interval"""
    keep_play: Path | None = None
    """an npz file to write the real play to, as a data set for `dream --dataset`: learn from another --seed than is measured"""
    save_dir: Path = Path("atari_vlm_results/fidelity")
    """the folder that receives fidelity.json and fidelity.md"""
    draws: int = 4
    """dreams of a checkpoint from each beginning, whose figures are averaged"""
    beginnings: int = 60
    """dreams begin at so many of the steps at most"""
    plans: int = 24
    """plans that the planner scores at a time"""
    horizon: int = 16
    """steps of a plan"""
    follow: int = 4
    """steps of the best plan that are played before it plans anew"""

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, draws=self.draws, beginnings=self.beginnings)
        check_count(plans=self.plans, horizon=self.horizon, follow=self.follow)
        check_count(decision_games=self.decision_games)
        if self.keep_play is not None and self.keep_play.suffix != ".npz":
            raise ConfigError(f"--keep-play is a file NAME.npz, got {self.keep_play.name!r}")
        if self.steps > 5000:
            raise ConfigError(
                f"--steps are at most 5000, whose pictures are kept, got {self.steps}"
            )
        if self.decision_steps < 0 or self.seed < 0:
            raise ConfigError("--decision-steps and --seed are whole numbers of at least 0")
        if not self.models:
            raise ConfigError("--models names at least one model")
        if self.follow > self.horizon:
            raise ConfigError(f"--follow is at most --horizon, {self.horizon}, got {self.follow}")
        super().__post_init__()
