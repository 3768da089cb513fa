"""The options of ``codewm apps``: in groups, and each command's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from atari_vlm.errors import ConfigError, check_count
from atari_vlm.runs.options import (
    AT_START,
    TYPED_ONLY,
    AskOptions,
    FileOptions,
    FolderOptions,
    KeyOptions,
    ModelOptions,
    Options,
    SeedOptions,
)
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.runs.sharding import JobArrayOptions
from atari_vlm.synthesis.apps.downloading import URL
from atari_vlm.synthesis.apps.problems import (
    BUNDLED,
    ProblemSet,
    bundled_folder,
    chosen_names,
    problem_names,
)
from atari_vlm.synthesis.apps.running import RunLimits
from atari_vlm.synthesis.command_options import ConstantOptions, WriterOptions

_TEST_LOC = {**TYPED_ONLY, "harmless": (BUNDLED, Path(BUNDLED))}


@dataclass(frozen=True)
class ProblemOptions(JobArrayOptions):
    """Which problems. The parts of a set that lie in one --save-dir are evaluated together."""

    test_loc: Path = field(default=Path(BUNDLED), metadata=_TEST_LOC)
    """folder of problems NNNN in the public format, for example APPS/test; bundled: those that come with the package"""
    idx: int = 0
    """the first problem, from 0"""
    total_tasks: int | None = None
    """how many problems from there on (none: all the rest)"""

    def __post_init__(self) -> None:
        if self.idx < 0:
            raise ConfigError(f"idx counts problems from 0, got {self.idx!r}")
        if self.total_tasks is not None:
            check_count(total_tasks=self.total_tasks)
        super().__post_init__()

    def problems(self) -> ProblemSet:
        """The problems that are meant."""
        folder = folder_of(self.test_loc)
        names = chosen_names(problem_names(folder), self.idx, self.total_tasks, self._shard())
        return ProblemSet(folder, names)

    def _shard(self) -> tuple[int, int]:
        part = self.part()
        return part.number, part.count


@dataclass(frozen=True)
class ProgramOptions(Options):
    """What a program may take in the sandbox."""

    deadline_s: float = 4.0
    """seconds for one test"""
    total_s: float = 60.0
    """seconds for all tests of a problem; what is left then is not passed"""
    memory_mb: int = 1024
    """MiB beyond the interpreter and numpy"""

    def __post_init__(self) -> None:
        self.limits()
        super().__post_init__()

    def limits(self) -> RunLimits:
        """As a record."""
        return RunLimits(self.deadline_s, self.total_s, self.memory_mb)


@dataclass(frozen=True)
class SampleOptions(Options):
    """How is asked."""

    strategy: str = "zero-shot-CoT"
    """zero-shot-CoT (think step by step), vanilla-zero-shot (the program alone) or plan-and-solve (first a plan)"""
    budget: int = 1
    """samples of every problem, each one call of the model (the paper: 20)"""
    parallel: int = 1
    """calls in flight"""


@dataclass(frozen=True)
class EffortOptions(Options):
    """How much is asked."""

    budget: int = 20
    """simulations of every problem, each one call of the model; a problem ends with the first right program"""
    parallel: int = 1
    """calls in flight; the tree depends on this number, never on timing"""
    preset: str = "paper"
    """paper, or code (the published code, where it differs)"""


@dataclass(frozen=True)
class ZeroShotCommand(
    FileOptions, FolderOptions, ServeOptions, KeyOptions, ModelOptions, AskOptions, ProgramOptions, SampleOptions,
    WriterOptions, SeedOptions, ProblemOptions,
):  # fmt: skip
    """Which problems, who writes, and how is asked."""

    program = "codewm apps zero-shot"
    timeout_s: float = 600.0


@dataclass(frozen=True)
class AppsGifMctsCommand(
    FileOptions, FolderOptions, ServeOptions, KeyOptions, ModelOptions, AskOptions, ProgramOptions, ConstantOptions,
    EffortOptions, WriterOptions, SeedOptions, ProblemOptions,
):  # fmt: skip
    """Which problems, who writes, and how is searched."""

    program = "codewm apps gif-mcts"
    timeout_s: float = 600.0


@dataclass(frozen=True)
class AppsWorldCoderCommand(AppsGifMctsCommand):
    """Which problems, who writes, and how is searched."""

    program = "codewm apps worldcoder"


@dataclass(frozen=True)
class SavedOptions(Options):
    """What is measured, and on which problems."""

    save: Path = field(default=Path("atari_vlm_results"), metadata=TYPED_ONLY)
    """the run, or a folder of runs that are parts of one set; apps_results.json is written there"""
    test_loc: Path = field(default=Path(BUNDLED), metadata=_TEST_LOC)
    """the problems of the run"""


@dataclass(frozen=True)
class AppsEvaluateCommand(FileOptions, ProgramOptions, SavedOptions):
    """Which runs, and what programs may take."""

    program = "codewm apps evaluate"


@dataclass(frozen=True)
class DownloadOptions(Options):
    """From where, and where to."""

    out: Path = field(default=Path("APPS"), metadata=AT_START)
    """folder; OUT/test and OUT/train are made, for --test-loc OUT/test"""
    url: str = field(default=URL, metadata={**TYPED_ONLY, "harmless": (URL,)})
    """address of the archive"""
    archive: Path | None = field(default=None, metadata=TYPED_ONLY)
    """an archive that is here already, instead of an address"""


@dataclass(frozen=True)
class DownloadCommand(FileOptions, DownloadOptions):
    """From where, and where to."""

    program = "codewm apps download"


def folder_of(test_loc: Path) -> Path:
    """The folder that ``--test-loc`` names."""
    return bundled_folder() if str(test_loc) == BUNDLED else test_loc
