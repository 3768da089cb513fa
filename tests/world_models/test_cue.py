"""The cue game is exact: only the first text tells, the choice comes later, and it keeps every promise of a world model."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from atari_vlm.checker import check_world_model
from atari_vlm.errors import ConfigError
from atari_vlm.world_models import CueWorldModel, load_world_model, save_checkpoint
from atari_vlm.world_models.cue import DOORS
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

RNG = np.random.default_rng(0)


def starts(model):
    return model.init(model.start.observations, model.start.actions, rng=RNG)


@pytest.mark.parametrize("delay", [0, 1, 4, 16])
def test_the_choice_counts_once_and_late(delay):
    model = CueWorldModel(delay)
    for opened in range(4):
        state, rewards = starts(model), []
        for t in range(delay + 3):
            action = np.full(4, opened if t == delay else (opened + t) % 4)
            step = model.step(state, action, rng=RNG)
            state = step.state
            rewards.append(step.reward.tolist())
            assert step.terminated.tolist() == [t >= delay] * 4
        assert rewards[delay] == [float(opened == door) for door in range(4)]
        assert not np.any(rewards[:delay] + rewards[delay + 1 :])


def test_only_the_first_text_tells():
    model = CueWorldModel(3, cell_px=2)
    state = starts(model)
    assert model.decode(state)["text"].tolist() == ["red", "blue", "green", "yellow"] == list(DOORS)
    pictures = []
    for _ in range(6):
        shown = model.decode(state)
        pictures += list(shown["image"])
        state = model.step(state, np.array([3, 1, 0, 2]), rng=RNG).state
        assert model.decode(state)["text"].tolist() == [""] * 4
    assert all((picture == pictures[0]).all() for picture in pictures)
    assert pictures[0].shape == (8, 8, 3) and len(np.unique(pictures[0][4], axis=0)) == 4


def test_a_blind_player_earns_a_quarter_and_one_that_reads_everything():
    model = CueWorldModel(4)
    env = WorldModelEnv(model)
    returns = {"blind": [], "reads": []}
    for player in returns:
        for seed in range(80):
            observation, _ = env.reset(seed=seed)
            cue, total, over = observation["text"], 0.0, False
            while not over:
                action = 2 if player == "blind" else DOORS.index(cue)
                _, reward, over, truncated, _ = env.step(action)
                total += reward
                assert not truncated
            returns[player].append(total)
    assert np.mean(returns["reads"]) == 1 and 0.1 < np.mean(returns["blind"]) < 0.4


@pytest.mark.parametrize("delay", [0, 2, 7])
def test_it_keeps_the_protocol(delay):
    check_world_model(CueWorldModel(delay), rows=9, steps=6)


def test_it_is_an_environment_and_a_vector_of_them():
    check_env(WorldModelEnv(CueWorldModel(), render_mode="rgb_array"), skip_render_check=True)
    many = WorldModelVectorEnv(CueWorldModel(2), 3)
    observation, _ = many.reset(seed=0)
    assert observation["image"].shape == (3, 32, 32, 3) and set(observation["text"]) <= set(DOORS)


def test_a_context_tells_the_time():
    model = CueWorldModel(2)
    state = starts(model)
    seen = [model.decode(state)]
    for t in range(4):
        action = np.zeros(4, np.int64)
        state = model.observe(state, action, None, rng=RNG)
        seen.append(model.decode(state))
        context = {name: np.stack([one[name] for one in seen], 1) for name in seen[0]}
        read = model.init(context, np.zeros((4, t + 1), np.int64), rng=RNG)
        assert all((vars(read)[name] == value).all() for name, value in vars(state).items())
    with pytest.raises(ConfigError, match="begins with the name of a door"):
        model.init(
            {name: value[:, 1:] for name, value in context.items()}, action[:, None], rng=RNG
        )


def test_it_comes_back_from_a_checkpoint(tmp_path):
    model = CueWorldModel(6, cell_px=4)
    config = {
        "delay": 6,
        "cell_px": 4,
        "action_names": list(model.action_names),
        "frame_skip": 1,
        "reward_transform": "none",
    }
    folder = save_checkpoint(tmp_path / "cue", kind="cue", config=config, start=model.start)
    loaded = load_world_model(folder)
    assert isinstance(loaded, CueWorldModel) and loaded.delay == 6
    assert loaded.observation_space == model.observation_space
    config["delay"] = "6"
    folder = save_checkpoint(tmp_path / "odd", kind="cue", config=config, start=model.start)
    with pytest.raises(ConfigError, match="cue game has whole numbers for delay, cell_px"):
        load_world_model(folder)


@pytest.mark.parametrize(
    "sizes", [{"delay": -1}, {"delay": 1.5}, {"delay": 10**9}, {"cell_px": 0}, {"cell_px": 10**6}]
)
def test_sizes_that_are_none(sizes):
    with pytest.raises(ConfigError):
        CueWorldModel(**sizes)
