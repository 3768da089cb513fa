"""The options of ``train`` that no other program has, in the groups that ``--help`` shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import UNRECORDED, Options


@dataclass(frozen=True)
class PhaseOptions(Options):
    """Training and evaluation."""

    num_eval_episodes: int = 3
    """evaluation episodes at the end, memory frozen, on seeds that are never trained on"""
    eval_only: bool = False
    """no training episodes"""
    eval_interval: int = 10
    """evaluate 2 episodes after every so many training episodes; 0: never"""
    save_interval: int = 20
    """write results.json after every so many training episodes; 0: only at the end"""
    round_size: int = 4
    """episodes between two times of learning; training runs at most so many at once"""

    def __post_init__(self) -> None:
        if min(self.num_eval_episodes, self.eval_interval, self.save_interval) < 0:
            raise ConfigError(
                "num_eval_episodes, eval_interval and save_interval must be 0 or more"
            )
        if self.num_eval_episodes == 0 and self.eval_only:
            raise ConfigError(
                "without evaluation episodes there is nothing to evaluate: raise --num-eval-episodes"
            )
        super().__post_init__()


@dataclass(frozen=True)
class ShowOptions(Options):
    """Instead of playing."""

    show_recommendations: bool = field(default=False, metadata=UNRECORDED)
    """print the catalogue of models and end"""
