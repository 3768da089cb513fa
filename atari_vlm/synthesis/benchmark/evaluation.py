"""What a program is worth: how well it predicts, and what planning in it brings in the real environment."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, SandboxError, SandboxUnavailableError, reading
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.files import atomic_write, read_real
from atari_vlm.scores.statistics import Estimate, aggregate
from atari_vlm.settings import plain
from atari_vlm.synthesis.benchmark.catalogue import BenchmarkEnv, find_env
from atari_vlm.synthesis.benchmark.normalised import normalised_return
from atari_vlm.synthesis.benchmark.planning import (
    Env,
    PlanningSettings,
    Played,
    planned_returns,
    random_returns,
)
from atari_vlm.world_models.code.fidelity import AheadScore, fidelity
from atari_vlm.world_models.code.model import CodeWorldModel
from atari_vlm.world_models.code.sandbox import PROGRAM_BYTES, Sandbox
from atari_vlm.world_models.code.sandbox_local import LocalProgram
from atari_vlm.world_models.code.scoring import (
    SCORERS,
    ProgramScore,
    Scorer,
    compare,
    score_program,
)
from atari_vlm.world_models.environment import EnvironmentWorldModel

BEST, RESULTS, EVALUATION = "best.py", "results.json", "evaluation.json"
_MOST_JSON = 1 << 20


@dataclass(frozen=True)
class Held:
    """How a program is held: in a sandbox with these limits, or, for code of your own, in this process with none."""

    deadline_s: float = 2.0
    memory_mb: int = 1024
    unsafe_local_code: bool = False

    def load(self, program: str) -> Sandbox | LocalProgram:
        """The program, loaded; a context manager."""
        kind = LocalProgram if self.unsafe_local_code else Sandbox
        return kind(program, deadline_s=self.deadline_s, memory_mb=self.memory_mb)


@dataclass(frozen=True)
class SavedProgram:
    """The best program of a search, where it lies, and the environment that it models."""

    folder: Path
    env: BenchmarkEnv
    program: str


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one program.

    ``played`` has what was played by who planned: ``"model"`` (the program), ``"random"`` (nobody) and, where it was asked for,
    ``"oracle"`` (the real dynamics). ``normalised`` is R of these, ``None`` without an oracle. ``scores`` are by scorer;
    ``ahead`` is what :func:`fidelity` says. ``error`` says why nothing could be planned: R then counts as 0.
    """

    env: BenchmarkEnv
    program: str
    settings: PlanningSettings
    played: Mapping[str, Played]
    normalised: Estimate | None = None
    scores: Mapping[Scorer, ProgramScore] = field(default_factory=dict)
    ahead: Mapping[int, AheadScore] = field(default_factory=dict)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "env": self.env.record(),
            "program": hashlib.sha256(self.program.encode()).hexdigest(),
            "settings": plain(self.settings),
            "returns": {who: _returns(played) for who, played in self.played.items()},
            "normalised_return": None if self.normalised is None else _estimate(self.normalised),
            "scores": {scorer: _score(score) for scorer, score in self.scores.items()},
            "ahead": {str(steps): vars(score) for steps, score in self.ahead.items()},
            "error": self.error,
        }


def saved_programs(save_dir: str | Path) -> tuple[SavedProgram, ...]:
    """The programs of a run's folder, or of all runs right below a folder, by name; ``ConfigError`` where there is none."""
    folder = Path(save_dir)
    below = sorted(path.parent for path in folder.glob(f"*/{BEST}")) if folder.is_dir() else []
    runs = [folder] if (folder / BEST).is_file() else below
    if not runs:
        raise ConfigError(f"{folder} is no run of a search, and holds none: there is no {BEST}")
    return tuple(map(_saved, runs))


def evaluate_program(
    program: str,
    env: BenchmarkEnv,
    settings: PlanningSettings | None = None,
    *,
    buffer: TransitionBuffer | None = None,
    real_env: bool = False,
    held: Held | None = None,
) -> Evaluation:
    """Plan in a program and play the plans; with ``real_env`` also plan in the real dynamics, which gives R.

    With a ``buffer`` the program is scored by all scorers and followed some steps ahead. What it does wrong is not raised:
    ``SandboxUnavailableError`` is, where this machine cannot hold programs at all.
    """
    settings, held = settings or PlanningSettings(), held or Held()
    scores = {} if buffer is None else _scores(program, buffer, held)
    played: dict[str, Played] = {}
    ahead: Mapping[int, AheadScore] = {}
    error = None
    real = env.make()
    try:
        try:
            with held.load(program) as loaded:
                ahead = {} if buffer is None else fidelity(loaded, buffer)
                played["model"] = planned_returns(real, _model(loaded, real), settings)
        except SandboxUnavailableError:
            raise
        except (SandboxError, ConfigError) as wrong:
            error = str(wrong)
        played["random"] = random_returns(real, settings)
        if real_env:
            played["oracle"] = planned_returns(real, EnvironmentWorldModel(real), settings)
    finally:
        real.close()
    return Evaluation(env, program, settings, played, _normalised(played), scores, ahead, error)


def _model(loaded: Sandbox | LocalProgram, real: Env) -> CodeWorldModel:
    return CodeWorldModel(
        loaded, observation_space=real.observation_space, action_space=real.action_space
    )


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """Write ``evaluation.json`` beside a run's other files; its path."""
    path = folder / EVALUATION
    atomic_write(path, json.dumps(evaluation.as_dict(), indent=1, allow_nan=False) + "\n")
    return path


def _saved(folder: Path) -> SavedProgram:
    with reading(folder, ConfigError):
        results = json.loads(read_real(folder / RESULTS, _MOST_JSON))
        program = read_real(folder / BEST, PROGRAM_BYTES).decode()
        name = str(results["env"])
        if ":" in name:  # a run may be a stranger's, and this would import a module of that name
            raise ConfigError(f"{RESULTS} names {name!r}, which is no environment's id")
        return SavedProgram(folder, find_env(name), program)


def _scores(program: str, buffer: TransitionBuffer, held: Held) -> dict[Scorer, ProgramScore]:
    """The score by every scorer, from one run of the program."""
    options = {"deadline_s": held.deadline_s, "unsafe_local_code": held.unsafe_local_code}
    first = score_program(program, buffer, **options)  # type: ignore[arg-type]
    if first.predicted is None:
        return {first.scorer: first}
    return {scorer: compare(first.predicted, buffer, scorer) for scorer in SCORERS}


def _normalised(played: Mapping[str, Played]) -> Estimate | None:
    if "oracle" not in played:
        return None
    random, oracle = played["random"].returns, played["oracle"].returns
    if "model" not in played:
        return Estimate(0.0, math.nan, math.nan)
    return normalised_return(played["model"].returns, random, oracle)


def _returns(played: Played) -> dict[str, Any]:
    mean = aggregate({"env": played.returns}, "mean")
    return {
        "episodes": list(played.returns),
        "mean": _estimate(mean),
        "steps": played.steps,
        "fallback_rate": played.fallback_rate,
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    """With ``None`` for what is undefined."""
    numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if math.isnan(number) else number for name, number in numbers.items()}


def _score(score: ProgramScore) -> dict[str, Any]:
    return {
        "score": score.score,
        "next_state": score.next_state,
        "reward": score.reward,
        "done": score.done,
        "bug": score.bug,
        "error": score.error,
        "fields": dict(score.fields),
        "events": {name: vars(event) for name, event in score.events.items()},
    }
