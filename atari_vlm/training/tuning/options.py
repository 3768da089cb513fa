"""The options of ``python -m atari_vlm.tune``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from atari_vlm.errors import ConfigError, check_count, check_positive
from atari_vlm.prompts import check_style
from atari_vlm.runs.options import (
    OWN_CODE,
    TYPED_ONLY,
    FileOptions,
    FolderOptions,
    LogOptions,
    Options,
    SeedOptions,
)
from atari_vlm.runs.trackers import check_installed
from atari_vlm.vlm.local.options import DTYPES, LoadIn, LocalOptions

_THOUGHTFUL = ("cot", "expert")  # prompts that ask for thoughts
_MODEL = {**TYPED_ONLY, "harmless": ("new",)}


@dataclass(frozen=True)
class TeachOptions(Options):
    """What is learned, from whom."""

    base: str = "tiny"
    """family of the model: qwen-vl, llava, video-llava, idefics2, tiny"""
    model: str = field(default="new", metadata=_MODEL)
    """folder or hub id of its weights; new (with --base tiny): a small model from nothing"""
    game: tuple[str, ...] = field(default=("Pong-v5",), metadata=OWN_CODE)
    """games: of ALE, Catch, SoloPong (one-paddle Pong), or any gymnasium id with pictures"""
    source: Annotated[str, tyro.conf.arg(aliases=("--from",))] = field(
        default="scripted", metadata={**TYPED_ONLY, "harmless": ("scripted",)}
    )
    """the teacher: scripted (the bundled player), mcts@emulator with a study's options, minari:ID, or a run folder"""
    prompt_type: Literal["basic", "cot", "expert"] = "basic"
    """what the instructions say; the tuned model plays with the same"""
    frames: int = 2
    """pictures in a question (of a run: as many as it had)"""
    episodes: int = 64
    """of a teacher that plays, in each game, to learn from"""
    held_out: int = 16
    """further ones, never learned from; of recorded ones in each game so many of a hundred, at least one"""
    max_steps: int = 200
    """steps of an episode of a teacher that plays, at most"""
    explore: float = 0.2
    """share of random actions while a teacher plays; what is learned is what it wanted"""
    best: float = 1.0
    """share of recorded episodes that is learned from, those of the highest return in their game"""
    thin: int = 1
    """of so many decisions in a row one is learned from"""

    def __post_init__(self) -> None:
        check_style(self.prompt_type)
        if not self.game:
            raise ConfigError("--game names at least one game")
        if self.frames < 0:
            raise ConfigError(f"frames must be 0 or more, got {self.frames!r}")
        super().__post_init__()


@dataclass(frozen=True)
class UpdateOptions(Options):
    """How weights are changed."""

    updates: int = 500
    batch_size: int = 32
    """decisions in an update"""
    learning_rate: float | None = None
    """its highest value; if left out 2e-4 for LoRA, 1e-3 for a model from nothing, 2e-5 for other whole weights"""
    method: Literal["auto", "lora", "full", "qlora"] = "auto"
    """lora, full (whole weights), qlora (4-bit weights beside LoRA); auto: full for a model from nothing, else lora"""
    rank: int = 16
    """of LoRA"""
    balance: bool = False
    """every action counts alike, however often the teacher takes it"""
    reasoning: bool = False
    """also what the teacher wrote before its answers is learned, where it wrote something; played is in one pass all the same"""
    micro_batch: int | None = None
    """decisions computed at once; the whole batch if left out"""
    gradient_checkpointing: bool = False
    """less memory, more time"""
    eval_every: int = 50
    """updates between measurements on held-out episodes and checkpoints"""

    def __post_init__(self) -> None:
        check_count(updates=self.updates, batch_size=self.batch_size, eval_every=self.eval_every)
        check_count(rank=self.rank)
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate!r}")
        if self.micro_batch is not None:
            check_count(micro_batch=self.micro_batch)
        super().__post_init__()


