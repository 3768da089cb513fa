"""The options of ``codewm``: those that no other program has, in the groups that ``--help`` shows, and each command's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from atari_vlm.errors import AuthenticationError, UnknownNameError, check_count
from atari_vlm.files import read_real
from atari_vlm.runs.cluster.options import ExecutorOptions
from atari_vlm.runs.options import (
    AT_START,
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

IMPORTS_CODE: dict[str, Any] = {"typed only": lambda env: ":" in (env or "")}
PLANNERS = ("mcts", "cem")
_KEY_FILES = {"openai_key": "OPENAI_API_KEY", "openai_org": "OPENAI_ORG_ID"}
_MOST_KEY_BYTES = 4096


@dataclass(frozen=True)
class EnvironmentOptions(Options):
    """What is modelled."""

    env: str | None = field(default=None, metadata=IMPORTS_CODE)
    """id of a Gymnasium environment (package:Name-v0 imports its package first), or rtfm"""
    idx: int | None = None
    """its place in the sorted list of the 18 benchmark environments and rtfm, from 0; with --total-tasks a part of that list"""


@dataclass(frozen=True)
class ShardOptions(Options):
    """Several environments, one after the other."""

    total_tasks: int | None = None
    """parts that the list is split into: --idx I takes the environments I, I + N, I + 2N ..."""

    def __post_init__(self) -> None:
        if self.total_tasks is not None:
            check_count(total_tasks=self.total_tasks)
        super().__post_init__()


@dataclass(frozen=True)
class TransitionOptions(Options):
    """The transitions that programs are judged by."""

    buffer: Path | None = field(default=None, metadata=TYPED_ONLY)
    """a buffer (.npz, or a .pkl of the source system); without it one is collected"""


@dataclass(frozen=True)
class PlayedOptions(Options):
    """How transitions are collected."""

    n_transitions: int = 1000
    """transitions to collect"""
    policy: str = "random"
    """who plays while they are collected: random, or cem (plans of rising quality in the real environment)"""

    def __post_init__(self) -> None:
        check_count(n_transitions=self.n_transitions)
        super().__post_init__()


@dataclass(frozen=True)
class WriterOptions(Options):
    """Who writes the programs."""

    vlm: str | None = None
    """a family (gpt-4o, claude, gemini, text ...) or scripted; without it --model decides, and without both it is scripted"""
    key_folder: Path | None = field(default=None, metadata={**TYPED_ONLY, **UNRECORDED})
    """folder with the files openai_key and openai_org, as the source system has it"""
    reply_tokens: int = 4096
    """longest reply; one that is cut there is a failure"""
    temperature: float | None = None
    """of the model (none: its own default)"""
    top_p: float | None = None
    """draw among the likeliest tokens that add up to this, where the model can"""
    top_k: int | None = None
    """draw among so many likeliest tokens, where the model can"""


@dataclass(frozen=True)
class DescriptionOptions(Options):
    """What the model is told."""

    description: Path | None = field(default=None, metadata=TYPED_ONLY)
    """text file that tells the model of the environment, instead of our own words or its spaces"""


@dataclass(frozen=True)
class MethodOptions(Options):
    """How programs are searched for."""

    method: str = "gif-mcts"
    """gif-mcts, worldcoder, zero-shot or best-of-n"""
    budget: int = 50
    """simulations, each one call of the model"""
    parallel: int = 1
    """calls in flight; the tree depends on this number, never on timing"""
    preset: str = "paper"
    """paper, or code (the published code, where it differs)"""
    scorer: str = "tolerant"
    """tolerant, paper, or code: how predictions are compared"""
    held_out: float = 0.2
    """share of the transitions that no choice depends on and that the result is reported by"""
    feedback: str = "first"
    """first, or diverse: which mispredicted transition the model is shown"""
    replay_verify: bool = False
    """accept a program only if it replays every transition of the whole buffer"""
    start: Path | None = field(default=None, metadata=TYPED_ONLY)
    """program to begin with (gif-mcts, worldcoder), for example the best.py of an earlier run"""
    simplify: int = 0
    """calls at the end that ask for a shorter program that is equal"""
    deadline_s: float = 2.0
    """seconds that a program may take for one answer"""


@dataclass(frozen=True)
class ConstantOptions(Options):
    """Constants of the methods; the defaults are those of the papers."""

    exploration: float = 0.1
    """C of GIF-MCTS's selection"""
    discount: float = 1.0
    """of values in the tree"""
    eps: float = 1.0
    """added to the visits in the selection"""
    node_lines: int = 2
    """lines that a program's beginning grows by"""
    fixes: int = 3
    """attempts to mend a program that raises; 0: none"""
    prior_generate: tuple[float, int] = (0.5, 2)
    """value of a generate that nobody tried, and the results that it counts as"""
    prior_fix: tuple[float, int] = (0.5, 2)
    """likewise of a fix"""
    prior_improve: tuple[float, int] = (0.55, 2)
    """likewise of an improve"""
    allow_generate: bool = True
    """beyond the root"""
    allow_improve: bool = True
    """rewrite programs that mispredict"""
    select_sequential: bool = False
    """WorldCoder: refine the newest program"""
    beta: float = 5.0
    """WorldCoder: weight C of scores in the Beta distributions"""


