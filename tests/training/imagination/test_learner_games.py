"""T8 of rem.md: what REM sees and is paid in Atari, frame by frame against ALE itself."""

import gymnasium
import numpy as np
import pytest

from atari_vlm.training.imagination.games import LOST_LIFE, GameConfig, make_game
from atari_vlm.world_models.learned.schedule import Play


@pytest.mark.parametrize("name", ["Pong", "Assault"])
def test_a_step_is_four_frames_whose_rewards_are_summed(name):
    game = make_game(GameConfig(name, max_noops=30))
    raw = gymnasium.make(f"ALE/{name}-v5", frameskip=1, repeat_action_probability=0.0)
    game.reset(seed=4)
    raw.reset(seed=4)
    for _ in range(4 * game.get_wrapper_attr("noops")):
        raw.step(0)
    rng, paid = np.random.default_rng(0), []
    for _ in range(150):
        action, lives = int(rng.integers(game.action_space.n)), raw.unwrapped.ale.lives()
        shown, reward, terminated, _, info = game.step(action)
        frames = [raw.step(action) for _ in range(4)]
        paid.append(reward)
        assert reward == sum(frame[1] for frame in frames)
        assert np.array_equal(shown["image"], game.env.render())
        assert terminated == any(frame[2] for frame in frames)
        assert info[LOST_LIFE] == (0 < raw.unwrapped.ale.lives() < lives)
        if terminated:
            break
    assert any(paid)
    game.close()
    raw.close()


def test_the_limits_are_those_of_the_paper_in_frames():
    assert (Play().max_steps * GameConfig("Pong").frame_skip, Play().eval_max_steps * 4) == (
        20_000,
        108_000,
    )
