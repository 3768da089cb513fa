import gymnasium
import numpy as np
import pytest

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError
from atari_vlm.games import game_names
from atari_vlm.trees import concat_rows, take_rows
from atari_vlm.world_models import EmulatorWorldModel
from atari_vlm.world_models.emulator import INEXACT

RNG = np.random.default_rng(0)


def make(game, **options):
    env = AtariVLMEnvironment(
        f"{game}-v5", repeat_action_probability=0.0, resize_shape=None, **options
    )
    env.reset(seed=3)
    return env


def state_of(model, rows=1):
    return model.init(np.zeros((rows, 1)), np.zeros((rows, 0)), rng=RNG)


def real_digest(ale):
    return ale.getRAM().tobytes(), ale.getScreen().tobytes()


def model_digest(model, state):
    """RAM and last emulator frame of the one row."""
    model.digest(state)  # the second emulator stands there now
    return real_digest(model._twin.ale)


def check_exact(game, *, blocks=2, steps=12):
    """The model steps as the game does, whatever branches are tried in between."""
    env = make(game)
    model, rng = EmulatorWorldModel(env), np.random.default_rng(0)
    n = env.action_space.n
    for _ in range(blocks):
        for action in rng.integers(n, size=20):
            if env.step(int(action))[2]:
                env.reset(seed=4)
        state = state_of(model)
        for action in rng.integers(n, size=steps):
            others = model.step(concat_rows([state, state]), rng.integers(n, size=2), rng=RNG)
            step = model.step(state, np.array([action]), rng=RNG)
            _, reward, terminated, _, info = env.step(int(action))
            assert step.reward[0] == reward and step.terminated[0] == terminated, game
            assert step.state.lives[0] == info["lives"], game
            assert model_digest(model, step.state) == real_digest(env.unwrapped.ale), game
            assert len(others.reward) == 2
            if terminated:
                break
            state = step.state
        check_repeats(model, n, rng)


def check_repeats(model: EmulatorWorldModel, n: int, rng: np.random.Generator) -> None:
    """The same actions from one state twice, with other play in between, lead through the same states."""
    start, actions = state_of(model), rng.integers(n, size=12)
    passes = []
    for played in (actions, rng.integers(n, size=9), actions):
        state, digests = start, []
        for action in played:
            state = model.step(state, np.array([action]), rng=RNG).state
            digests += model.digest(state)
        passes.append(digests)
    assert passes[0] == passes[2]


@pytest.mark.parametrize("game", ["Pong", "Breakout", "MsPacman", "KingKong"])
def test_the_model_is_exact(game):
    check_exact(game)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("game", sorted(set(game_names()) - set(INEXACT)))
def test_the_model_is_exact_in_every_game(game):
    """``python -m pytest -m slow tests/world_models/test_emulator.py``"""
    check_exact(game, blocks=6, steps=60)


def test_steps_are_pure_and_rows_independent():
    env = make("Breakout")
    model = EmulatorWorldModel(env)
    before = real_digest(env.unwrapped.ale)
    state = state_of(model, 3)
    first = model.step(state, np.array([1, 2, 3]), rng=RNG)
    again = model.step(state, np.array([1, 2, 3]), rng=RNG)
    assert model.digest(first.state) == model.digest(again.state)
    alone = model.step(take_rows(state, [1]), np.array([2]), rng=RNG)
    assert model.digest(alone.state) == [model.digest(first.state)[1]]
    assert real_digest(env.unwrapped.ale) == before


@pytest.mark.parametrize(
    ("game", "lives"),
    [("Breakout", False), ("Breakout", True), ("Pong", False), ("MsPacman", True)],
)
def test_a_rollout_is_stepping(game, lives):
    env = make(game)
    model, rng = EmulatorWorldModel(env, end_on_life_loss=lives), np.random.default_rng(1)
    state, plans = state_of(model, rows=3), rng.integers(env.action_space.n, size=(3, 60))
    rolled = model.rollout(state, plans, rng=RNG)
    again = model.rollout(state, plans[::-1], rng=RNG)
    stepped, rewards, ended = state, [], []
    for actions in plans.T:
        step = model.step(stepped, actions, rng=RNG)
        stepped = step.state
        rewards.append(step.reward)
        ended.append(step.terminated)
    assert np.array_equal(rolled.reward, np.stack(rewards, 1)) and np.array_equal(
        again.reward, rolled.reward[::-1]
    )
    assert np.array_equal(rolled.terminated, np.stack(ended, 1)) and rolled.terminated.any() == (
        lives and game == "Breakout"
    )
    assert model.digest(rolled.state) == model.digest(stepped) == model.digest(again.state)[::-1]
    assert np.array_equal(model.decode(rolled.state), model.decode(stepped))
    assert np.array_equal(rolled.state.lives, stepped.lives) and np.array_equal(
        rolled.state.over, stepped.over
    )


def test_a_refused_action_leaves_the_model_whole():
    model = EmulatorWorldModel(make("Breakout"))
    state = state_of(model)
    before = model.rollout(state, np.array([[1, 2, 3]]), rng=RNG).reward
    with pytest.raises(ConfigError, match="0 to 3"):
        model.rollout(state, np.array([[1, 2, 9]]), rng=RNG)
    digest = model.digest(model.rollout(state, np.array([[1, 2, 3]]), rng=RNG).state)
    assert digest == model.digest(
        EmulatorWorldModel.rollout(model, state, np.array([[1, 2, 3]]), rng=RNG).state
    )
    assert np.array_equal(model.rollout(state, np.array([[1, 2, 3]]), rng=RNG).reward, before)


def test_the_decoded_picture_is_the_environments():
    env = make("Pong", image_format="numpy")
    model = EmulatorWorldModel(env)
    state = state_of(model)
    for action in (2, 3, 2, 0, 3):
        state = model.step(state, np.array([action]), rng=RNG).state
        observation, *_ = env.step(action)
        assert (model.decode(state)[0] == observation["image"]).all()
        assert model.observation_space.contains(model.decode(state)[0])


def test_a_lost_life_can_be_the_end():
    env = make("Breakout")
    model = EmulatorWorldModel(env, end_on_life_loss=True)
    state = state_of(model)
    for _ in range(60):
        step = model.step(state, np.array([1]), rng=RNG)
        state = step.state
        if step.terminated[0]:
            break
    assert step.terminated[0] and state.lives[0] == 4
    after = model.step(state, np.array([1]), rng=RNG)
    assert (
        after.terminated[0]
        and after.reward[0] == 0
        and model.digest(after.state) == model.digest(state)
    )


def test_ales_own_environment_will_do():
    env = gymnasium.make("ALE/Boxing-v5", repeat_action_probability=0.0)
    env.reset(seed=0)
    model = EmulatorWorldModel(env)
    step = model.step(state_of(model), np.array([5]), rng=RNG)
    _, reward, *_ = env.step(5)
    assert step.reward[0] == reward and model_digest(model, step.state) == real_digest(
        env.unwrapped.ale
    )


def test_what_cannot_be_exact_is_refused():
    with pytest.raises(ConfigError, match="repeat_action_probability"):
        EmulatorWorldModel(AtariVLMEnvironment("Pong-v5"))
    with pytest.raises(ConfigError, match="TicTacToe3D"):
        EmulatorWorldModel(make("TicTacToe3D"))
    with pytest.raises(ConfigError, match="no ALE emulator"):
        EmulatorWorldModel(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize("game", INEXACT)
def test_games_whose_snapshots_are_not_exact_are_refused(game):
    with pytest.raises(ConfigError, match="not exact"):
        EmulatorWorldModel(make(game))
