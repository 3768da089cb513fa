"""T8 of rem.md: what REM sees and is paid in Atari, frame by frame against ALE itself."""

import gymnasium
import numpy as np
import pytest

from atari_vlm.errors import UnknownNameError
from atari_vlm.training.imagination.games import (
    LOST_LIFE,
    GameConfig,
    facts_of,
    make_game,
    own_spelling,
)
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


@pytest.mark.parametrize("spelling", ["pong", "pong-v5", "PONG-V5", "ALE/Pong-v5", "atarivlm/pong"])
def test_a_game_is_known_in_every_spelling_that_can_only_mean_it(spelling):
    facts = facts_of(spelling)
    assert facts.game == own_spelling(spelling) == "Pong-v5"
    assert facts.action_names == facts_of("Pong").action_names


@pytest.mark.parametrize(
    "name", ["Pong", "Breakout-v5", "AtariVLM/Pong-v5", "CartPole-v1", "x:Pong-v5"]
)
def test_ids_that_are_right_or_of_somebody_else_stay_as_they_are(name):
    assert own_spelling(name) == name


def test_a_game_that_is_none_is_told_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Breakout"):
        facts_of("braekout-v5")
