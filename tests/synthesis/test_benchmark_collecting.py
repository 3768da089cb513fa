"""Filling a buffer, and the environment as its own model."""

import gymnasium
import numpy as np
import pytest

from atari_vlm.agents import RandomAgent
from atari_vlm.checker import check_world_model
from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError
from atari_vlm.experience import fill_replay_buffer, read_buffer
from atari_vlm.synthesis.benchmark import RisingCEM, find_env
from atari_vlm.trees import leaves, map_leaves
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.environment import EnvironmentWorldModel


def columns(buffer):
    trees = (buffer.observations, buffer.next_observations)
    rest = (buffer.actions, buffer.rewards, buffer.terminated, buffer.truncated)
    return [*(leaf for tree in trees for leaf in leaves(tree)), *rest]


@pytest.mark.parametrize("name", ["CartPole-v1", "Blackjack-v1", "rtfm", "Pendulum-v1", "Taxi-v3"])
def test_a_buffer_is_filled_saved_and_the_same_for_the_same_seed(tmp_path, name):
    first = fill_replay_buffer(name, 300, tmp_path, "first", seed=1)
    again = fill_replay_buffer(find_env(name).make(), 300, tmp_path, "again", seed=1)
    other = fill_replay_buffer(name, 300, tmp_path, "other", seed=2)
    assert len(first) == 300
    assert first.env_id == again.env_id == find_env(name).env_id
    pairs = zip(columns(first), columns(again), strict=True)
    assert all(np.array_equal(one, two) for one, two in pairs)
    assert not np.array_equal(first.actions, other.actions)
    read = read_buffer(tmp_path / "first.npz")
    assert read.provenance["policy"] == "random"
    assert read.provenance["asked"] == name


def test_ends_and_cuts_are_told_apart(tmp_path):
    buffer = fill_replay_buffer("CartPole-v1", 200, tmp_path, "b", max_episode_steps=15)
    lengths = np.diff([*buffer.trajectory_starts, len(buffer)])
    assert lengths.max() == 15
    lasts = np.append(buffer.trajectory_starts[1:] - 1, len(buffer) - 1)
    ended = buffer.terminated | buffer.truncated
    assert ended[lasts[:-1]].all()
    assert ended.sum() <= len(lasts)
    assert not (buffer.terminated & buffer.truncated).any()
    assert (lengths[:-1][buffer.truncated[lasts[:-1]]] == 15).all()
    assert buffer.terminated.any()
    assert buffer.truncated.any()
    cut = fill_replay_buffer("Pendulum-v1", 450, tmp_path, "p")
    assert np.flatnonzero(cut.truncated).tolist() == [199, 399]
    assert not cut.terminated.any()


def test_rows_of_a_trajectory_follow_one_another(tmp_path):
    buffer = fill_replay_buffer("MountainCar-v0", 500, tmp_path, "b")
    for rows in buffer.trajectories:
        before, after = buffer.observations[rows], buffer.next_observations[rows]
        np.testing.assert_array_equal(before[1:], after[:-1])


def test_the_planners_play_gets_better(tmp_path):
    rising = RisingCEM(iterations=(1, 8), population=40, elites=6, horizon=40)
    buffer = fill_replay_buffer("Pendulum-v1", 320, tmp_path, "b", policy=rising, max_episode_steps=40)  # fmt: skip
    returns = [buffer.rewards[rows].sum() for rows in buffer.trajectories]
    assert len(returns) == 8
    assert np.mean(returns[4:]) > np.mean(returns[:4])
    random = fill_replay_buffer("Pendulum-v1", 320, tmp_path, "r", max_episode_steps=40)
    assert np.mean(returns) > np.mean([random.rewards[rows].sum() for rows in random.trajectories])
    assert buffer.provenance["policy"]["cem"]["iterations"] == [1, 8]


def test_any_agent_or_function_plays(tmp_path):
    env = gymnasium.make("CartPole-v1")
    agent = RandomAgent(action_space=env.action_space)
    first = fill_replay_buffer(env, 100, tmp_path, "a", policy=agent)
    assert set(first.actions) == {0, 1}
    assert first.provenance["policy"] == "RandomAgent"
    leaning = fill_replay_buffer(env, 100, tmp_path, "f", policy=lambda seen: int(seen[2] > 0))
    assert (leaning.actions == (leaning.observations[:, 2] > 0)).all()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"capacity": 0}, ConfigError),
        ({"capacity": 1.5}, ConfigError),
        ({"max_episode_steps": 0}, ConfigError),
        ({"policy": "best"}, UnknownNameError),
        ({"policy": 3}, ConfigError),
        ({"env": "CartPoll-v1"}, UnknownNameError),
        ({"buffer_name": "../up"}, ConfigError),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, changes, error):
    arguments = {"env": "CartPole-v1", "capacity": 10, "file_path": tmp_path, "buffer_name": "b"}
    with pytest.raises(error) as refused:
        fill_replay_buffer(**{**arguments, **changes})
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_the_steps_of_the_planner_are_checked():
    for wrong in ({"iterations": ()}, {"iterations": (0,)}, {"population": 0}, {"elites": 0}):
        with pytest.raises(ConfigError):
            RisingCEM(**wrong)