@dataclass(frozen=True)
class PlaceOptions(Options):
    """Where and how it is computed."""

    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda:1, mps"""
    dtype: str = "auto"
    """auto, float32, bfloat16, float16"""
    threads: int | None = None
    """CPU threads of torch; runs are equal to the bit only with as many"""
    offline: bool = False
    """never contact the model hub"""
    max_minutes: float | None = None
    """the run stops at its next checkpoint after so many, with exit code 75; the same command goes on"""

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_count(threads=self.threads)
        if self.max_minutes is not None:
            check_positive(max_minutes=self.max_minutes)
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is one of {', '.join(DTYPES)}, got {self.dtype!r}")
        super().__post_init__()


@dataclass(frozen=True)
class TuneOptions(
    LogOptions, PlaceOptions, SeedOptions, UpdateOptions, TeachOptions, FolderOptions, FileOptions
):
    """Imitation: a vision-language model learns what a teacher does."""

    program: ClassVar[str] = "tune sft"

    def local(self) -> LocalOptions:
        """How the base is loaded."""
        load_in: LoadIn | None = "4bit" if self.method == "qlora" else None
        return LocalOptions(
            device=self.device, dtype=self.dtype, offline=self.offline, load_in=load_in
        )

    def check(self) -> None:
        """Refuse what can be seen before anything is loaded."""
        check_installed(self.log)


@dataclass(frozen=True)
class GameTurnsOptions(Options):
    """What is played, by which model."""

    base: str = "tiny"
    """family of the model: qwen-vl, llava, video-llava, idefics2, tiny"""
    model: str = field(default="new", metadata=_MODEL)
    """folder or hub id of its weights; new (with --base tiny): a small model from nothing"""
    adapter: str | None = field(default=None, metadata=TYPED_ONLY)
    """the adapter that training begins with, of imitation for instance; a copy of it is trained"""
    game: tuple[str, ...] = field(default=("Catch",), metadata=OWN_CODE)
    """games, which take turns side by side: of ALE, Catch, SoloPong, or any gymnasium id with pictures"""
    prompt_type: Literal["basic", "cot", "expert"] = "basic"
    """what the instructions say"""
    frames: int = 2
    """pictures in a question"""
    max_steps: int = 1000
    """decisions of an episode, at most"""

    def __post_init__(self) -> None:
        check_style(self.prompt_type)
        if self.frames < 0:
            raise ConfigError(f"frames must be 0 or more, got {self.frames!r}")
        check_count(max_steps=self.max_steps)
        super().__post_init__()


@dataclass(frozen=True)
class PPOOptions(Options):
    """How it learns."""

    iterations: int = 100
    envs: int = 16
    """games side by side"""
    steps: int = 32
    """decisions of each of them between updates"""
    epochs: int = 2
    """times that these are learned from"""
    minibatch: int = 64
    """decisions in an update"""
    learning_rate: float = 2e-4
    """its highest value"""
    discount: float = 0.99
    """per decision"""
    clip: float = 0.2
    """how far the ratio of new to old probability counts"""
    entropy: float = 0.01
    """weight of the bonus for spread"""
    kl: float = 0.0
    """weight of the penalty for leaving the policy that training began with"""
    value_warm_up: int = 1
    """first iterations, in which the value head alone learns: one that knows nothing would spoil a good policy"""
    reasoning: bool = False
    """before every answer a short thought is written, and learned from too; it is part of how the adapter plays"""
    reasoning_tokens: int = 24
    """of a thought, at most"""
    state_reward: float = 0.0
    """with --reasoning: extra where the thought says where an object will be next ("ball 40 162"), judged by the game's memory"""
    method: Literal["auto", "lora", "full", "qlora"] = "auto"
    """as the adapter; else full for a model from nothing, lora for others"""
    rank: int = 16
    """of LoRA"""
    gradient_checkpointing: bool = False
    """less memory, more time"""
    eval_every: int = 10
    """iterations between evaluations and checkpoints"""
    eval_episodes: int = 32
    """whole games on seeds that are never trained on"""

    def __post_init__(self) -> None:
        counts = ("iterations", "rank", "eval_every", "eval_episodes")
        check_count(**{name: getattr(self, name) for name in counts})
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"learning_rate must be above 0, got {self.learning_rate!r}")
        super().__post_init__()


@dataclass(frozen=True)
class ReinforceOptions(
    LogOptions, PlaceOptions, SeedOptions, PPOOptions, GameTurnsOptions, FolderOptions, FileOptions
):
    """Reinforcement: a vision-language model learns from the rewards of the game, by the turn."""

    program: ClassVar[str] = "tune rl"

    def __post_init__(self) -> None:
        if self.state_reward and not self.reasoning:
            raise ConfigError("--state-reward is for what a thought states: it needs --reasoning")
        if self.reasoning and self.prompt_type not in _THOUGHTFUL:
            raise ConfigError(
                f"the prompt {self.prompt_type} asks for no thoughts: --reasoning goes with --prompt-type "
                f"{' or '.join(_THOUGHTFUL)}"
            )
        super().__post_init__()

    def local(self) -> LocalOptions:
        """How the base is loaded."""
        load_in: LoadIn | None = "4bit" if self.method == "qlora" else None
        return LocalOptions(
            device=self.device, dtype=self.dtype, offline=self.offline, load_in=load_in
        )


@dataclass(frozen=True)
class MergeOptions(Options):
    """Write whole weights: a base with an adapter in them."""

    program: ClassVar[str] = "tune merge"
    adapter: tyro.conf.Positional[str]
    """folder of the adapter"""
    model: str = "new"
    """the base that it was made for: folder or hub id; new: the small model that the adapter's seed gives"""
    out: Path = Path("merged")
    """folder to write"""
    dtype: str = "auto"
    offline: bool = False
