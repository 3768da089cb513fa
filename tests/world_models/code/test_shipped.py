"""The Pong that was written by hand, held against the emulator and against what Pong is.

``python -m pytest -m slow -n 0 -s tests/world_models/code/test_shipped.py`` measures its fidelity on longer play and prints it.
"""

import pickle

import ale_py
import gymnasium
import numpy as np
import pytest

from atari_vlm.errors import MismatchError, UnknownNameError
from atari_vlm.world_models.code import CodeWorldModel, check_program, golden
from atari_vlm.wrappers import AtariObjects

gymnasium.register_envs(ale_py)
NOOP, FIRE, UP, DOWN, UP_FIRE, DOWN_FIRE = range(6)
RNG = np.random.default_rng(0)
NO_ACTIONS = np.zeros((1, 0), np.int64)


@pytest.fixture(scope="module")
def pong():
    with golden("Pong") as model:
        yield model


@pytest.fixture(scope="module")
def columns():
    return list(AtariObjects(gymnasium.make("ALE/Pong-v5")).columns)


def rallies(steps, seed):
    """Tables ``(N + 1, columns)`` and actions of a player who meets the ball most of the time, without sticky actions."""
    env = AtariObjects(gymnasium.make("ALE/Pong-v5", repeat_action_probability=0.0))
    at = {name: i for i, name in enumerate(env.columns)}
    random = np.random.default_rng(seed)
    table, tables, actions, meets = env.reset(seed=seed)[1]["object_table"], [], [], 0
    for t in range(steps):
        if t % 25 == 0:
            meets = random.integers(
                -6, 18
            )  # which part of the paddle is held to the ball, sometimes none
        off = table[at["ball y"]] - table[at["your paddle's next place"]] - meets
        action = UP if off < -4 else DOWN if off > 4 else NOOP
        if random.random() < 0.2:
            action = (FIRE, UP_FIRE, DOWN_FIRE)[(NOOP, UP, DOWN).index(action)]
        if random.random() < 0.1:
            action = int(random.integers(6))
        tables.append(table)
        actions.append(action)
        table = env.step(action)[4]["object_table"]
    return np.array([*tables, table]), np.array(actions)


def ahead(pong, columns, tables, actions, steps):
    """How far the ball is off after ``steps`` from every moment of play with a ball, pixels ``(n,)``, and exact rows."""
    ball = [columns.index("ball x"), columns.index("ball y")]
    begins = np.flatnonzero((tables[:-steps, ball[1]] > 0) & (tables[steps:, ball[1]] > 0))
    plans = np.stack([actions[at : at + steps] for at in begins])
    state = pong.init(tables[begins][:, None], np.zeros((len(begins), 0), np.int64), rng=RNG)
    found, true = pong.rollout(state, plans, rng=RNG).state.values, tables[begins + steps]
    off = np.abs(found[:, ball] - true[:, ball]).max(axis=1)
    return off, np.isclose(found, true, atol=1e-3).all(axis=1)


def check_fidelity(pong, columns, tables, actions):
    one, rows = ahead(pong, columns, tables, actions, 1)
    fifteen, _ = ahead(pong, columns, tables, actions, 15)
    assert len(one) > 100 and len(fifteen) > 50
    figures = (one == 0).mean(), (fifteen <= 4).mean(), rows.mean()
    assert figures[0] >= 0.98 and figures[1] >= 0.85 and figures[2] >= 0.9, figures
    return figures


