"""The swap: one loop plays the real game and the program of it, and gymnasium's own checker finds nothing to say."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from programs import TRUE, counter, hidden, true_model, true_program

from atari_vlm.agents.simple import RandomAgent
from atari_vlm.errors import NotSupportedError, SandboxProgramError
from atari_vlm.runs.rollout import play_episode
from atari_vlm.trees import stacked
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code import LocalProgram
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

DISCRETE = [game for game in TRUE if game != "Pendulum-v1"] + ["Blackjack-v1"]


@pytest.mark.parametrize("game", DISCRETE)
def test_gymnasium_s_checker_has_nothing_to_say(game):
    with true_model(game) as model, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(WorldModelEnv(model, max_episode_steps=20), skip_render_check=True)
    words = [str(warning.message) for warning in said]
    infinite = [
        "infinity. This is probably too" in text for text in words
    ]  # gymnasium's own of CartPole
    assert all(infinite) and (not words or game == "CartPole-v1"), words


def first_of(game: str, seed: int) -> StartFrames:
    env = gymnasium.make(game)
    observation, _ = env.reset(seed=seed)
    width = env.action_space.shape or ()
    actions = np.zeros((1, 0, *width), np.float32 if width else np.int64)
    return StartFrames(stacked([stacked([observation])]), actions)


@pytest.mark.parametrize("game", TRUE)
def test_one_loop_plays_the_real_game_and_the_program_of_it(game):
    real = gymnasium.make(game)
    with true_model(game) as model:
        dreamed = WorldModelEnv(model, start=first_of(game, 3), max_episode_steps=60)
        assert (dreamed.observation_space, dreamed.action_space) == (
            real.observation_space,
            real.action_space,
        )
        seen = {}
        for name, env in (("real", real), ("dreamed", dreamed)):
            seen[name] = []
            agent = RandomAgent(action_space=env.action_space)
            played = play_episode(env, agent, seed=3, max_steps=60, on_step=seen[name].append)
            assert played.length == len(seen[name])
    assert len(seen["real"]) == len(seen["dreamed"])
    for one, other in zip(seen["real"], seen["dreamed"], strict=True):
        np.testing.assert_allclose(
            other.next_observation, one.next_observation, rtol=1e-3, atol=1e-3
        )
        assert np.array_equal(one.decision.action, other.decision.action)
        assert (
            other.reward == pytest.approx(one.reward, rel=1e-3)
            and one.terminated == other.terminated
        )
        assert env.observation_space.contains(other.next_observation)


def test_a_program_that_raises_in_the_middle_of_an_episode_is_an_error_of_the_step():
    with counter() as model:
        env = WorldModelEnv(model)
        env.reset(seed=0)
        env.step(0), env.step(0)
        with pytest.raises(SandboxProgramError, match="nobody comes here"):
            env.step(0)


def test_a_vector_of_dreams_goes_on_where_a_row_has_ended():
    with counter() as model:
        env = WorldModelVectorEnv(model, 3)
        env.reset(seed=0)
        ends = [env.step(np.array([1, 1, t % 2]))[2] for t in range(8)]
        assert np.stack(ends).sum(0).tolist() == [1, 1, 0]


def test_what_the_program_draws_is_rendered_and_nothing_else():
    with hidden() as model:
        env = WorldModelEnv(model, render_mode="rgb_array")
        env.reset(seed=0)
        env.step(2)
        assert env.render().shape == (3, 4, 3) and env.render().dtype == np.uint8
    with counter() as model:
        env = WorldModelEnv(model, render_mode="rgb_array")
        env.reset(seed=0)
        with pytest.raises(NotSupportedError):
            env.render()


def test_the_same_program_in_this_process_dreams_the_same():
    shown = []
    for program in (true_program("CartPole-v1"), LocalProgram(true_program("CartPole-v1"))):
        with true_model("CartPole-v1", program) as model:
            env = WorldModelEnv(model)
            env.reset(seed=4)
            shown.append([env.step(t % 2)[0].tolist() for t in range(8)])
    assert shown[0] == shown[1]
