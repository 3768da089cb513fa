"""What people put on top of an environment: gymnasium's wrappers, torchrl, stable-baselines3."""

import importlib.util
import sys
import types
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers

from atari_vlm.errors import ConfigError
from atari_vlm.pil_images import to_image

IMAGE, FRAMES = "image", "frames"


def array_of(env, key):
    return wrappers.TransformObservation(
        env, lambda observation: observation[key], env.observation_space[key]
    )


ON_THE_DICTIONARY = {
    "FilterObservation": lambda env: wrappers.FilterObservation(env, [IMAGE, "text"]),
    "FlattenObservation": lambda env: wrappers.FlattenObservation(
        wrappers.FilterObservation(env, [IMAGE, FRAMES, "text"])
    ),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 2),
    "FrameStackObservation, zeros": lambda env: wrappers.FrameStackObservation(
        env, 2, padding_type="zero"
    ),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, delay=2),
    "TimeAwareObservation": lambda env: wrappers.TimeAwareObservation(env, flatten=False),
    "AddRenderObservation": lambda env: wrappers.AddRenderObservation(env, render_only=False),
    "AddRenderObservation, alone": wrappers.AddRenderObservation,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.2),
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 2),
    "ClipReward": lambda env: wrappers.ClipReward(env, -1, 1),
    "Autoreset": wrappers.Autoreset,
    "RenderCollection": wrappers.RenderCollection,
}
ON_AN_ARRAY = {
    "GrayscaleObservation": lambda env: wrappers.GrayscaleObservation(array_of(env, IMAGE)),
    "ResizeObservation": lambda env: wrappers.ResizeObservation(array_of(env, IMAGE), (42, 42)),
    "ReshapeObservation": lambda env: wrappers.ReshapeObservation(
        array_of(env, FRAMES), (4, 84 * 84 * 3)
    ),
    "RescaleObservation": lambda env: wrappers.RescaleObservation(
        wrappers.DtypeObservation(array_of(env, IMAGE), np.float32), np.float32(0), np.float32(1)
    ),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(array_of(env, IMAGE), np.int16),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(array_of(env, IMAGE), 3),
    "MaxAndSkipObservation": lambda env: wrappers.MaxAndSkipObservation(array_of(env, IMAGE), 2),
    "NormalizeObservation": lambda env: wrappers.NormalizeObservation(array_of(env, IMAGE)),
}


def drive(env):
    """Reset and two steps; every observation belongs to the space."""
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    for _ in range(2):
        assert env.step(1)[0] in env.observation_space


@pytest.fixture(scope="module")
def plain():
    """One environment for all wrappers: they are put around it in turn."""
    env = gymnasium.make("AtariVLM/Pong-v5", resize_shape=(84, 84))
    yield env
    env.close()


@pytest.fixture(scope="module")
def arrays():
    env = gymnasium.make("AtariVLM/Pong-v5", resize_shape=(84, 84), image_format="numpy")
    yield env
    env.close()


@pytest.mark.parametrize("name", ON_THE_DICTIONARY)
def test_wrappers_on_the_dictionary(plain, name):
    drive(ON_THE_DICTIONARY[name](plain))


@pytest.mark.parametrize("name", ON_AN_ARRAY)
def test_wrappers_on_an_array(arrays, name):
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*precision lowered by casting.*"
        )  # gymnasium's own, about its float bounds
        drive(ON_AN_ARRAY[name](arrays))


def test_a_stack_of_wrappers_survives_its_spec(plain):
    env = wrappers.TimeLimit(
        wrappers.FrameStackObservation(wrappers.FilterObservation(plain, [IMAGE]), 2), 5
    )
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    assert np.array_equal(env.reset(seed=2)[0][IMAGE], again.reset(seed=2)[0][IMAGE])
    again.close()


def test_episode_statistics(make):
    env = wrappers.RecordEpisodeStatistics(make("AtariVLM/Freeway-v5", max_episode_steps=5))
    env.reset(seed=0)
    infos = [env.step(1)[4] for _ in range(5)]
    assert (
        infos[-1]["episode"]["l"] == 5 and infos[-1]["episode"]["r"] == infos[-1]["episode_reward"]
    )


