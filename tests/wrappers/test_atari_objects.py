"""AtariObjects: the objects of a game beside the observation."""

import itertools
import pickle
import warnings

import ale_py
import gymnasium
import numpy as np
import pytest
from colour_env import ColourEnv, assert_same
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.objects.tables import TABLES
from atari_vlm.wrappers import AtariObjects

gymnasium.register_envs(ale_py)
both = pytest.mark.parametrize("base", ["ALE/Pong-v5", "AtariVLM/Pong-v5"])


@both
def test_observations_are_unchanged(base):
    plain, wrapped = gymnasium.make(base), AtariObjects(gymnasium.make(base))
    assert wrapped.observation_space == plain.observation_space
    assert_same(plain.reset(seed=1)[0], wrapped.reset(seed=1)[0])
    for action in (0, 2, 3, 1):
        one, other = plain.step(action), wrapped.step(action)
        assert_same(one[0], other[0])
        assert one[1:4] == other[1:4]
        assert other[4].keys() - one[4].keys() == {"objects", "object_table"}


@pytest.mark.parametrize("skip", [1, 4])
def test_boxes_lie_on_the_last_frame(skip):
    env = AtariObjects(gymnasium.make("AtariVLM/Pong-v5", frame_skip=skip))
    assert env.metadata["privileged"] is True
    env.reset(seed=0)
    for step in range(240 // skip):
        info = env.step(step % 6)[4]
        screen = env.unwrapped.ale.getScreen()
        for one in info["objects"]:
            if one.name == "your paddle" and step > 60 // skip:
                left, top, right, bottom = one.box
                assert (screen[top:bottom, left:right] == 200).mean() > 0.9


def test_the_table_says_what_the_objects_say():
    env = AtariObjects(gymnasium.make("ALE/Pong-v5"))
    _, info = env.reset(seed=0)
    size = info["object_table"].shape
    for _ in range(60):
        info = env.step(2)[4]
        row = dict(zip(env.columns, info["object_table"], strict=True))
        for one in info["objects"]:
            assert (row[f"{one.name}.x"], row[f"{one.name}.dy"]) == (one.x, np.float32(one.dy))
        assert info["object_table"].shape == size


def test_motion_is_in_pixels_a_frame():
    env = AtariObjects(gymnasium.make("ALE/Freeway-v5", repeat_action_probability=0.0))
    env.reset(seed=0)
    places = []
    for _ in range(20):
        info = env.step(1)[4]
        places.append({one.name: one for one in info["objects"]})
    chicken = [place["your chicken"] for place in places]
    for before, now in itertools.pairwise(chicken):
        assert now.dy == (now.y - before.y) / 4
    assert min(one.dy for one in chicken) < 0
    assert places[-1]["car in lane 1"].dx == 0.2 and places[-1]["car in lane 6"].dx == -1.0


@both
def test_check_env_has_nothing_to_say(base):
    env = AtariObjects(gymnasium.make(base))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    texts = [str(warning.message) for warning in said]
    assert [text for text in texts if "different from the unwrapped version" not in text] == []


@pytest.mark.parametrize("game", ["Boxing", "MontezumaRevenge"])
def test_spec_and_pickle(game):
    env = AtariObjects(gymnasium.make(f"AtariVLM/{game}-v5"))
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    copy = pickle.loads(pickle.dumps(env))
    for other in (again, copy):
        assert_same(env.reset(seed=3)[1]["object_table"], other.reset(seed=3)[1]["object_table"])


def test_without_table_or_emulator_it_is_refused():
    with pytest.raises(UnknownNameError) as error:
        AtariObjects(gymnasium.make("ALE/Alien-v5"))
    assert all(game in str(error.value) for game in TABLES)

    class Pong(ColourEnv):
        game_name = "Pong"

    with pytest.raises(ConfigError, match="emulator"):
        AtariObjects(Pong())
