"""What ``codewm evaluate`` measures of the program of a run, and how it is told."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.errors import CheckpointError, ConfigError, MismatchError
from atari_vlm.experience.transition_reading import read_buffer
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.runs.cluster.calling import Call, Caller
from atari_vlm.runs.cluster.local_calling import LocalCaller
from atari_vlm.runs.cluster.session import Session
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
from atari_vlm.synthesis.measuring_options import EvaluateCommand
from atari_vlm.synthesis.subject import made_as, named_env
from atari_vlm.world_models.checkpoint import read_checkpoint
from atari_vlm.world_models.code.sandbox import check_text
from atari_vlm.world_models.code.scoring import SCORERS

_OTHER_SEED = 1_000_003  # so that nothing is measured on what a search of the same seed was shown
MEASURED = (
    "run", "environment", *SCORERS, "return", "at random", "planned in the real one", "R", "no plan",
)  # fmt: skip


@dataclass(frozen=True)
class Measuring:
    """What is done with every program, here or on a worker: plan in it, and score it on transitions it was not chosen by.

    ``given`` are the transitions of ``--buffer``.
    """

    config: EvaluateCommand
    given: TransitionBuffer | None = None

    @classmethod
    def asked_for(cls, config: EvaluateCommand, saved: Sequence[SavedProgram]) -> Measuring:
        """What a command line asks for; ``MismatchError`` for a buffer of another environment than a program's."""
        if config.buffer is None:
            return cls(config)
        given = read_buffer(config.buffer)
        for each in saved:
            if made_as(given) != each.env.env_id:
                raise MismatchError(
                    f"{config.buffer} holds transitions of {given.env_id}; the program of {each.folder} models {each.env.env_id}"
                )
        return cls(config, given)

    def __call__(self, saved: SavedProgram) -> Evaluation:
        """What is measured of the program of a run."""
        config = self.config
        named_env(config)  # it may bring an environment of one's own
        return evaluate_program(
            saved.program,
            saved.env,
            planning_of(config),
            buffer=_collected(saved, config) if self.given is None else self.given,
            real_env=config.real_env,
            held=Held(unsafe_local_code=config.unsafe_local_code),
        )


def measured(
    measuring: Measuring,
    saved: Sequence[SavedProgram],
    opened: Session | None,
    say: Callable[[str], object],
) -> Iterator[tuple[SavedProgram, Evaluation]]:
    """What is measured of every program, as they end: here, by processes of this machine, or on the workers of a session.

    ``say`` is told of each when it begins.
    """
    config = measuring.config

    def begun() -> Iterator[Call]:
        for each in saved:
            name = each.folder.name
            say(f"{name}: {config.n_episodes} episodes of {each.env.env_id} are planned")
            yield Call(each, name)

    far = None if opened is None else Caller(opened, config.parallel, say=say)
    caller = far or LocalCaller(config.parallel)
    for call, found in caller.results(measuring, begun()):
        yield call.what, found


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


def _collected(saved: SavedProgram, config: EvaluateCommand) -> TransitionBuffer:
    """Others than a search with the same seed collects."""
    policy: Any = config.policy
    seed = config.seed + _OTHER_SEED
    with tempfile.TemporaryDirectory() as folder:
        return fill_replay_buffer(
            saved.env.asked, config.n_transitions, folder, "other", policy=policy, seed=seed
        )