@dataclass(frozen=True)
class SandboxOptions(Options):
    """Where programs run."""

    unsafe_local_code: bool = field(default=False, metadata=TYPED_ONLY)
    """in this process instead of the sandbox: a program can then do all that you can; for programs that you wrote"""


@dataclass(frozen=True)
class CollectOptions(Options):
    """Where the buffer goes."""

    out: Path = field(default=Path("buffers"), metadata=AT_START)
    """folder; <buffer name>.npz and .json are written there"""
    buffer_name: str = "train_buffer"
    """name of the files"""


@dataclass(frozen=True)
class SearchCommand(
    FileOptions, FolderOptions, ServeOptions, ExecutorOptions, KeyOptions, ModelOptions, AskOptions, SandboxOptions,
    ConstantOptions, MethodOptions, DescriptionOptions, WriterOptions, SeedOptions, PlayedOptions, TransitionOptions,
    ShardOptions, EnvironmentOptions,
):  # fmt: skip
    """Which environment, who writes, and how is searched. Workers judge; the model is asked from here."""

    program = "codewm search"
    asks_here = True
    timeout_s: float = 600.0


@dataclass(frozen=True)
class CollectCommand(FileOptions, SeedOptions, CollectOptions, PlayedOptions, EnvironmentOptions):
    """What is played, by whom, and where it goes."""

    program = "codewm collect"


@dataclass(frozen=True)
class AheadOptions(Options):
    """How is planned."""

    planner: str = "mcts"
    """mcts (tree search whose rollouts hold their actions) or cem (the cross-entropy method)"""
    simulations: int = 48
    """futures that are looked at in one search; of cem, in one iteration"""
    horizon: int = 40
    """steps of a future"""
    hold: int = 12
    """mcts: a rollout holds each of its actions for 1 to so many steps"""
    follow: int = 2
    """mcts: actions of a search that are played before the next, as long as all is as predicted"""
    iterations: int = 3
    """cem: how often the plans are drawn anew around the best"""

    def __post_init__(self) -> None:
        counted = (self.simulations, self.horizon, self.hold, self.follow, self.iterations)
        names = ("simulations", "horizon", "hold", "follow", "iterations")
        check_count(**dict(zip(names, counted, strict=True)))
        if self.planner not in PLANNERS:
            raise UnknownNameError("planner", self.planner, PLANNERS)
        super().__post_init__()


@dataclass(frozen=True)
class RealGameOptions(Options):
    """What is played, and in which model it is planned."""

    world_model: str = "golden"
    """golden (the program that ships with the package), or the folder of a code model's checkpoint"""
    game: str = "Pong-v5"
    """a game whose objects are read"""
    num_episodes: int = 5
    """whole games"""
    stickiness: float = 0.25
    """how likely ALE repeats the action before, every frame"""
    max_steps: int | None = None
    """cut games there; none: played to their end"""

    def __post_init__(self) -> None:
        check_count(num_episodes=self.num_episodes)
        super().__post_init__()


@dataclass(frozen=True)
class PlayCommand(
    FileOptions, FolderOptions, SandboxOptions, AheadOptions, SeedOptions, RealGameOptions
):
    """Which game, which model, and how is planned."""

    program = "codewm play"


@dataclass(frozen=True)
class TreeCommand(Options):
    """Which search, and where to."""

    program = "codewm tree"

    run: Annotated[Path, tyro.conf.Positional]
    """the folder of the run"""
    out: Path | None = None
    """the file to write (default: tree.html in the run's folder)"""


@contextmanager
def keys_from(folder: Path | None) -> Iterator[None]:
    """Within the block the vendor's variables hold what the folder's files hold; none of it is written anywhere.

    ``AuthenticationError`` for a folder without a key.
    """
    given = {} if folder is None else _keys_in(folder)
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _keys_in(folder: Path) -> dict[str, str]:
    found = {
        variable: text
        for file, variable in _KEY_FILES.items()
        if (folder / file).is_file() and (text := _word_in(folder / file))
    }
    if "OPENAI_API_KEY" not in found:
        raise AuthenticationError(
            f"--key-folder {folder} holds no key: the file openai_key is missing or empty"
        )
    return found


def _word_in(file: Path) -> str:
    """The file's text, which is never shown."""
    try:
        return read_real(file, _MOST_KEY_BYTES, links=True).decode("ascii").strip()
    except UnicodeDecodeError:
        raise AuthenticationError(
            f"{file} holds characters that no key has; copy it again"
        ) from None
