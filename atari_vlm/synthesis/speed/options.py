"""The options of ``codewm speed``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, check_count
from atari_vlm.runs.options import (
    TYPED_ONLY,
    UNRECORDED,
    AskOptions,
    FileOptions,
    FolderOptions,
    KeyOptions,
    ModelOptions,
    Options,
    SeedOptions,
)
from atari_vlm.runs.serve_options import ServeOptions

_IMPORTS: dict[str, Any] = {"typed only": lambda envs: any(":" in str(env) for env in envs or ())}


@dataclass(frozen=True)
class SpeedSubjectOptions(Options):
    """What is simulated, and which program stands against the model."""

    env: tuple[str, ...] = field(
        default=("CartPole-v1", "HalfCheetah-v5", "Humanoid-v5"), metadata=_IMPORTS
    )
    """environments, several in a row (the last two need the extra mujoco)"""
    n_transitions: int = 10
    """steps that both sides foretell, taken from random play (the paper: 10)"""
    programs: Path | None = field(default=None, metadata=TYPED_ONLY)
    """run of a search, or a folder of such runs, whose programs are measured; without it bundled ones"""

    def __post_init__(self) -> None:
        check_count(n_transitions=self.n_transitions)
        if not self.env or len(set(self.env)) < len(self.env):
            raise ConfigError("env names one environment or several, none of them twice")
        super().__post_init__()


@dataclass(frozen=True)
class SimulatorOptions(Options):
    """Who simulates."""

    vlm: str | None = None
    """a family (gpt-4o, claude, gemini, text ...) or scripted; without it --model decides, and without both it is scripted"""
    key_folder: Path | None = field(default=None, metadata={**TYPED_ONLY, **UNRECORDED})
    """folder with the files openai_key and openai_org, as the source system has it"""
    reply_tokens: int = 8192
    """longest reply; a state of Humanoid has 348 numbers"""
    deadline_s: float = 2.0
    """seconds that a program may take for one step"""


@dataclass(frozen=True)
class SpeedCommand(
    FileOptions, FolderOptions, ServeOptions, KeyOptions, ModelOptions, AskOptions, SimulatorOptions, SeedOptions,
    SpeedSubjectOptions,
):  # fmt: skip
    """What is simulated, by whom, and what it may cost."""

    program = "codewm speed"
    timeout_s: float = 600.0
