"""Minari data sets as others write them: read as they are meant, or refused in one sentence."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import read_data_set
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.minari import About, write_minari

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
EpisodeBuffer = pytest.importorskip("minari.data_collector").EpisodeBuffer

pytestmark = pytest.mark.filterwarnings("ignore:env_spec is None")

PICTURE = spaces.Box(0, 255, (12, 16, 3), np.uint8)
THREE = spaces.Discrete(3)
BLANK = np.zeros((12, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def recorded(name, shown=(PICTURE, [BLANK] * 5), done=(THREE, [0, 1, 2, 0]), rewards=(0.0,) * 4):
    """A data set of another author, of one episode of four steps."""
    ends = {"terminations": [False] * 3 + [True], "truncations": [False] * 4}
    episode = EpisodeBuffer(
        id=0, observations=shown[1], actions=done[1], rewards=list(rewards), **ends
    )
    words = ("algorithm_name", "author", "author_email", "code_permalink", "description")
    minari.create_dataset_from_buffers(
        name, buffer=[episode], observation_space=shown[0], action_space=done[0], jpeg_encoding=False,
        eval_env="CartPole-v1", **dict.fromkeys(words, "case"),
    )  # fmt: skip
    return name


def test_actions_of_floats_and_shifted_ones_are_what_they_are():
    actions = [np.array([n / 4, -1], np.float32) for n in range(4)]
    data = read_data_set(
        recorded("case/box-v0", done=(spaces.Box(-1, 1, (2,), np.float32), actions))
    )
    assert data.action_space == spaces.Box(-1, 1, (2,), np.float32) and data.action_names == ()
    assert np.array_equal(data.episodes[0].actions, actions) and data.inputs["image"].shape == (
        12,
        16,
        3,
    )
    parts = spaces.MultiDiscrete([2, 3], start=[0, 1])
    several = [np.array([n % 2, 1 + n % 3]) for n in range(4)]
    data = read_data_set(recorded("case/parts-v0", done=(parts, several)))
    assert data.action_space == parts and data.action_names == ()
    assert np.array_equal(data.episodes[0].actions, several)
    data = read_data_set(
        recorded("case/shifted-v0", done=(spaces.Discrete(3, start=5), [5, 6, 7, 5]))
    )
    assert data.action_names == ("5", "6", "7") and data.episodes[0].actions.tolist() == [
        5,
        6,
        7,
        5,
    ]


def test_named_observations_keep_their_names():
    space = spaces.Dict({"camera": PICTURE, "speed": spaces.Box(-1, 1, (2,), np.float32)})
    shown = {"camera": [BLANK] * 5, "speed": [np.ones(2, np.float32)] * 5}
    data = read_data_set(recorded("case/dict-v0", shown=(space, shown)))
    assert data.inputs.keys() == {"camera", "speed"} and data.inputs["speed"].dtype == "float32"
    state = spaces.Box(-1, 1, (2,), np.float32)
    assert read_data_set(
        recorded("state-v0", shown=(state, [np.ones(2, np.float32)] * 5))
    ).inputs.keys() == {"state"}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"rewards": (0.0, float("nan"), 0.0, 0.0)}, "the reward of step 1 is nan"),
        ({"rewards": (0.0, 0.0, 1e39, 0.0)}, r"the reward of step 2 is 1e\+39"),
        ({"done": (spaces.MultiBinary(2), [np.array([0, 1], np.int8)] * 4)}, "it has MultiBinary"),
        ({"done": (spaces.Box(-np.inf, np.inf, (1,), np.float32), [np.zeros(1, np.float32)] * 4)}, "bounded Box"),
        ({"done": (spaces.Discrete(3), [0, 1, 7, 0])}, "from 0 to 2"),
        ({"shown": (spaces.Text(5), ["a"] * 5)}, "observations are numbers"),
        ({"shown": (spaces.Box(0, 255, (12, 16, 4), np.uint8), [np.zeros((12, 16, 4), np.uint8)] * 5)}, "pictures uint8"),
        ({"shown": (spaces.Tuple((PICTURE, PICTURE)), ([BLANK] * 5, [BLANK] * 5))}, "observations are"),
    ],
)  # fmt: skip
def test_what_is_not_meant_is_one_sentence(case, said):
    recorded("case/odd-v0", **case)
    with pytest.raises(ConfigError, match=said) as caught:
        read_data_set("case/odd-v0")
    assert str(caught.value).startswith("the Minari dataset 'case/odd-v0' cannot be read: ")


def test_what_is_no_id_and_what_lies_beside_one(datasets):
    recorded("case/good-v0")
    (datasets / "a" / "b" / "data").mkdir(parents=True)  # no id
    (datasets / "case" / "empty-v0" / "data").mkdir(parents=True)
    assert read_data_set("case/good-v0").num_steps == 4
    for name, said in {
        "a/b": "neither",
        "a/b/data": "neither",
        "../case/good-v0": "neither",
        "case/absent-v0": "no local Minari dataset",
        "case/empty-v0": "'case/empty-v0' cannot be read",
    }.items():
        with pytest.raises(ConfigError, match=said):
            read_data_set(name)


@pytest.mark.parametrize("damage", ["cut", "zeroed", "metadata", "metadata of another"])
def test_damaged_files_are_refused(datasets, damage):
    recorded("case/bad-v0")
    folder = datasets / "case" / "bad-v0" / "data"
    if damage.startswith("metadata"):
        kept = json.loads((folder / "metadata.json").read_text())
        spoilt = (
            "{" if damage == "metadata" else json.dumps({**kept, "dataset_id": "case/other-v0"})
        )
        (folder / "metadata.json").write_text(spoilt)
    else:
        raw = (folder / "main_data.hdf5").read_bytes()
        (folder / "main_data.hdf5").write_bytes(
            raw[: len(raw) // 2] if damage == "cut" else bytes(len(raw))
        )
    with pytest.raises(ConfigError, match="case/bad-v0"):
        read_data_set("case/bad-v0")


def test_a_written_one_is_whole_or_not_there(datasets):
    ends = [np.array([False, True]), np.zeros(2, bool)]
    good = Episode(
        {"state": np.zeros((3, 2), np.float32)}, np.array([0, 1]), np.array([0.5, 1.0]), *ends
    )

    def broken():
        yield good
        raise OSError(28, "No space left on device")

    facts = About(spaces.Discrete(2), "test", "two steps")
    with pytest.raises(OSError, match="No space"):
        write_minari("case/full-v0", broken(), facts)
    assert not (datasets / "case" / "full-v0").exists()
    assert write_minari("case/full-v0", [good, good], facts) == 4
    assert read_data_set("case/full-v0").episodes[1].rewards.tolist() == [0.5, 1.0]
    with pytest.raises(ConfigError, match="already"):
        write_minari("case/full-v0", [good], facts)
    with pytest.raises(ConfigError, match="nor the id"):
        write_minari("full", [good], facts)
    assert gymnasium.spaces.Discrete(2) == read_data_set("case/full-v0").action_space
