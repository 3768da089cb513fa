"""T8 of rem.md: what REM sees and is paid in Atari, frame by frame against ALE itself."""

import gymnasium
import numpy as np
import pytest

from atari_vlm.training.imagination.games import GameConfig, RemGame
from atari_vlm.world_models.learned.schedule import Play


@pytest.mark.parametrize("name", ["Pong", "Assault"])
def test_a_step_is_four_frames_whose_rewards_are_summed(name):
    game = RemGame(GameConfig(name, max_noops=30, life_loss_ends=False))
    raw = gymnasium.make(f"ALE/{name}-v5", frameskip=1, repeat_action_probability=0.0)
    game.reset(4)
    raw.reset(seed=4)
    for _ in range(4 * game.noops):
        raw.step(0)
    rng, paid = np.random.default_rng(0), []
    for _ in range(150):
        action = int(rng.integers(game.num_actions))
        moved = game.step(action)
        frames = [raw.step(action) for _ in range(4)]
        paid.append(moved.reward)
        assert moved.reward == sum(frame[1] for frame in frames)
        assert game.frame.shape == (64, 64, 3) and game.frame.dtype == np.uint8
        assert moved.terminated == any(frame[2] for frame in frames) and not moved.lost_life
        if moved.terminated:
            break
    assert any(paid)
    game.close()
    raw.close()


def test_the_limits_are_those_of_the_paper_in_frames():
    assert (Play().max_steps * GameConfig("Pong").frame_skip, Play().eval_max_steps * 4) == (20_000, 108_000)