EXACT = "Acrobot-v1 CartPole-v1 CliffWalking-v1 MountainCar-v0 Pendulum-v1 Taxi-v4 rtfm".split()
MUJOCO = "Ant-v5 Hopper-v5 Humanoid-v5 InvertedDoublePendulum-v5 Pusher-v5 Reacher-v5".split()


@pytest.mark.parametrize("name", [*EXACT, *MUJOCO])
def test_an_environment_is_its_own_exact_model(name):
    if name in MUJOCO:
        pytest.importorskip("mujoco")
    env = find_env(name).make()
    env.action_space.seed(0)
    observation, _ = env.reset(seed=3)
    model, rng = EnvironmentWorldModel(env), np.random.default_rng(0)
    observation, *_ = env.step(env.action_space.sample())
    context = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
    state = model.init(context, np.zeros((1, 0)), rng=rng)
    plan = np.array([env.action_space.sample() for _ in range(12)])
    rolled = model.rollout(state, plan[None], rng=rng)
    stepped, rewards = state, []
    for action in plan:
        step = model.step(stepped, action[None], rng=rng)
        stepped = step.state
        rewards.append(float(step.reward[0]))
    assert rewards == rolled.reward[0].tolist()
    for action, reward in zip(plan, rewards, strict=True):
        observation, real, over, *_ = env.step(action)  # as if nothing had been tried out
        assert np.float32(real) == np.float32(reward)
        if over:
            break
    for ours, theirs in zip(leaves(model.decode(rolled.state)), leaves(observation), strict=True):
        np.testing.assert_array_equal(ours[0], theirs)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Taxi-v4", "rtfm", "Blackjack-v1"])
def test_it_keeps_the_contract_of_world_models(name):
    env = find_env(name).make()
    observation, _ = env.reset(seed=0)
    shown = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
    width = env.action_space.shape
    actions = np.zeros((1, 0, *width), np.float32 if width else np.int64)
    check_world_model(EnvironmentWorldModel(env), StartFrames(shown, actions))


def test_a_planner_does_not_foresee_the_cards():
    env = gymnasium.make("Blackjack-v1")
    observation, _ = env.reset(seed=0)
    model = EnvironmentWorldModel(env)
    context = map_leaves(lambda leaf: np.asarray(leaf)[None, None], observation)
    rng = np.random.default_rng(0)
    state = model.init(context, np.zeros((1, 0)), rng=rng)
    sums = {
        int(model.decode(model.step(state, np.ones(1, int), rng=rng).state)[0][0])
        for _ in range(40)
    }
    assert len(sums) > 4


def test_observations_that_are_no_numbers_are_refused_at_once(tmp_path):
    env = gymnasium.make("CartPole-v1")
    env.unwrapped.observation_space = gymnasium.spaces.Dict({"words": gymnasium.spaces.Text(9)})
    with pytest.raises(ConfigError, match="observations are numbers"):
        fill_replay_buffer(env.unwrapped, 10, tmp_path, "b")


class _Hidden(gymnasium.Env):
    """Keeps its count where nobody can put it back."""

    observation_space = gymnasium.spaces.Discrete(100)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self._count = {"steps": 0}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._count["steps"] = 0
        return 0, {}

    def step(self, action):
        self._count["steps"] += 1
        return self._count["steps"] % 100, 0.0, False, False, {}


def test_a_state_that_cannot_be_put_back_is_refused():
    with pytest.raises(NotSupportedError, match="_Hidden keeps its state"):
        EnvironmentWorldModel(_Hidden())


def test_random_actions_do_not_follow_the_environments_random_numbers(tmp_path):
    """Both are told one seed, and generators of one seed draw the same numbers."""
    buffer = fill_replay_buffer("CartPole-v1", 300, tmp_path, "b", max_episode_steps=1)
    right = (buffer.observations[:, 0] > 0) == buffer.actions
    assert 0.4 < right.mean() < 0.6
