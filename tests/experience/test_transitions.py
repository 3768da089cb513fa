import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple

from atari_vlm.errors import ConfigError
from atari_vlm.experience import TransitionBuffer, read_buffer

VECTORS = Box(-np.inf, np.inf, (2,), np.float32)
CARDS = Tuple((Discrete(32), Discrete(11), Discrete(2)))
BOARD = Dict({"cells": Box(0, 9, (2, 2), np.int64), "bag": Discrete(4)})


def vectors(n=6, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(n, 2)),
        "actions": rng.integers(3, size=n),
        "rewards": rng.normal(size=n),
        "next_observations": rng.normal(size=(n, 2)),
        "terminated": np.arange(n) == 2,
        "truncated": np.arange(n) == n - 1,
    }
    about = {"env_id": "Toy-v0", "observation_space": VECTORS, "action_space": Discrete(3)}
    return TransitionBuffer(**{**arrays, **about, **changes})


def test_arrays_are_of_the_spaces_and_rewards_are_float64():
    buffer = vectors()
    assert len(buffer) == 6
    assert buffer.observations.dtype == np.float32
    assert buffer.actions.dtype == np.int64
    assert buffer.rewards.dtype == np.float64
    assert buffer.terminated.dtype == buffer.truncated.dtype == np.bool_
    assert buffer.trajectory_starts.tolist() == [0, 3]
    assert buffer.trajectories == (slice(0, 3), slice(3, 6))


def test_what_is_given_is_copied():
    observations = np.zeros((6, 2), np.float32)
    buffer = vectors(observations=observations)
    observations[:] = 7
    assert (buffer.observations == 0).all()


def test_continuous_actions_and_given_starts():
    box = Box(-2, 2, (1,), np.float32)
    buffer = vectors(actions=np.full((6, 1), 0.5), action_space=box, trajectory_starts=[0, 2, 3])
    assert buffer.actions.dtype == np.float32
    assert buffer.trajectory_starts.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("space", "observations"),
    [
        (CARDS, (np.arange(6), np.arange(6), np.ones(6, int))),
        (BOARD, {"cells": np.arange(24).reshape(6, 2, 2) % 9, "bag": np.arange(6) % 4}),
        (Discrete(3, start=5), np.arange(6) % 3 + 5),
        (VECTORS, np.full((6, 2), 0.1)),
    ],
    ids=["tuple", "dict", "discrete", "box"],
)
def test_a_buffer_survives_its_files(tmp_path, space, observations):
    changes = {"observations": observations, "next_observations": observations}
    buffer = vectors(
        observation_space=space,
        **changes,
        trajectory_starts=[0, 1, 3],
        provenance={"policy": "random", "seeds": (1, 2)},
    )
    path = buffer.save(tmp_path / "new", "train_buffer")
    assert path == tmp_path / "new" / "train_buffer.npz"
    again = read_buffer(path)
    assert again.observation_space == space
    assert again.action_space == buffer.action_space
    assert again.env_id == "Toy-v0"
    assert again.provenance == {"policy": "random", "seeds": [1, 2]}
    for name in "observations next_observations actions rewards terminated truncated trajectory_starts".split():
        _assert_same(getattr(buffer, name), getattr(again, name))


def _assert_same(first, second):
    if isinstance(first, tuple):
        first, second = dict(enumerate(first)), dict(enumerate(second))
    if isinstance(first, dict):
        assert list(first) == list(second)
        for name in first:
            _assert_same(first[name], second[name])
    else:
        np.testing.assert_array_equal(first, second)
        assert first.dtype == second.dtype


