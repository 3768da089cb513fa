"""What an environment shows, as named arrays: names, kinds, values and refusals."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple

from atari_vlm.errors import MismatchError, UnknownNameError
from atari_vlm.world_models.inputs import described, inputs_of, read_inputs

CAMERA = Box(0, 255, (8, 6, 3), np.uint8)
GRAY = Box(0, 255, (8, 6), np.uint8)
ANGLES = Box(-np.inf, np.inf, (4,), np.float64)


def columns(space, keys=()):
    return {name: part.column for name, part in inputs_of(space, "the game", keys).items()}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (CAMERA, "image uint8 (8, 6, 3)"),
        (GRAY, "image uint8 (8, 6, 1)"),
        (ANGLES, "state float32 (4,)"),
        (Discrete(5), "state int64 ()"),
        (Dict(eye=CAMERA, joints=ANGLES), "image uint8 (8, 6, 3), state float32 (4,)"),
        (Dict(left=GRAY, right=GRAY), "left uint8 (8, 6, 1), right uint8 (8, 6, 1)"),
        (Dict(robot=Dict(a=ANGLES, b=ANGLES)), "robot/a float32 (4,), robot/b float32 (4,)"),
        (Tuple((GRAY, ANGLES, ANGLES)), "image uint8 (8, 6, 1), 1 float32 (4,), 2 float32 (4,)"),
        (Dict(says=Text(9, charset="aé")), "text uint8 (18,)"),
        (Box(0, 255, (8, 6, 40), np.uint8), "state uint8 (8, 6, 40)"),
    ],
)
def test_the_only_one_of_its_kind_has_the_name_of_its_kind(space, words):
    assert described(columns(space)) == words


def test_named_parts_are_those_that_are_asked_for():
    space = Dict(left=GRAY, right=GRAY, joints=ANGLES)
    assert list(columns(space, ("right",))) == ["image"]
    assert list(columns(space, ("right", "left"))) == ["right", "left"]
    with pytest.raises(UnknownNameError, match="joints"):
        columns(space, ("joint",))


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (Dict(image=ANGLES, picture=GRAY), ["state", "picture"]),
        (Dict(image=ANGLES, b=ANGLES, text=GRAY, says=Text(3)), ["image", "b", "text", "says"]),
        (Dict(state=GRAY, image=ANGLES), ["state", "image"]),
    ],
)
def test_no_part_takes_the_key_of_another(space, names):
    assert list(columns(space)) == names


@pytest.mark.parametrize("space", [Dict({}), gymnasium.spaces.Graph(ANGLES, None), Box(0, 1, (0,))])
def test_a_game_that_shows_nothing_is_refused(space):
    with pytest.raises(
        MismatchError, match="the game shows neither pictures nor numbers nor texts"
    ):
        inputs_of(space, "the game")


def read(space, observation, keys=()):
    parts = inputs_of(space, "the game", keys)
    return {name: part.read(observation, part.column, "the game") for name, part in parts.items()}


def test_values_of_a_space_and_of_a_bare_observation_are_read_alike():
    space = Dict(eye=GRAY, robot=Dict(joints=ANGLES), says=Text(6))
    space.seed(3)
    for _ in range(5):
        observation = space.sample()
        one = read(space, observation)
        other = read_inputs(observation, columns(space), "the game")
        assert one.keys() == other.keys() == {"image", "state", "text"}
        assert all(np.array_equal(one[name], other[name]) for name in one)
        assert bytes(one["text"]).rstrip(b"\0").decode() == observation["says"]
        assert np.array_equal(one["image"][..., 0], observation["eye"])


def test_what_is_read_is_a_copy():
    angles = np.zeros(4)
    state = read(ANGLES, angles)["state"]
    angles[:] = 7
    assert not state.any() and state.dtype == np.float32


@pytest.mark.parametrize(
    ("space", "observation", "sentence"),
    [
        (Dict(a=ANGLES), {"b": np.zeros(4)}, "shows no a, which its observation space has"),
        (ANGLES, np.array([0, 0, np.nan, 0]), "the game"),
        (ANGLES, np.zeros(3), "the game"),
        (Text(3), "four", "a text of at most 3 bytes, got 'four'"),
        (Text(3), 7, "a text of at most 3 bytes, got 7"),
        (Tuple((ANGLES,)), (), "shows no 0"),
    ],
)
def test_an_observation_that_is_not_of_its_space_is_refused(space, observation, sentence):
    with pytest.raises(MismatchError, match=sentence):
        read(space, observation)


def test_a_model_that_needs_more_than_is_shown_says_so():
    with pytest.raises(
        MismatchError, match=r"shows state float64|shows state float32 \(4,\), no image"
    ):
        read_inputs({"joints": np.zeros(4)}, {"image": columns(GRAY)["image"]}, "the game")
    with pytest.raises(MismatchError, match="made of pictures, numbers and texts, got object"):
        read_inputs({"a": object()}, columns(ANGLES), "the game")


def test_entries_may_be_called_by_their_own_keys():
    space = Dict({"camera": Box(0, 255, (8, 8, 3), np.uint8), "say": Text(3)})
    assert list(inputs_of(space, "a game")) == ["image", "text"]
    assert list(inputs_of(space, "a game", own_keys=True)) == ["camera", "say"]
    assert list(inputs_of(space["camera"], "a game", own_keys=True)) == ["image"]
