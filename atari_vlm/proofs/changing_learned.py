"""A REM and a Dreamer that learn the small game of falling balls, under its old rules, from pictures.

Only their world models are wanted: REM's player is never trained. A game is cut after 40 steps. REM takes a minute; the Dreamer
has the settings that it learns pixel Catch with (``proofs.dreamer``), which takes some minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.proofs.changing_catch import SeenCatch
from atari_vlm.proofs.dreamer import GAMES
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.games import facts_of
from atari_vlm.training.imagination.media import MediaConfig
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.dreamer import learner as dreamer
from atari_vlm.world_models.dreamer import settings as dreamer_settings
from atari_vlm.world_models.rem import learner as rem
from atari_vlm.world_models.rem import settings as rem_settings
from atari_vlm.world_models.seeing import as_seen

GAME, CUT = "AtariVLMProof/ChangingCatch-v0", 40
_NEVER = 10_000  # an epoch that does not come
_REM: dict[str, Any] = {
    "networks": {
        "tokenizer": {"frame_px": 20, "channels": [8, 16, 24], "code_dim": 16, "num_codes": 16}
    },
    "tokenizer": {"updates": {"steps": 50, "last_epoch": 6}},
    "world_model": {"length": 5, "updates": {"batch": 16, "steps": 60, "first_epoch": 5}},
    "actor_critic": {"updates": {"first_epoch": _NEVER}},
    "play": {"steps": 150, "eval_every": _NEVER, "final_episodes": 1},
    "epochs": 16,
    "checkpoint_every": 16,
}
_DREAMER: dict[str, Any] = {
    **GAMES["catch"].changes,
    "play": {"steps": 400, "envs": 8, "eval_every": _NEVER, "final_episodes": 1},
    "checkpoint_every": 60,
}


@dataclass(frozen=True)
class Learner:
    """How one kind of model learns the game."""

    make: Callable[..., Any]
    preset: Callable[..., Any]
    changes: Mapping[str, Any]


LEARNERS = {
    "REM": Learner(rem.make_learner, rem_settings.preset, _REM),
    "Dreamer": Learner(dreamer.make_learner, dreamer_settings.preset, _DREAMER),
}


def trained(kind: str, folder: Path, seed: int, *, epochs: int | None = None) -> tuple[Any, float]:
    """The world model of a kind that learned the game from nothing in ``folder`` (or lies there), and the CPU seconds it took.

    Its draws are greedy.
    """
    if GAME not in gymnasium.registry:
        gymnasium.register(GAME, _make)
    learner, facts = LEARNERS[kind], facts_of(GAME)
    changes = {**learner.changes, **({} if epochs is None else {"epochs": epochs})}
    settings = with_changes(learner.preset("tiny", facts), changes)
    media = MediaConfig(episodes=0)
    trainer = WorldModelTrainer(
        TrainingRun(folder, facts, settings, seed, media=media), learner.make
    )
    try:
        trainer.train()
        seconds = sum(line["epoch/cpu_seconds"] for line in trainer.log.lines)
        return trainer.learner.world_model(temperature=0.0), float(seconds)
    finally:
        trainer.close()


def _make(**options: Any) -> gymnasium.Env[Any, Any]:
    from atari_vlm.wrappers import WorldModelEnv

    return WorldModelEnv(SeenCatch(), max_episode_steps=CUT, **options)


def at_size_of(model: Any, seen: TransitionBuffer) -> TransitionBuffer:
    """The same play in pictures of the size that a model sees."""
    space = model.observation_space

    def resized(pictures: np.ndarray) -> np.ndarray:
        return np.stack([as_seen(picture, space) for picture in pictures])

    return TransitionBuffer(
        resized(seen.observations),
        seen.actions,
        seen.rewards,
        resized(seen.next_observations),
        seen.terminated,
        seen.truncated,
        env_id=seen.env_id,
        observation_space=space,
        action_space=seen.action_space,
    )