def test_the_ball_is_where_the_emulator_has_it(pong, columns):
    check_fidelity(pong, columns, *rallies(400, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_ball_is_where_the_emulator_has_it_for_long(pong, columns):
    for seed in range(3):
        figures = check_fidelity(pong, columns, *rallies(1500, seed))
        print(
            "seed {}: ball {:.4f}, within 4 px after 15 {:.4f}, whole rows {:.4f}".format(
                seed, *figures
            )
        )


def test_it_draws_what_the_emulator_draws(pong):
    env = AtariObjects(gymnasium.make("ALE/Pong-v5", repeat_action_probability=0.0))
    screen, info = env.reset(seed=0)
    state = pong.init(info["object_table"][None, None], NO_ACTIONS, rng=RNG)
    same = []
    for t in range(120):
        action = (DOWN, UP, UP, NOOP)[t // 8 % 4]
        screen = env.step(action)[0]
        state = pong.step(state, np.array([action]), rng=RNG).state
        drawn = pong.decode(state)
        assert drawn.shape == (1, 210, 160, 3) and drawn.dtype == np.uint8
        same.append((drawn[0] != screen).any(axis=-1).sum())
    assert (
        max(same) <= 12 and np.mean(np.array(same) == 0) > 0.7
    )  # the ball is a row off near your paddle


def set_up(columns, **values):
    """A table row of open play: ball in the middle, paddles far from it."""
    row = np.zeros(len(columns))
    names = {
        "knob": "your knob",
        "place": "your paddle's place",
        "next": "your paddle's next place",
    }
    known = {
        "ball x": 130,
        "ball y": 120,
        "ball dx": 1,
        "other paddle's place": 60,
        "frame": 3,
        "knob": 110,
        "place": 109,
        "next": 109,
    }
    for name, value in {**known, **values}.items():
        row[columns.index(names.get(name, name.replace("_", " ")))] = value
    return row


def play(pong, row, action=NOOP, steps=1):
    state = pong.init(row[None, None].astype(np.float32), NO_ACTIONS, rng=RNG)
    rewards = []
    for _ in range(steps):
        step = pong.step(state, np.array([action]), rng=RNG)
        state = step.state
        rewards.append(float(step.reward[0]))
    return state.values[0], rewards, bool(step.terminated[0])


@pytest.mark.parametrize("below, dy", [(-2, -2), (2, -1), (6, 0), (10, 1), (14, 2), (25, 1)])
def test_a_ball_leaves_your_paddle_by_where_it_meets_it(pong, columns, below, dy):
    row = set_up(columns, ball_x=188, ball_y=110 + below, ball_dy=1)
    row[columns.index("your paddle's place")] = row[columns.index("your paddle's next place")] = 110
    after, _, _ = play(pong, row)
    assert after[columns.index("ball dy")] == dy
    assert (after[columns.index("ball dx")] < 0) == (below < 20)


def test_the_button_makes_the_ball_faster(pong, columns):
    row = set_up(columns, ball_x=188, ball_y=115)
    slow, _, _ = play(pong, row)
    fast, _, _ = play(pong, set_up(columns, ball_x=188, ball_y=115, button=1))
    at = columns.index("ball dx")
    assert (slow[at], fast[at]) == (-1, -2)


def test_a_ball_bounces_from_the_walls(pong, columns):
    after, _, _ = play(pong, set_up(columns, ball_y=47, ball_dy=-2))
    assert after[columns.index("ball dy")] == 2
    assert after[columns.index("ball y")] == 45 + 3 + 2 * 2


def test_a_point_is_told_and_served_after_63_frames(pong, columns):
    row = set_up(columns, ball_x=203, ball_dx=2, ball_dy=-2, ball_y=60)
    row[columns.index("your paddle's place")] = row[columns.index("your paddle's next place")] = 180
    after, rewards, over = play(pong, row)
    assert rewards == [-1.0] and not over and after[columns.index("other points")] == 1
    served, rewards, _ = play(pong, after, steps=16)
    assert set(rewards) == {0.0} and served[columns.index("ball y")] > 0
    assert served[columns.index("ball dx")] == 1 and served[columns.index("ball dy")] == -1


def test_twenty_one_points_end_the_game(pong, columns):
    row = set_up(columns, ball_x=54, ball_dx=-2, your_points=20)
    _, rewards, over = play(pong, row)
    assert rewards == [1.0] and over


def test_your_paddle_has_inertia(pong, columns):
    """It goes on for a while when nothing is held any more, as the console brings it half the way only."""
    at = columns.index("your paddle's place")
    row = set_up(columns)
    moving, _, _ = play(pong, row, DOWN, steps=3)
    after, _, _ = play(pong, moving, NOOP)
    settled, _, _ = play(pong, moving, NOOP, steps=8)
    assert row[at] < moving[at] < after[at] <= settled[at]


def test_the_other_paddle_follows_the_ball(pong, columns):
    at = columns.index("other paddle's place")
    after, _, _ = play(pong, set_up(columns, ball_dx=0))
    assert after[at] == 60 + 8
    after, _, _ = play(pong, set_up(columns, ball_dx=0, frame=7))
    assert after[at] == 60 + 6  # it rests in one frame of eight


def test_a_context_is_as_long_as_one_likes(pong, columns):
    rows = np.stack([set_up(columns, ball_x=x) for x in (120, 124, 128)]).astype(np.float32)
    one = pong.init(rows[None, -1:], NO_ACTIONS, rng=RNG)
    three = pong.init(rows[None], np.zeros((1, 2), np.int64), rng=RNG)
    assert np.array_equal(one.values, three.values)
    with pytest.raises(MismatchError):
        pong.init(rows[None, :, :5], np.zeros((1, 2), np.int64), rng=RNG)


def test_it_is_a_program_like_any_other(pong, tmp_path):
    assert "class Environment" in pong.program and pong.contract == 1 and pong.frame_skip == 4
    assert pong.faults == ()
    assert (
        check_program(pong.program, states=list(pong.start.observations[:, 0]), actions=[0, 3])
        == ()
    )
    with pickle.loads(pickle.dumps(pong)) as copy:
        assert copy.program == pong.program and copy.start is not None
    pong.save(tmp_path / "pong")
    with gymnasium.make("AtariVLM/Pong-Code-v5", checkpoint=str(tmp_path / "pong")) as env:
        assert env.reset(seed=0)[0]["image"].size == (224, 224)


def test_a_game_without_one_names_those_with_one():
    with pytest.raises(UnknownNameError, match="known: Pong"):
        golden("Breakout")


def test_only_what_is_drawn_differs_from_its_states(pong):
    picture, table = pong.observation_space, pong.context_space
    blind = "class Environment:\n    def set_state(self, state): pass\n    def step(self, action): return [0], 0, False\n"
    with pytest.raises(MismatchError, match="render"):
        CodeWorldModel(
            blind, observation_space=picture, context_space=table, action_space=pong.action_space
        )
    with pytest.raises(MismatchError, match="render"):
        CodeWorldModel(
            pong.program,
            observation_space=gymnasium.spaces.Box(0, 1, (3,)),
            context_space=table,
            action_space=pong.action_space,
        )
