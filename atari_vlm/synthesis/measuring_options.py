"""The options of ``codewm evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from atari_vlm.errors import check_count
from atari_vlm.runs.cluster.options import ExecutorOptions
from atari_vlm.runs.options import (
    TYPED_ONLY,
    FileOptions,
    Options,
    SeedOptions,
)
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.synthesis.command_options import (
    EnvironmentOptions,
    PlayedOptions,
    SandboxOptions,
    TransitionOptions,
)


@dataclass(frozen=True)
class WhereOptions(Options):
    """Which programs."""

    save_dir: Path = field(default=Path("atari_vlm_results"), metadata=TYPED_ONLY)
    """the run of a search, or a folder of such runs"""
    real_env: bool = False
    """plan in the real environment too: the program's return is then told relative to that (R)"""
    n_episodes: int = 2
    """episodes of each (the paper: 10)"""

    def __post_init__(self) -> None:
        check_count(n_episodes=self.n_episodes)
        super().__post_init__()


@dataclass(frozen=True)
class PlannerOptions(Options):
    """How is planned: a tree search for numbered actions, the cross-entropy method for others."""

    num_simulations_mcts: int = 25
    """simulations a step"""
    max_actions_mcts: int = 100
    """steps that a simulation's rollout may take"""
    T_cem: int = 100
    """steps that a plan is long, at most the environment's limit"""
    I_cem: int = 20
    """iterations"""
    N_cem: int = 1000
    """plans an iteration"""
    K_cem: int = 100
    """elites"""
    receding: bool = False
    """plan anew after every step; without it a plan is followed to its end, as in the paper"""
    max_episode_steps: int | None = None
    """cut episodes there"""


@dataclass(frozen=True)
class SpreadOptions(ExecutorOptions):
    """Who measures; results do not depend on it."""

    parallel: int = 1
    """programs measured at once: by so many processes, or workers of Ray"""

    def __post_init__(self) -> None:
        check_count(parallel=self.parallel)
        super().__post_init__()


@dataclass(frozen=True)
class EvaluateCommand(
    FileOptions, ServeOptions, SpreadOptions, SandboxOptions, PlannerOptions, SeedOptions, PlayedOptions, TransitionOptions,
    EnvironmentOptions, WhereOptions,
):  # fmt: skip
    """Which programs, and what they are measured with."""

    program = "codewm evaluate"