def test_rows_are_taken_with_their_trajectories():
    taken = vectors(8, trajectory_starts=[0, 4]).take([1, 2, 3, 4, 5, 7])
    assert taken.trajectory_starts.tolist() == [0, 3, 5]
    assert taken.rewards.tolist() == vectors(8).rewards[[1, 2, 3, 4, 5, 7]].tolist()
    cards = (np.arange(6), np.arange(6), np.zeros(6, int))
    pair = vectors(observation_space=CARDS, observations=cards, next_observations=cards)
    assert [part.tolist() for part in pair.take([4, 0]).observations] == [[4, 0], [4, 0], [0, 0]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": []}, "rewards"),
        ({"rewards": [[1.0]]}, "rewards"),
        ({"rewards": [0, 0, np.nan, 0, 0, 0]}, "row 2"),
        ({"rewards": np.zeros(5)}, "6 actions"),
        ({"actions": [0, 1, 2, 3, 0, 0]}, "actions"),
        ({"actions": np.zeros((6, 1), int)}, "one a row"),
        ({"observations": np.zeros((6, 3))}, "observations"),
        ({"observations": np.zeros((5, 2))}, "5 observations"),
        ({"observations": np.full((6, 2), np.nan)}, "NaN"),
        ({"observations": np.full((6, 2), "x")}, "observations"),
        ({"observations": np.full((6, 2), None)}, "observations"),
        ({"observation_space": CARDS}, "3 arrays"),
        ({"observation_space": BOARD}, "cells, bag|bag, cells"),
        ({"observation_space": Text(4)}, "numbers"),
        ({"observation_space": Discrete(2), "observations": np.arange(6)}, "Discrete"),
        ({"terminated": np.full(6, 2)}, "bool"),
        ({"truncated": np.zeros((6, 1))}, "bool"),
        ({"trajectory_starts": [1, 2]}, "ascend from 0"),
        ({"trajectory_starts": [0, 6]}, "ascend from 0"),
        ({"trajectory_starts": [0, 2, 2]}, "ascend from 0"),
        ({"trajectory_starts": []}, "ascend from 0"),
        ({"provenance": {"x": float("nan")}}, "JSON"),
        ({"provenance": {"x": object()}}, "JSON"),
        ({"env_id": ""}, "env_id"),
        ({"env_id": "a\nb"}, "env_id"),
        ({"action_space": Text(3)}, "Discrete"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(changes, words):
    with pytest.raises(ConfigError, match=words) as refused:
        vectors(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "con"])
def test_a_name_never_leaves_its_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot name a buffer"):
        vectors().save(tmp_path, name)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    first = vectors().save(tmp_path, "first")
    vectors(5).save(tmp_path, "second")
    (tmp_path / "second.json").replace(tmp_path / "first.json")
    with pytest.raises(ConfigError, match="the \\.json beside it"):
        read_buffer(first)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path, share):
    path = vectors().save(tmp_path, "buffer")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ConfigError) as refused:
        read_buffer(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "other"),
        ("version", 2),
        ("env_id", 3),
        ("env_id", None),
        ("observation_space", {"space": "Discrete", "n": 2, "start": 0}),
        ("observation_space", 0),
        ("action_space", {"space": "Discrete", "n": 1, "start": 0}),
        ("action_space", {"space": "Tuple", "spaces": []}),
        ("provenance", [1]),
        ("sha256", "0"),
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path, name, value):
    path = vectors().save(tmp_path, "buffer")
    about = json.loads((tmp_path / "buffer.json").read_text())
    (tmp_path / "buffer.json").write_text(json.dumps({**about, name: value}))
    with pytest.raises(ConfigError) as refused:
        read_buffer(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense", '{"format": "atari_vlm.transitions"}'])
def test_a_damaged_description_is_refused(tmp_path, text):
    path = vectors().save(tmp_path, "buffer")
    (tmp_path / "buffer.json").write_text(text)
    with pytest.raises(ConfigError):
        read_buffer(path)


def test_other_paths_are_refused(tmp_path):
    for path in ("missing.npz", "missing.pkl", "notes.txt", "folder"):
        with pytest.raises(ConfigError):
            read_buffer(tmp_path / path)
    path = vectors().save(tmp_path, "buffer")
    path.with_suffix(".json").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_buffer(path)
