import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

from atari_vlm.errors import ConfigError
from atari_vlm.space_json import space_from_json, space_to_json

SPACES = [
    Discrete(3),
    Discrete(2, start=-5),
    Box(-1.5, 2.5, (3,), np.float32),
    Box(-np.inf, np.inf, (4,), np.float64),
    Box(np.float32([-4.8, -np.inf]), np.float32([4.8, np.inf])),
    Box(0, 255, (2, 3, 1), np.uint8),
    Box(0, 1, (), np.int64),
    MultiDiscrete([[3, 4], [5, 6]]),
    MultiDiscrete([3, 4], start=[1, 2]),
    MultiBinary(4),
    MultiBinary((2, 3)),
    Text(7, min_length=0, charset="abc \n"),
    Tuple((Discrete(32), Discrete(11), Discrete(2))),
    Dict({"z": Box(0, 5, (2,), np.int64), "a": Tuple((Discrete(2), Dict({"deep": Discrete(9)})))}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_survives_json(space):
    text = json.dumps(space_to_json(space), allow_nan=False)
    again = space_from_json(json.loads(text))
    assert again == space
    assert space_to_json(again) == space_to_json(space)


def test_the_bounds_of_cart_pole_are_exact():
    high = np.array([4.8, np.inf, 0.41887903, np.inf], np.float32)
    again = space_from_json(json.loads(json.dumps(space_to_json(Box(-high, high)))))
    assert isinstance(again, Box)
    np.testing.assert_array_equal(again.high, high)
    assert again.dtype == np.float32


def test_other_spaces_are_refused_by_name():
    with pytest.raises(ConfigError, match="a Sequence space cannot be written"):
        space_to_json(Sequence(Discrete(2)))


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {"space": "Grid"},
        {"space": "Discrete", "n": 0, "start": 0},
        {"space": "Discrete", "n": "3", "start": 0},
        {"space": "Discrete"},
        {"space": "Box", "low": 0, "high": 1, "shape": [1 << 40], "dtype": "float32"},
        {"space": "Box", "low": 0, "high": 1, "shape": [-1], "dtype": "float32"},
        {"space": "Box", "low": "nan", "high": 1, "shape": [1], "dtype": "float32"},
        {"space": "Box", "low": [0, 0], "high": 1, "shape": [3], "dtype": "float32"},
        {"space": "Box", "low": 2, "high": 1, "shape": [3], "dtype": "float32"},
        {"space": "Box", "low": 0, "high": 1, "shape": [3], "dtype": "object"},
        {"space": "Box", "low": 0, "high": 1, "shape": [3], "dtype": ["float32"]},
        {"space": "MultiBinary", "shape": "4"},
        {"space": "MultiDiscrete", "nvec": [0, 2], "start": 0, "shape": [2], "dtype": "int64"},
        {"space": "Text", "min_length": 0, "max_length": 3, "charset": 7},
        {"space": "Text", "min_length": 4, "max_length": 3, "charset": "ab"},
        {"space": "Tuple", "spaces": 3},
        {"space": "Dict", "spaces": [["a"]]},
        {"space": ["Box"]},
    ],
)
def test_what_is_no_space_is_refused_in_one_sentence(wrong):
    with pytest.raises(ConfigError) as refused:
        space_from_json(wrong, "the observation space")
    assert "\n" not in str(refused.value)


def test_a_space_is_not_nested_for_ever():
    nested = {"space": "Discrete", "n": 2, "start": 0}
    for _ in range(40):
        nested = {"space": "Tuple", "spaces": [nested]}
    with pytest.raises(ConfigError):
        space_from_json(nested)
