"""A REM small enough for tests, and Catch as a gymnasium id."""

import dataclasses
import os
import threading
from pathlib import Path

import gymnasium

from atari_vlm.training.imagination.games import facts_of
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import GameFacts, Workplace
from atari_vlm.world_models.learned.schedule import ActorCriticTraining, Play, Updates
from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem.learner import RemLearner, make_learner
from atari_vlm.world_models.rem.settings import (
    ActorCriticConfig,
    RemConfig,
    RemSettings,
    TokenizerConfig,
    TokenizerTraining,
    WorldModelConfig,
    WorldModelTraining,
)
from atari_vlm.wrappers import WorldModelEnv

GAME = "TestCatch-v0"
_PATHS = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(_PATHS).rstrip(os.pathsep),
}  # of other processes
if GAME not in gymnasium.registry:
    gymnasium.register(
        GAME,
        lambda **options: WorldModelEnv(CatchWorldModel(5, 4, cell_px=4, num_balls=2), **options),
    )

NETWORKS = RemConfig(
    num_actions=3,
    tokenizer=TokenizerConfig(frame_px=16, channels=(8, 8, 8), code_dim=16, num_codes=12),
    world_model=WorldModelConfig(width=16, num_layers=2, num_heads=2, ffn_width=32, dropout=0.1),
    actor_critic=ActorCriticConfig(conv_channels=(8, 8), width=16, scale_returns=True),
)


def toy_settings(**changes) -> RemSettings:
    """A few updates of everything in each of six epochs."""
    quick = {"learning_rate": 2e-3, "batch": 6, "micro_batch": 4, "steps": 2}
    settings = RemSettings(
        NETWORKS,
        tokenizer=TokenizerTraining(Updates(**quick, last_epoch=4), restart_unused=2),
        world_model=WorldModelTraining(Updates(**quick, first_epoch=2), length=5, prioritised=0.3),
        actor_critic=ActorCriticTraining(Updates(**quick, first_epoch=3), horizon=4, burn_in=3),
        play=Play(steps=15, epsilon=0.1, eval_every=3, eval_episodes=2, final_episodes=3),
        epochs=6,
        capacity=60,
        checkpoint_every=1,
    )
    return dataclasses.replace(settings, **changes)


def facts(num_actions=3, **more) -> GameFacts:
    """Of some game."""
    names = tuple(f"A{n}" for n in range(num_actions))
    return GameFacts("Some", {}, gymnasium.spaces.Discrete(num_actions), names, **more)


def rem_trainer(folder, game=GAME, settings=None, **run) -> WorldModelTrainer:
    """REM on a game, in a folder."""
    made = TrainingRun(folder, facts_of(game), settings or toy_settings(), **run)
    return WorldModelTrainer(made, make_learner)


def rem_learner(settings, replay, seed=0, team=None) -> RemLearner:
    """A learner on a replay that is there."""
    workplace = Workplace(lambda columns: replay, Device(), team or Team(), seed)
    return RemLearner(settings, facts(settings.networks.num_actions), workplace)


class StopAt(threading.Event):
    """Asks for a stop before the n-th update."""

    def __init__(self, updates):
        super().__init__()
        self.updates = updates

    def is_set(self):
        self.updates -= 1
        return self.updates < 0
