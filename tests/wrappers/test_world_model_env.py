"""Dreams as environments, on Catch (exact), against gymnasium's contract and beside other libraries."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo, RenderCollection, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorStatistics

from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.world_models import CatchWorldModel, EmulatorWorldModel
from atari_vlm.world_models.base import StartFrames
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def catch(**sizes) -> CatchWorldModel:
    return CatchWorldModel(**{"rows": 5, "columns": 5, "cell_px": 8, **sizes})


class TwoFrameCatch(CatchWorldModel):
    """Catch read from two pictures, which must be successive: a context of the wrong frames or actions is an error."""

    context_length = 2

    def init(self, observations, actions, *, rng):
        assert observations.shape[1] == 2 and actions.shape == (len(observations), 1)
        before = super().init(observations[:, :1], actions[:, :0], rng=rng)
        after = super().init(observations[:, 1:], actions[:, :0], rng=rng)
        expected = super().step(before, actions[:, 0], rng=rng).state
        assert (after.paddle == expected.paddle).all() and (
            after.ball_row == expected.ball_row
        ).all()
        return after


def play(env, actions, seed=0):
    """Everything that a vector env returns in an episode of given actions (T, B)."""
    seen = [env.reset(seed=seed)]
    seen += [env.step(action) for action in actions]
    return seen


def test_check_env_has_nothing_to_say():
    gymnasium.register(
        "CatchDream-v0", lambda **options: WorldModelEnv(catch(), **options), max_episode_steps=9
    )
    made = gymnasium.make(
        "CatchDream-v0", render_mode="rgb_array"
    )  # warnings are errors in these tests
    check_env(made.unwrapped)
    made.reset(seed=1)
    done = False
    while not done:
        *_, terminated, truncated, _ = made.step(made.action_space.sample())
        done = terminated or truncated
    del gymnasium.registry["CatchDream-v0"]


def test_rewards_end_and_frames_are_the_model_s():
    env = WorldModelEnv(catch(), render_mode="rgb_array")
    first, info = env.reset(seed=3)
    assert info == {"imagined_steps": 0} and np.array_equal(first, env.render())
    rewards = []
    for step in range(4):
        frame, reward, terminated, truncated, info = env.step(0)
        rewards.append(reward)
        assert (
            info == {"imagined_steps": step + 1}
            and not truncated
            and np.array_equal(frame, env.render())
        )
    ball = (first[0].astype(int).sum(-1) > 0).argmax() // 8
    assert rewards == [0, 0, 0, 1.0 if ball == 2 else -1.0] and terminated
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("mode", MODES)
def test_seed_fixes_everything_and_rows_differ(mode):
    rng = np.random.default_rng(0)
    actions = rng.integers(3, size=(4, 6))
    runs = [
        play(WorldModelVectorEnv(catch(num_balls=3), 6, autoreset_mode=mode), actions, seed=5)
        for _ in range(2)
    ]
    for one, other in zip(*runs, strict=True):
        for a, b in zip(one[:-1], other[:-1], strict=True):
            np.testing.assert_array_equal(a, b)
    frames = runs[0][0][0]
    assert len(np.unique(frames.reshape(6, -1), axis=0)) > 1
    assert not np.array_equal(
        frames, WorldModelVectorEnv(catch(), 6, autoreset_mode=mode).reset(seed=6)[0]
    )


def test_next_step_ignores_one_action_and_begins_anew():
    env = WorldModelVectorEnv(catch(), 3)
    env.reset(seed=0)
    ends = [env.step(np.zeros(3, int)) for _ in range(4)]
    frames, reward, terminated, truncated, _ = ends[-1]
    assert terminated.all() and not truncated.any() and (np.abs(reward) == 1).all()
    fresh, reward, terminated, truncated, info = env.step(np.ones(3, int))
    assert (
        not (reward.any() or terminated.any() or truncated.any())
        and not info["imagined_steps"].any()
    )
    assert (
        fresh[:, -8:, 16:24] == [92, 186, 92]
    ).all()  # the paddle stands in the middle: the action did not count
    assert frames.shape == fresh.shape == (3, 40, 40, 3)


def test_same_step_keeps_the_last_frame():
    env, plain = (
        WorldModelVectorEnv(catch(), 3, autoreset_mode=mode) for mode in ("SameStep", "Disabled")
    )
    for each in (env, plain):
        each.reset(seed=0)
        for _ in range(3):
            each.step(np.zeros(3, int))
    fresh, reward, terminated, _, info = env.step(np.zeros(3, int))
    last, same_reward, same_end, *_ = plain.step(np.zeros(3, int))
    assert terminated.all() and same_end.all() and np.array_equal(reward, same_reward)
    np.testing.assert_array_equal(np.stack(info["final_obs"]), last)
    assert info["_final_obs"].all() and info["final_info"]["imagined_steps"].tolist() == [4, 4, 4]
    assert not info["imagined_steps"].any() and not np.array_equal(fresh, last)


def test_disabled_resets_only_the_rows_of_the_mask():
    env = WorldModelVectorEnv(catch(num_balls=2), 4, autoreset_mode="Disabled")
    env.reset(seed=0)
    frames, *_ = env.step(np.zeros(4, int))
    mask = np.array([True, False, False, True])
    after, info = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(after[~mask], frames[~mask])
    assert info["imagined_steps"].tolist() == [0, 1, 1, 0]
    assert (after[mask][:, :8].any((1, 2, 3))).all()  # their balls are in the top row again
    for wrong in (np.zeros(4, bool), np.ones(3, bool), np.ones(4)):
        with pytest.raises(ConfigError, match="reset_mask"):
            env.reset(options={"reset_mask": wrong})


@pytest.mark.parametrize("mode", MODES)
def test_horizon_truncates_and_never_terminates(mode):
    env = WorldModelVectorEnv(catch(num_balls=9), 2, max_episode_steps=3, autoreset_mode=mode)
    env.reset(seed=0)
    outcomes = [env.step(np.zeros(2, int))[2:4] for _ in range(3)]
    assert [truncated.tolist() for _, truncated in outcomes] == [
        [False] * 2,
        [False] * 2,
        [True] * 2,
    ]
    assert not any(terminated.any() for terminated, _ in outcomes)


def test_the_end_at_the_horizon_is_a_termination_only():
    env = WorldModelVectorEnv(catch(), 2, max_episode_steps=4, autoreset_mode="Disabled")
    env.reset(seed=0)
    *_, terminated, truncated, _ = [env.step(np.zeros(2, int)) for _ in range(4)][-1]
    assert terminated.all() and not truncated.any()


def test_start_frames_and_a_real_environment_that_is_not_stepped():
    model = catch()
    one = StartFrames(model.start.observations[1:2], model.start.actions[1:2])
    env = WorldModelEnv(model, start=one)
    np.testing.assert_array_equal(env.reset(seed=0)[0], one.observations[0, 0])
    real = RecordEpisodeStatistics(WorldModelEnv(catch(num_balls=5)))
    dream = WorldModelVectorEnv(model, 4, start=real)
    dream.reset(seed=0)
    for _ in range(3):
        dream.step(np.zeros(4, int))
    assert real.unwrapped._steps == 0  # reset for its picture, never played


def test_context_of_two_frames_comes_from_the_real_environment():
    dream = WorldModelVectorEnv(TwoFrameCatch(5, 5), 3, start=WorldModelEnv(catch()))
    frames, _ = dream.reset(seed=0)
    assert frames[:, 8:16].any((1, 2, 3)).all()  # the ball has fallen one row
    with pytest.raises(ConfigError, match="ended before"):
        WorldModelEnv(TwoFrameCatch(5, 5), start=TimeLimit(WorldModelEnv(catch()), 1)).reset(seed=0)


class Deaf(TwoFrameCatch):
    """A dream in which the paddle never moves: only real frames bring it to where the real one is."""

    def step(self, state, action, *, rng):
        return super(TwoFrameCatch, self).step(state, np.zeros_like(action), rng=rng)


def test_reanchoring_brings_the_dream_back():
    real = WorldModelEnv(catch(rows=20))
    dream = WorldModelEnv(Deaf(20, 5), start=real, reanchor_every=3)
    dream.reset(seed=0)
    agree, anchored = [], []
    for _ in range(9):
        frame, *_, info = dream.step(1)
        agree.append(np.array_equal(frame, real._frames[0]))
        anchored.append(info["reanchored"])
    assert anchored == [step % 3 == 2 for step in range(9)]
    assert (
        agree[2] and agree[5] and agree[8] and not agree[0]
    )  # a step later they part; the paddle soon reaches the wall


def test_reanchoring_stops_when_the_real_episode_is_over():
    real = [TimeLimit(WorldModelEnv(catch(rows=20)), 4), WorldModelEnv(catch(rows=20))]
    dream = WorldModelVectorEnv(Deaf(20, 5), 2, start=real, reanchor_every=2)
    dream.reset(seed=0)  # one real step each is used up by the context
    rows = [dream.step(np.ones(2, int))[-1]["reanchored"].tolist() for _ in range(6)]
    assert rows == [
        [False, False],
        [True, True],
        [False, False],
        [False, True],
        [False, False],
        [False, True],
    ]


def test_a_real_atari_game_begins_and_corrects_the_dream():
    real = gymnasium.make("AtariVLM/Pong-v5", repeat_action_probability=0.0)
    dream = WorldModelEnv(EmulatorWorldModel(real), start=real, reanchor_every=4)
    frame, _ = dream.reset(seed=1)
    np.testing.assert_array_equal(frame, real.render())
    for _ in range(8):
        frame, *_, info = dream.step(2)
    assert info["reanchored"] and frame.shape == (210, 160, 3)
    real.close()


def test_what_does_not_fit_is_refused_naming_both_sides():
    model, frames = catch(), catch().start
    with pytest.raises(MismatchError, match=r"40, 40, 3.*48, 48, 3"):
        WorldModelEnv(model, start=catch(rows=6, columns=6).start)
    with pytest.raises(MismatchError, match=r"Discrete\(3\).*Discrete\(6\)"):
        WorldModelEnv(model, start=gymnasium.make("AtariVLM/Pong-v5"))
    with pytest.raises(MismatchError, match=r"NOOP, RIGHT, LEFT.*NOOP, FIRE, DOWN"):
        other = WorldModelEnv(catch())
        other.get_action_meanings = lambda: ["NOOP", "FIRE", "DOWN"]
        WorldModelEnv(model, start=other)
    with pytest.raises(MismatchError, match="frame skip 1; the real environment has 4"):
        other = WorldModelEnv(catch())
        other.frame_skip = 4
        WorldModelEnv(model, start=other)
    with pytest.raises(ConfigError, match="for each of the 3 dreams"):
        WorldModelVectorEnv(model, 3, start=WorldModelEnv(model), reanchor_every=2)
    with pytest.raises(ConfigError, match="for each"):
        WorldModelEnv(model, start=frames, reanchor_every=2)
    with pytest.raises(ConfigError, match="start is"):
        WorldModelEnv(model, start="real")
    with pytest.raises(UnknownNameError, match="SameStep"):
        WorldModelVectorEnv(model, 2, autoreset_mode="same")
    with pytest.raises(UnknownNameError, match="rgb_array"):
        WorldModelEnv(model, render_mode="human")
    for wrong in (
        {"num_envs": 0},
        {"num_envs": 2, "max_episode_steps": 0},
        {"num_envs": 1, "reanchor_every": -1},
    ):
        with pytest.raises(ConfigError, match="greater than 0"):
            WorldModelVectorEnv(model, **wrong)


@pytest.mark.parametrize("actions", [[0, 1], [0, 1, 3], [0, 1, -1], [0.0, 1.0, 2.0], 1])
def test_wrong_actions_are_refused(actions):
    env = WorldModelVectorEnv(catch(), 3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3, int))
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="actions must"):
        env.step(np.array(actions))


def test_what_was_given_away_does_not_change():
    env = WorldModelVectorEnv(catch(), 2, render_mode="rgb_array")
    first, _ = env.reset(seed=0)
    kept = first.copy()
    first[:] = 9
    assert np.array_equal(np.stack(env.render()), kept)
    second, *_ = env.step(np.zeros(2, int))
    assert not (second == 9).all()


def test_statistics_and_rendered_frames():
    env = RenderCollection(RecordEpisodeStatistics(WorldModelEnv(catch(), render_mode="rgb_array")))
    frames = [env.reset(seed=0)[0]]
    done = False
    while not done:
        frame, _, done, _, info = env.step(0)
        frames.append(frame)
    np.testing.assert_array_equal(env.render(), frames)
    assert info["episode"]["l"] == 4 and abs(info["episode"]["r"]) == 1
    vector = VectorStatistics(WorldModelVectorEnv(catch(), 3))
    vector.reset(seed=0)
    info = [vector.step(np.zeros(3, int)) for _ in range(4)][-1][-1]
    assert info["episode"]["l"].tolist() == [4, 4, 4]


def test_record_video(tmp_path):
    pytest.importorskip("moviepy")
    env = RecordVideo(
        WorldModelEnv(catch(), render_mode="rgb_array"),
        str(tmp_path / "videos"),
        episode_trigger=bool,
    )
    for seed in range(2):
        env.reset(seed=seed)
        for _ in range(4):
            env.step(0)
    env.close()
    assert list(tmp_path.rglob("*.mp4"))


def test_stable_baselines3_learns_in_the_dream():
    from stable_baselines3 import PPO

    agent = PPO(
        "CnnPolicy",
        WorldModelEnv(catch()),
        n_steps=16,
        batch_size=16,
        n_epochs=1,
        device="cpu",
        seed=0,
    )
    agent.learn(32)
    assert (
        agent.num_timesteps == 32
        and agent.ep_info_buffer is not None
        and len(agent.ep_info_buffer) == 8
    )


def test_torchrl_rolls_out_in_the_dream():
    from torchrl.envs import GymWrapper

    rollout = GymWrapper(WorldModelEnv(catch())).rollout(10, break_when_any_done=True)
    assert (
        rollout.batch_size == (4,)
        and rollout["next", "done"][-1].item()
        and not rollout["next", "done"][:-1].any()
    )
