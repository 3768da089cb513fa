import numpy as np
import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.world_models import CatchWorldModel

RNG = np.random.default_rng(0)


def starts(model):
    return model.init(model.start.observations, model.start.actions, rng=RNG)


def test_a_paddle_that_never_moves_catches_one_ball_in_columns():
    model = CatchWorldModel()
    state, total = starts(model), np.zeros(8)
    for t in range(7):
        step = model.step(state, np.zeros(8, int), rng=RNG)
        state, total = step.state, total + step.reward
        assert step.terminated.all() == (t == 6)
    assert total.tolist() == [1.0 if column == 4 else -1.0 for column in range(8)]


def test_moves_and_walls():
    model = CatchWorldModel()
    state = starts(model)
    for _ in range(6):
        state = model.step(state, np.array([1, 2] * 4), rng=RNG).state
    assert state.paddle.tolist() == [7, 0] * 4


def test_pictures_say_everything_while_the_ball_is_in_the_air():
    model = CatchWorldModel(rows=6, columns=5, cell_px=3)
    state = starts(model)
    for _ in range(4):
        state = model.step(state, RNG.integers(3, size=5), rng=RNG).state
        read = model.init(model.decode(state)[:, None], np.zeros((5, 0)), rng=RNG)
        assert (read.ball_row == state.ball_row).all() and (
            read.ball_column == state.ball_column
        ).all()
        assert (read.paddle == state.paddle).all()


def test_a_step_changes_nothing_it_was_given():
    model = CatchWorldModel(num_balls=2)
    state = starts(model)
    copies = [leaf.copy() for leaf in vars(state).values()]
    model.step(state, np.ones(8, int), rng=RNG)
    assert all(
        (leaf == copy).all() for leaf, copy in zip(vars(state).values(), copies, strict=True)
    )


def test_several_balls_fall_one_after_the_other():
    model = CatchWorldModel(rows=4, num_balls=3)
    state, ends = starts(model), []
    for _ in range(12):
        step = model.step(state, np.zeros(8, int), rng=RNG)
        state = step.state
        ends.append(step.terminated.copy())
    assert (
        not np.array(ends[:8]).any()
        and ends[8].all()
        and ends[11].all()
        and step.reward.tolist() == [0] * 8
    )


def test_what_is_no_picture_of_catch_is_refused():
    model = CatchWorldModel()
    with pytest.raises(ConfigError):
        model.init(np.zeros((1, 1, 64, 64, 3), np.uint8), np.zeros((1, 0)), rng=RNG)
    for wrong in ({"rows": 2}, {"columns": 1}, {"cell_px": 0}, {"num_balls": 0}):
        with pytest.raises(ConfigError):
            CatchWorldModel(**wrong)
