"""One-paddle Pong is exact, its optimum is in reach from everywhere, and one picture does not show which way the ball flies."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from atari_vlm.checker import check_world_model
from atari_vlm.errors import ConfigError
from atari_vlm.trees import take_rows
from atari_vlm.world_models import SoloPongWorldModel, load_world_model, save_checkpoint
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

RNG = np.random.default_rng(0)
NOOP, RIGHT, LEFT = range(3)


def starts(model):
    return model.init(model.start.observations, model.start.actions, rng=RNG)


def rows_of(state):
    return list(zip(*(leaf.tolist() for leaf in vars(state).values()), strict=True))


def values(model):
    """From each start, the returns of the best and of a uniformly random player: every state that can be reached, backwards."""
    layers, edges = [starts(model)], []
    while not layers[-1].over.all():
        now = layers[-1]
        n = len(now.over)
        step = model.step(
            take_rows(now, np.tile(np.arange(n), 3)), np.repeat(np.arange(3), n), rng=RNG
        )
        _, kept, index = np.unique(
            np.array(rows_of(step.state)), axis=0, return_index=True, return_inverse=True
        )
        layers.append(take_rows(step.state, kept))
        edges.append((step.reward.reshape(3, n), index.reshape(3, n)))
    best = mean = np.zeros(len(layers[-1].over))
    for reward, index in reversed(edges):
        best, mean = (reward + best[index]).max(0), (reward + mean[index]).mean(0)
    return best, mean, len(edges)


@pytest.mark.parametrize(
    "sizes", [{}, {"num_returns": 1}, {"rows": 5, "columns": 8}, {"rows": 3, "columns": 4}]
)
def test_every_start_reaches_the_optimum_and_a_random_player_does_not(sizes):
    model = SoloPongWorldModel(**sizes)
    best, mean, longest = values(model)
    assert best.tolist() == [model.num_returns] * (2 * model.columns - 2)
    assert longest == model.rows - 2 + 2 * (model.rows - 1) * (model.num_returns - 1)
    assert mean.mean() < 0.4 * model.num_returns
    if not sizes:
        assert longest == 34 and mean.mean() == pytest.approx(-0.560, abs=0.001)


def test_the_ball_bounces_where_it_should():
    model = SoloPongWorldModel(rows=4, columns=4, num_returns=2)
    state, path = take_rows(starts(model), [1]), []
    for action in (NOOP, RIGHT, NOOP, NOOP, NOOP, NOOP, LEFT, LEFT):
        path.append((int(state.ball_row[0]), int(state.ball_column[0]), int(state.paddle[0])))
        step = model.step(state, np.array([action]), rng=RNG)
        state = step.state
        path[-1] += (float(step.reward[0]),)
    places = [
        (1, 0, 1, 0.0),
        (2, 1, 1, 1.0),
        (3, 2, 2, 0.0),
        (2, 1, 2, 0.0),
        (1, 0, 2, 0.0),
        (0, 1, 2, 0.0),
    ]
    assert path[:6] == places, path  # from the left half it flies to the left
    assert path[6:] == [(1, 2, 2, 0.0), (2, 3, 1, -1.0)] and state.over.all()


def test_two_pictures_say_everything_and_one_does_not():
    model = SoloPongWorldModel(rows=6, columns=5, cell_px=3, num_returns=9)
    now, alike = starts(model), 0
    for t in range(200):
        action = RNG.integers(3, size=8)
        following = model.step(now, action, rng=RNG).state
        live = ~now.over
        if not live.any():
            break
        pictures = np.stack([model.decode(now), model.decode(following)], 1)[live]
        read, wanted = (
            model.init(pictures, action[live, None], rng=RNG),
            take_rows(following, np.flatnonzero(live)),
        )
        assert all(
            (vars(read)[k] == leaf).all() for k, leaf in vars(wanted).items() if k != "returns_left"
        ), t
        one = model.init(pictures[:, 1:], action[live, None][:, :0], rng=RNG)
        alike += int(((one.down == wanted.down) & (one.right == wanted.right)).all())
        now = following
    assert t > 3 and alike < t


def test_one_picture_is_read_as_down_and_right():
    model = SoloPongWorldModel()
    now = starts(model)
    one = model.init(model.start.observations[:, 1:], np.zeros((14, 0), int), rng=RNG)
    walls = np.isin(one.ball_column, (0, 7))
    assert (
        (one.down == 1).all()
        and (one.right[~walls] == 1).all()
        and (one.right[walls] == now.right[walls]).all()
    )
    assert {(-1, 1), (1, 1)} == set(
        zip(now.right[~walls].tolist(), one.right[~walls].tolist(), strict=True)
    )


def test_a_row_that_is_over_stays_as_it_is():
    model = SoloPongWorldModel()
    state = starts(model)
    for _ in range(40):
        step = model.step(state, np.full(14, LEFT), rng=RNG)
        state = step.state
    again = model.step(state, np.full(14, RIGHT), rng=RNG)
    assert state.over.all() and again.terminated.all() and not again.reward.any()
    assert rows_of(again.state) == rows_of(state)


def test_it_keeps_the_protocol_and_is_an_environment(tmp_path):
    check_world_model(SoloPongWorldModel(), steps=30, rows=9)
    gymnasium.register(
        "SoloPong-v0", lambda **options: WorldModelEnv(SoloPongWorldModel(), **options)
    )
    env = gymnasium.make("SoloPong-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    first = {env.reset(seed=seed)[0].tobytes() for seed in range(60)}
    assert len(first) == 8 and env.unwrapped.get_action_meanings() == ["NOOP", "RIGHT", "LEFT"]
    del gymnasium.registry["SoloPong-v0"]
    real = WorldModelVectorEnv(SoloPongWorldModel(), 2, start=WorldModelEnv(SoloPongWorldModel()))
    assert real.reset(seed=0)[0].shape == (2, 64, 64, 3)
    model = SoloPongWorldModel(rows=5, columns=6, cell_px=4, num_returns=2)
    sizes = {"rows": 5, "columns": 6, "cell_px": 4, "num_returns": 2}
    config = {
        **sizes,
        "action_names": list(model.action_names),
        "frame_skip": 1,
        "reward_transform": "none",
    }
    loaded = load_world_model(
        save_checkpoint(tmp_path / "pong", kind="solo-pong", config=config, start=model.start)
    )
    assert isinstance(loaded, SoloPongWorldModel) and vars(loaded).keys() == vars(model).keys()
    check_world_model(loaded)
    wrong = save_checkpoint(tmp_path / "wrong", kind="solo-pong", config={**config, "rows": "5"})
    with pytest.raises(ConfigError, match="whole numbers"):
        load_world_model(wrong)


def test_what_is_no_picture_of_it_is_refused():
    model = SoloPongWorldModel()
    with pytest.raises(ConfigError, match="no ball"):
        model.init(np.zeros((1, 1, 64, 64, 3), np.uint8), np.zeros((1, 0)), rng=RNG)
    standing = model.start.observations[:, [0, 0]]
    with pytest.raises(ConfigError, match="successive"):
        model.init(standing, model.start.actions, rng=RNG)
    for wrong in (
        {"rows": 2},
        {"columns": 2},
        {"cell_px": 0},
        {"num_returns": 0},
        {"rows": 4, "columns": 8},
    ):
        with pytest.raises(ConfigError):
            SoloPongWorldModel(**wrong)
