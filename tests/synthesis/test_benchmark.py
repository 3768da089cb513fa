"""The list of environments, what writers are told of them, and the game with a manual."""

import importlib.util
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from atari_vlm.errors import ConfigError, MissingDependencyError, UnknownNameError
from atari_vlm.experience import TransitionBuffer
from atari_vlm.synthesis.benchmark import ManualGame, benchmark_ids, find_env
from atari_vlm.synthesis.benchmark.manual_game import BEATEN_BY, MOVES, PLAYER, RIVER_CLAN
from atari_vlm.world_models.code import score_program

IDS = (
    "Acrobot-v1 Ant-v5 Blackjack-v1 CartPole-v1 CliffWalking-v1 HalfCheetah-v5 Hopper-v5 Humanoid-v5 HumanoidStandup-v5 "
    "InvertedDoublePendulum-v5 InvertedPendulum-v5 MountainCar-v0 Pendulum-v1 Pusher-v5 Reacher-v5 Swimmer-v5 Taxi-v4 "
    "Walker2d-v5 rtfm"
)
DISCRETE = "Acrobot Blackjack CartPole CliffWalking MountainCar Taxi rtfm".split()
HAS_MUJOCO = importlib.util.find_spec("mujoco") is not None
PROGRAM = Path(__file__).parents[1] / "data" / "programs" / "rtfm.py"


def test_the_list_is_fixed():
    assert " ".join(benchmark_ids()) == IDS
    assert find_env(3).env_id == "CartPole-v1"
    assert find_env(18).env_id == "rtfm"
    for index in (-1, 19, True):
        with pytest.raises(ConfigError, match="from 0 to 18"):
            find_env(index)


@pytest.mark.parametrize(
    ("asked", "made"),
    [("CliffWalking-v0", "CliffWalking-v1"), ("Taxi-v3", "Taxi-v4"), ("Pusher-v4", "Pusher-v5")],
)
def test_old_names_are_mapped_and_the_record_says_so(asked, made):
    found = find_env(asked)
    assert found.note
    names = {"env_id": made, "asked": asked, "paper_id": asked, "note": found.note}
    assert found.record() == names
    assert find_env(made).paper_id == asked


@pytest.mark.parametrize("name", ["Ant-v4", "Humanoid-v5", "Reacher-v4"])
def test_states_of_another_size_are_never_compared(name):
    assert "no number is comparable" in find_env(name).record()["note"]


@pytest.mark.parametrize("name", ["Cartpole-v1", "CartPole-v7", "", "rtfm-v0"])
def test_unknown_names_are_refused_with_the_nearest(name):
    with pytest.raises(UnknownNameError) as refused:
        find_env(name)
    assert "\n" not in str(refused.value)


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="the package 'nosuch'") as refused:
        find_env("nosuch:Thing-v0")
    assert "\n" not in str(refused.value)


def test_any_other_environment_of_gymnasium_is_described_by_its_spaces():
    own = find_env("MountainCarContinuous-v0")
    assert own.paper_id is None
    assert own.planner == "cem"
    assert "Box" in own.description


@pytest.mark.parametrize("env_id", benchmark_ids())
def test_every_description_says_what_a_writer_needs(env_id):
    text = find_env(env_id).description
    for word in ("**State**", "**Actions**", "**One step**", "**Reward**", "**Start**", "**End**"):
        assert word in text
    assert 500 < len(text) < 4000


@pytest.mark.parametrize("env_id", benchmark_ids())
def test_every_environment_is_made_as_described(env_id):
    found = find_env(env_id)
    if env_id.endswith("-v5") and not HAS_MUJOCO:
        with pytest.raises(MissingDependencyError, match="mujoco"):
            found.make()
        return
    env = found.make()
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert found.planner == ("mcts" if env_id.split("-")[0] in DISCRETE else "cem")
    if isinstance(env.observation_space, gymnasium.spaces.Box):
        (size,) = env.observation_space.shape
        assert f"{size} numbers" in found.description or size == 2
    limit = found.max_episode_steps
    assert (f"cut after {limit} steps" if limit else "**End**") in found.description
    env.close()


def test_the_manual_game_is_an_environment():
    check_env(ManualGame(), skip_render_check=True)
    env = find_env("rtfm").make(render_mode="ansi")
    env.reset(seed=0)
    assert env.render().endswith("held: 0")


def test_an_episode_of_the_manual_game_is_cut():
    env = find_env("rtfm").make()
    env.reset(seed=0)
    steps = [env.step(0) for _ in range(40)]
    assert [step[3] for step in steps] == [False] * 39 + [True]
    assert not any(step[2] for step in steps)


def towards(env, thing):
    """A step of the player towards a thing, around whatever else stands there; none where it is walled in."""
    board = env._board
    start, goal = (tuple(np.argwhere(board == value)[0].tolist()) for value in (PLAYER, thing))
    reached, front = {goal: None}, [goal]
    while front:
        cell = front.pop(0)
        for action, (down, right) in enumerate(MOVES[1:], 1):
            before = (cell[0] - down, cell[1] - right)
            inside = 0 <= before[0] < 4 and 0 <= before[1] < 4
            if inside and before not in reached and board[before] in (0, PLAYER):
                reached[before] = action
                front.append(before)
    return reached.get(start)


def plays_by_the_manual(seed):
    env = ManualGame()
    env.reset(seed=seed)
    foe = next(creature for creature in RIVER_CLAN if (env._board == creature).any())
    for _ in range(40):
        goal = foe if env._held == BEATEN_BY[foe] else BEATEN_BY[foe]
        action = towards(env, goal)
        if action is None:
            return 0.0
        _, reward, ended, _, _ = env.step(action)
        if ended:
            return reward
    return 0.0


def test_who_has_read_the_manual_wins():
    returns = [plays_by_the_manual(seed) for seed in range(60)]
    assert min(returns) >= 0.0
    assert np.mean(returns) > 0.9


def played(n=1500):
    rng, rows, env = np.random.default_rng(0), [], find_env("rtfm").make()
    while len(rows) < n:
        before, _ = env.reset(seed=len(rows))
        ended = False
        while not ended:
            action = int(rng.integers(5))
            after, reward, terminated, truncated, _ = env.step(action)
            rows.append((before, action, reward, after, terminated, truncated))
            before, ended = after, terminated or truncated
    columns = list(zip(*rows, strict=True))
    for which in (0, 3):
        seen = columns[which]
        columns[which] = {name: np.array([each[name] for each in seen]) for name in seen[0]}
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    return TransitionBuffer(*columns, env_id="rtfm", **spaces)


def test_the_manual_game_by_hand_is_all_right():
    buffer = played()
    assert set(np.unique(buffer.rewards)) == {-1.0, 0.0, 1.0}
    score = score_program(PROGRAM.read_text(), buffer)
    assert (score.score, score.failing) == (1.0, None)
    misread = PROGRAM.read_text().replace("6: 4, 7: 3", "6: 3, 7: 4")
    assert score_program(misread, buffer).score < 1.0
