"""What ``codewm evaluate`` measures of the program of a run, and how it is told."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from typing import Any

from atari_vlm.errors import CheckpointError, ConfigError, MismatchError
from atari_vlm.experience.transition_reading import read_buffer
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.runs.terminal import one_line
from atari_vlm.scores.statistics import Estimate, aggregate
from atari_vlm.synthesis.benchmark.collecting import fill_replay_buffer
from atari_vlm.synthesis.benchmark.evaluation import (
    Evaluation,
    Held,
    SavedProgram,
    evaluate_program,
)
from atari_vlm.synthesis.benchmark.planning import PlanningSettings, Played
from atari_vlm.synthesis.command_options import EvaluateCommand
from atari_vlm.synthesis.subject import made_as
from atari_vlm.world_models.checkpoint import read_checkpoint
from atari_vlm.world_models.code.sandbox import check_text
from atari_vlm.world_models.code.scoring import SCORERS

_OTHER_SEED = 1_000_003  # so that nothing is measured on what a search of the same seed was shown
MEASURED = (
    "run", "environment", *SCORERS, "return", "at random", "planned in the real one", "R", "no plan",
)  # fmt: skip


def measure(saved: SavedProgram, config: EvaluateCommand) -> Evaluation:
    """Plan in a run's program, and score it on transitions that it was not chosen by.

    Raises ``MismatchError`` for a buffer of another environment.
    """
    return evaluate_program(
        saved.program,
        saved.env,
        planning_of(config),
        buffer=_transitions(saved, config),
        real_env=config.real_env,
        held=Held(unsafe_local_code=config.unsafe_local_code),
    )


def check_unchanged(saved: SavedProgram) -> None:
    """Raise ``CheckpointError`` unless the run's checkpoint, where it has one, is whole and holds the same program.

    ``ConfigError`` for what cannot be a program.
    """
    try:
        check_text(saved.program)
    except ConfigError as error:
        raise ConfigError(f"{saved.folder / 'best.py'}: {error}") from error
    folder = saved.folder / "checkpoint"
    if folder.is_dir() and read_checkpoint(folder).program != saved.program:
        raise CheckpointError(
            f"{saved.folder / 'best.py'} is not the program of {folder}: one of them was changed"
        )


def planning_of(config: EvaluateCommand) -> PlanningSettings:
    """The planners that the options describe."""
    defaults, steps = PlanningSettings(), config.max_actions_mcts
    mcts = dataclasses.replace(
        defaults.mcts,
        num_simulations=config.num_simulations_mcts,
        depth=steps,
        rollout_steps=steps,
    )
    cem = dataclasses.replace(
        defaults.cem,
        horizon=config.T_cem,
        iterations=config.I_cem,
        population=config.N_cem,
        elites=config.K_cem,
    )
    return PlanningSettings(
        episodes=config.n_episodes,
        seed=config.seed,
        open_loop=not config.receding,
        max_episode_steps=config.max_episode_steps,
        mcts=mcts,
        cem=cem,
    )


def cells_of(found: Evaluation) -> list[str]:
    """A row of the table under :data:`MEASURED`, the run's name aside."""
    scores = [found.scores.get(scorer) for scorer in SCORERS]
    model = found.played.get("model")
    failed = one_line(found.error or "") if model is None else f"{model.fallback_rate:.1%}"
    return [
        found.env.env_id,
        *("none" if score is None else f"{score.score:.4f}" for score in scores),
        *(_mean(found.played.get(who)) for who in ("model", "random", "oracle")),
        _ratio(found.normalised),
        failed,
    ]


def _mean(played: Played | None) -> str:
    return "none" if played is None else str(aggregate({"env": played.returns}, "mean"))


def _ratio(normalised: Estimate | None) -> str:
    if normalised is None:
        return "none"
    return "undefined" if math.isnan(normalised.value) else str(normalised)


def _transitions(saved: SavedProgram, config: EvaluateCommand) -> TransitionBuffer:
    """Those of ``--buffer``, else others than a search with the same seed collects."""
    if config.buffer is not None:
        buffer = read_buffer(config.buffer)
        if made_as(buffer) != saved.env.env_id:
            raise MismatchError(
                f"{config.buffer} holds transitions of {buffer.env_id}; the program of {saved.folder} models {saved.env.env_id}"
            )
        return buffer
    policy: Any = config.policy
    seed = config.seed + _OTHER_SEED
    with tempfile.TemporaryDirectory() as folder:
        return fill_replay_buffer(
            saved.env.asked, config.n_transitions, folder, "other", policy=policy, seed=seed
        )
