"""A Dreamer of pictures, numbers and texts as a gymnasium environment, alone and in rows."""

import numpy as np
import pytest
import torch
from dreamers import PICTURE, STATE, TWO, small
from gymnasium.spaces import Dict
from gymnasium.utils.env_checker import check_env

from atari_vlm.spaces import text_space
from atari_vlm.trees import texts
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.dreamer.config import LanguageConfig
from atari_vlm.world_models.dreamer.model import new_model
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

SPACE = Dict({"camera": PICTURE, "joints": STATE, "said": text_space(8)})


@pytest.fixture
def model():
    words = LanguageConfig("words", words=("left", "right"), width=8)
    made = new_model(small(language=words), SPACE, TWO, seed=0)
    torch.nn.init.constant_(made.networks.goes_on[-1].bias, 50.0)  # no end by chance
    rng = np.random.default_rng(0)
    seen = {
        "camera": rng.integers(256, size=(3, 1, 16, 16, 3), dtype=np.uint8),
        "joints": rng.normal(size=(3, 1, 3)).astype(np.float32),
        "said": texts(["left", "right", ""])[:, None],
    }
    made.start = StartFrames(seen, np.zeros((3, 0), np.int64))
    return made


def played(env, actions, seed=5):
    """What is seen on the way, in plain form."""
    seen, infos = [env.reset(seed=seed)[0]], []
    for action in actions:
        observation, reward, *_, info = env.step(action)
        seen.append({**observation, "reward": reward})
        infos.append(info["imagined_text"])
    return [
        {name: np.asarray(value).tolist() for name, value in each.items()} for each in seen
    ], infos


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.* value")  # numbers have no bounds
def test_it_passes_the_environment_checker(model):
    """D18: pixels, a vector and texts in one Dict."""
    env = WorldModelEnv(model, max_episode_steps=6)
    assert set(env.observation_space.spaces) == {"camera", "joints", "said"}
    check_env(env, skip_render_check=True)


def test_a_seed_gives_one_dream(model):
    """D18: seeds are deterministic."""
    first = played(WorldModelEnv(model, max_episode_steps=9), [3, 4, 3, 3])
    assert first == played(WorldModelEnv(model, max_episode_steps=9), [3, 4, 3, 3])
    assert first != played(WorldModelEnv(model, max_episode_steps=9), [3, 4, 3, 3], seed=6)
    assert first[1] == [each["said"] for each in first[0][1:]]


def test_rows_of_dreams_are_observations_of_the_space(model):
    """D18: the vector form."""
    env = WorldModelVectorEnv(model, 4, max_episode_steps=9)
    seen, infos = played(env, [np.array([3, 4, 3, 4])] * 3)
    assert [len(row["said"]) for row in seen] == [4] * 4 and infos[-1] == seen[-1]["said"]
    assert np.array(seen[0]["camera"]).shape == (4, 16, 16, 3)
    assert seen == played(env, [np.array([3, 4, 3, 4])] * 3)[0]
