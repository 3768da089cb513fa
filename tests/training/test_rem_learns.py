"""REM learns a tiny game, and learns to play it in imagination alone: ``pytest -m slow tests/training/test_rem_learns.py``.

Which test of this project is which of REM's list: T1, T2, T3, T4, T6 ``world_models/rem/test_rem_networks.py`` (three forms of
retention; POP against single steps; states at block boundaries; no leak; parameter counts); T5 there (lambda-returns) and
``test_rem_learner.py`` (nine decisions, eight scored); T7 ``reporting/test_atari100k.py``; T8 ``test_rem_game.py`` and
``test_rem_learner.py`` (lives and limits); T9 ``test_rem_trainer.py`` (resumed to the bit, kills); T10 ``test_rem_learner.py``
(burn-in, the executed action); T11 ``world_models/test_dreams.py``; T12 ``world_models/test_checkpoint.py``; T13 here.
"""

import gymnasium
import numpy as np
import pytest

from atari_vlm.training.rem_media import MediaConfig
from atari_vlm.training.rem_settings import (
    ActorCriticTraining,
    Play,
    RemSettings,
    TokenizerTraining,
    Updates,
    WorldModelTraining,
)
from atari_vlm.training.rem_trainer import RemRun, RemTrainer
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.rem.config import ActorCriticConfig, RemConfig, TokenizerConfig, WorldModelConfig
from atari_vlm.wrappers import WorldModelEnv

GAME = "SmallCatch-v0"
if GAME not in gymnasium.registry:
    gymnasium.register(GAME, lambda **options: WorldModelEnv(CatchWorldModel(5, 5, cell_px=4, num_balls=1), **options))

NETWORKS = RemConfig(
    num_actions=3,
    tokenizer=TokenizerConfig(frame_px=20, channels=(16, 16, 16), code_dim=16, num_codes=16),
    world_model=WorldModelConfig(width=48, num_layers=2, num_heads=2, ffn_width=96, dropout=0.0),
    actor_critic=ActorCriticConfig(conv_channels=(16, 16), width=48),
)


def settings() -> RemSettings:
    """Tokenizer, world model and player one after the other, so that each stage can be told from the next."""
    several = {"batch": 32, "micro_batch": 32, "learning_rate": 3e-3}
    player = Updates(learning_rate=2e-3, batch=64, micro_batch=64, max_norm=3.0, steps=50, first_epoch=10)
    return RemSettings(
        NETWORKS,
        tokenizer=TokenizerTraining(Updates(**several, steps=40, last_epoch=5), restart_unused=10),
        world_model=WorldModelTraining(Updates(**several, steps=60, first_epoch=5, last_epoch=12), length=5),
        actor_critic=ActorCriticTraining(player, horizon=6, burn_in=2, discount=0.97, entropy=0.02, normalise=True),
        play=Play(steps=120, last_epoch=10, epsilon=0.1, max_noops=1, eval_every=1, eval_episodes=64),
        epochs=15,
        capacity=4_000,
        checkpoint_every=100,
    )


@pytest.mark.slow
def test_rem_learns_small_catch_in_imagination(tmp_path):
    trainer = RemTrainer(RemRun(tmp_path, GAME, settings(), media=MediaConfig(episodes=0)))
    random = np.mean(trainer.evaluate(200).returns)  # the policy begins as the uniform one
    assert -0.8 < random < -0.3
    final = trainer.train()
    lines = {line["epoch"]: line for line in trainer.log.lines}
    held_out = {
        epoch: {k[9:]: v for k, v in line.items() if k.startswith("held_out/")} for epoch, line in lines.items()
    }
    assert held_out[5]["reconstruction"] < 0.2 * held_out[1]["reconstruction"]
    assert held_out[12]["tokens"] < 0.35 * held_out[5]["tokens"] and held_out[12]["accuracy"] > 0.9
    # of four steps only the last pays, 1 or -1: who knows when but not which has log(2) / 4 = 0.17
    assert held_out[12]["reward"] < 0.05
    assert final["evaluation/episodes"] == settings().play.final_episodes
    assert final["evaluation/return"] > 0.8 > random + 1.0
    assert abs(final["evaluation/imagined_return"] - final["evaluation/matched_return"]) < 0.4