@pytest.mark.skipif(
    importlib.util.find_spec("moviepy") is None, reason="gymnasium's RecordVideo needs moviepy"
)
def test_record_video(make, tmp_path):
    env = wrappers.RecordVideo(
        make(max_episode_steps=5), str(tmp_path / "videos"), episode_trigger=lambda episode: True
    )
    env.reset(seed=0)
    for _ in range(5):
        env.step(0)
    env.close()
    assert [path.suffix for path in tmp_path.glob("videos/*.mp4")] == [".mp4"]


def test_frames_that_a_video_recorder_takes(make):
    env = wrappers.RenderCollection(make(max_episode_steps=5))
    env.reset(seed=0)
    for _ in range(5):
        env.step(0)
    frames = env.render()
    assert len(frames) == 6 and all(
        frame.shape == (210, 160, 3) and frame.dtype == np.uint8 for frame in frames
    )
    assert env.metadata["render_fps"] == 15


def test_images_become_message_parts(plain):
    observation, _ = plain.reset(seed=0)
    assert to_image(observation[IMAGE]) == to_image(observation[FRAMES][-1])


def test_stable_baselines3_accepts_the_array_keys(make):
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env

    env = wrappers.FilterObservation(
        make(image_format="numpy", resize_shape=(84, 84), frame_stack=2), [IMAGE]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=8, n_epochs=1, device="cpu", seed=0)
    model.learn(total_timesteps=32)
    assert model.num_timesteps == 32


def test_torchrl_accepts_the_numpy_flavour(make):
    pytest.importorskip("torchrl")
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    env = GymWrapper(make(image_format="numpy", resize_shape=(60, 50), prompt_type="basic"))
    check_env_specs(env)
    rollout = env.rollout(3)
    assert rollout[FRAMES].shape == (3, 4, 60, 50, 3)


@pytest.fixture
def minari(tmp_path, monkeypatch):
    """Minari with a folder of its own; its collector wants one function of jax, which torch has too."""
    minari = pytest.importorskip("minari")
    pytree = pytest.importorskip("torch.utils._pytree")
    jax = types.SimpleNamespace(tree_util=types.SimpleNamespace(tree_map=pytree.tree_map))
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setitem(sys.modules, "jax.tree_util", jax.tree_util)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return minari


@pytest.mark.parametrize("env_id", ["AtariVLM/Pong-v5", "AtariVLM/Breakout-cot-v5"])
@pytest.mark.filterwarnings("ignore:.*(code_permalink|author|eval_env|description|requirements)")
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # the collector's temporary folders
def test_minari_records_and_reads_our_ids(minari, env_id):
    env = gymnasium.make(env_id, image_format="numpy", resize_shape=(84, 84), max_episode_steps=4)
    collector = minari.DataCollector(env, record_infos=True, jpeg_encoding=False)
    observed = [collector.reset(seed=3)[0]]
    observed += [collector.step(np.array(action))[0] for action in (0, 2, 3, 1)]
    collector.create_dataset("ours/random-v0", algorithm_name="random")
    collector.close()
    dataset = minari.load_dataset("ours/random-v0")
    episode = next(iter(dataset.iterate_episodes()))
    assert (
        dataset.total_steps == 4
        and episode.actions.tolist() == [0, 2, 3, 1]
        and episode.truncations[-1]
    )
    for name, values in episode.observations.items():
        assert all(
            np.array_equal(value, one[name]) for value, one in zip(values, observed, strict=True)
        ), name
    again = dataset.recover_environment()
    assert again.observation_space == env.observation_space
    assert again.reset(seed=3)[0]["text"] == episode.observations["text"][0]


def test_minari_takes_no_pil_images(minari):
    from minari.serialization import serialize_space

    with pytest.raises(ConfigError, match="image_format='numpy'"):
        serialize_space(gymnasium.make("AtariVLM/Pong-v5").observation_space)
