"""The options of ``python -m atari_vlm.dream``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from atari_vlm.agents.specs import parse_agents
from atari_vlm.agents.worlds import NAMED
from atari_vlm.errors import ConfigError, check_count, check_temperature
from atari_vlm.experience.npz_files import check_npz
from atari_vlm.runs.cluster.options import ExecutorOptions
from atari_vlm.runs.options import (
    AT_START,
    TYPED_ONLY,
    UNRECORDED,
    FileOptions,
    FolderOptions,
    LogOptions,
    Options,
    ParallelOptions,
    SeedOptions,
    pairs,
)
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.settings import flat

_PAPER_V1 = "paper-v1"  # the preset of a first version, or what its name begins with
IMPORTS_CODE: dict[str, Any] = {"typed only": lambda game: ":" in (game or "")}


@dataclass(frozen=True)
class LearnOptions(Options):
    """What is learned, and from what."""

    game: str = field(default="", metadata=IMPORTS_CODE)
    """an Atari game, or a gymnasium id (module:Id-v0 imports the module); empty with --dataset or --resume"""
    keys: tuple[str, ...] = ()
    """parts of its observations to learn from (camera, robot/joints); all that the family takes if left out"""
    dataset: str | None = field(default=None, metadata=AT_START)
    """npz file or Minari dataset id to learn from, without playing"""
    preset: str = ""
    """a preset of the family; its first one if left out"""
    paper_v1: bool = False
    """the family's first published version (Dreamer: of January 2023, arXiv 2301.04104v1), in the size of --preset"""
    settings: tuple[str, ...] = ()
    """NAME=VALUE ...: constants of the preset (world_model.updates.steps=50); in --config a group of that name"""
    settings_of_file: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    epochs: int | None = field(default=None, metadata={"unless": "total_steps"})
    """instead of the preset's; a finished run can be extended"""
    total_steps: int | None = field(default=None, metadata={"unless": "epochs"})
    """the same in steps of play: as many epochs as play so many"""
    warm_start: str | None = field(default=None, metadata=AT_START)
    """checkpoint folder whose weights are the beginning"""
    warm_parts: tuple[str, ...] = ()
    """which of its networks (all if left out)"""

    def __post_init__(self) -> None:
        if self.epochs is not None:
            check_count(epochs=self.epochs)
        if self.total_steps is not None:
            check_count(total_steps=self.total_steps)
            if self.epochs is not None or self.dataset:
                raise ConfigError(
                    "--total-steps counts steps of play: it stands without --epochs and --dataset"
                )
        if self.paper_v1 and not self.preset.startswith(_PAPER_V1):
            object.__setattr__(self, "preset", "-".join(filter(None, (_PAPER_V1, self.preset))))
        if self.game and self.dataset:
            raise ConfigError("either --game or --dataset says what to learn from, not both")
        super().__post_init__()

    @classmethod
    def in_file(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """A file's group ``settings`` as words, below those of the command line."""
        group = content.get("settings", {})
        if not isinstance(group, Mapping):
            return dict(content)
        words = [f"{name}={json.dumps(value)}" for name, value in flat(group).items()]
        return {**content, "settings": [], "settings_of_file": words}

    def changes(self, known: Collection[str] = ()) -> dict[str, Any]:
        """The changed constants, nested as the settings are, without the words that are ``known``."""
        nested: dict[str, Any] = {}
        words = (word for word in (*self.settings_of_file, *self.settings) if word not in known)
        for name, value in pairs(tuple(words), "--settings").items():
            group = nested
            *parents, last = name.split(".")
            for parent in parents:
                group = group.setdefault(parent, {})
            group[last] = value
        return nested


@dataclass(frozen=True)
class ComputeOptions(Options):
    """Where and how it is computed; may change whenever a run is continued."""

    device: str = "cpu"
    """cpu, cuda, cuda:1, mps"""
    precision: Literal["f32", "bf16"] = "f32"
    """of forward passes; weights stay float32"""
    threads: int | None = None
    """CPU threads of torch; runs are equal to the bit only with as many"""

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_count(threads=self.threads)
        super().__post_init__()


@dataclass(frozen=True)
class TrainOptions(
    LogOptions, ServeOptions, ComputeOptions, SeedOptions, LearnOptions, FolderOptions, FileOptions
):
    """Train a world model and the player that learns inside it; a subclass per family says which."""

    kind: ClassVar[str] = ""


def train_options(kind: str) -> type[TrainOptions]:
    """The options of ``dream KIND``."""
    return type("TrainOptions", (TrainOptions,), {"kind": kind, "program": f"dream {kind}"})


@dataclass(frozen=True)
class EvalOptions(ServeOptions):
    """Play real games with a trained model's policy, and dream of them."""

    program: ClassVar[str] = "dream eval"
    model: Annotated[str, tyro.conf.Positional]
    """checkpoint folder (RUN/model)"""
    game: str = ""
    """default: the game it was trained on"""
    episodes: int = 100
    temperature: float = 0.5
    """of the player; 0 takes the likeliest action"""
    imagine_temperature: float = 1.0
    """of the world model's draws, for the imagined return; 0 takes the likeliest"""
    imagine_steps: int = 100
    """length of dreams, at most"""
    max_steps: int = 27_000
    seed: int = 0
    device: str = "cpu"
    json: Path | None = None
    """file to write game, episodes, mean, interval (low, high), returns and human_normalised (null where unknown) to"""

    def check(self) -> None:
        """``ConfigError`` for what cannot be meant."""
        check_count(
            episodes=self.episodes, imagine_steps=self.imagine_steps, max_steps=self.max_steps
        )
        check_temperature(
            temperature=self.temperature, imagine_temperature=self.imagine_temperature
        )
        SeedOptions(self.seed)


@dataclass(frozen=True)
class ExportOptions(Options):
    """Write what a run has played as a data set."""

    program: ClassVar[str] = "dream export"
    run: Annotated[str, tyro.conf.Positional]
    """name in --save-dir, or path, of a run of `dream`"""
    out: Path | None = None
    """npz file to write"""
    minari: str | None = None
    """id of a local Minari dataset to write"""
    save_dir: Path = FolderOptions.save_dir

    def check(self) -> None:
        """``ConfigError`` unless there is one place to write to."""
        if (self.out is None) == (self.minari is None):
            raise ConfigError("either --out FILE.npz or --minari ID says where the steps go")


def _reaches_outside(word: str) -> bool:
    """Whether an agent is somebody's class, or a checkpoint: taken from the command line only."""
    return any(
        spec.kind == "own" or (spec.kind == "planner" and spec.planner[1] not in NAMED)
        for spec in parse_agents(word)
    )


@dataclass(frozen=True)
class EpisodesOptions(Options):
    """What is played and kept, and where it goes; without --out and --minari into steps.npz of the run."""

    game: str = field(default="", metadata=IMPORTS_CODE)
    """an Atari game, or a gymnasium id (module:Id-v0 imports the module)"""
    agent: str = field(default="random", metadata={"typed only": _reaches_outside})
    """NAME,OPTION=VALUE...: random, noop, scripted, mcts@emulator, cem@..., policy@FOLDER or module:Class"""
    num_episodes: int = 100
    """whole episodes; a run that is named may grow"""
    max_steps: int = 27_000
    """of an episode; the game's own limit holds as well"""
    keys: tuple[str, ...] = ()
    """parts of observations to keep (camera, robot/joints); all but texts if left out"""
    frame_px: int | None = 64
    """pictures are brought to so many pixels square, as world models see them; none: their own size"""
    out: Path | None = field(default=None, metadata={**TYPED_ONLY, **UNRECORDED})
    """npz file to write"""
    minari: str | None = field(default=None, metadata={**TYPED_ONLY, **UNRECORDED})
    """id of a local Minari dataset to write (extra datasets)"""

    def __post_init__(self) -> None:
        check_count(num_episodes=self.num_episodes, max_steps=self.max_steps)
        if self.frame_px is not None:
            check_count(frame_px=self.frame_px)
        if self.out is not None:
            check_npz(self.out)
        super().__post_init__()


@dataclass(frozen=True)
class CollectOptions(
    FileOptions, FolderOptions, ExecutorOptions, ParallelOptions, SeedOptions, EpisodesOptions
):
    """Play whole episodes with an agent that asks no model, and write them as a data set."""

    program = "dream collect"
