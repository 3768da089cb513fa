"""Episodes in npz files: one form comes back as it went, older forms are read, and whatever is damaged is one sentence."""

import dataclasses
import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.episode_files import read_data_set, read_episodes, write_episodes
from atari_vlm.experience.episodes import DataSet, Episode, as_replay, fill_replay
from atari_vlm.experience.replay import Replay, picture_columns

NAMES = ("NOOP", "LEFT", "RIGHT")


def episode(steps, *, last=True, seed=0, end="terminated", **more):
    rng = np.random.default_rng(seed)
    ends = np.arange(steps) == steps - 1
    flags = {name: ends if name == end else ends & False for name in ("terminated", "truncated")}
    shown = rng.integers(256, size=(steps + last, 6, 8, 3), dtype=np.uint8)
    rewards = rng.integers(-2, 3, steps).astype(np.float32)
    return Episode(
        {"image": shown},
        rng.integers(3, size=steps),
        rewards,
        **{**flags, "action_names": NAMES, **more},
    )


def same(one, other):
    assert one.inputs.keys() == other.inputs.keys() and one.action_names == other.action_names
    assert all(np.array_equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
    for name in ("actions", "rewards", "terminated", "truncated", "lost_life"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype, name


@pytest.mark.parametrize("last", [True, False])
def test_episodes_come_back_as_they_went(tmp_path, last):
    lost = np.array([False, True, False])
    went = [
        episode(3, last=last, lost_life=lost),
        episode(5, last=last, seed=1, end="truncated"),
        episode(1, last=last),
    ]
    write_episodes(tmp_path / "deep" / "play.npz", went)
    came = read_episodes(tmp_path / "deep" / "play.npz")
    assert [e.name for e in came] == ["play 1/3", "play 2/3", "play 3/3"]
    for one, other in zip(went, came, strict=True):
        same(one, other)
    data = read_data_set(str(tmp_path / "deep" / "play.npz"))
    assert data.num_steps == 9 and data.action_space == Discrete(3) and data.action_names == NAMES
    with np.load(tmp_path / "deep" / "play.npz") as plain:  # and numpy reads it, too
        assert plain["observations"].shape == (9 + 3 * last, 6, 8, 3)


def test_a_last_observation_that_one_lacks_is_the_one_before(tmp_path):
    write_episodes(tmp_path / "play.npz", [episode(3), episode(2, last=False, seed=1)])
    first, second = read_episodes(tmp_path / "play.npz")
    assert len(first.pictures) == 4 and len(second.pictures) == 3
    assert np.array_equal(second.pictures[1], second.pictures[2])


def test_other_observations_and_actions_come_back_too(tmp_path):
    rng = np.random.default_rng(0)
    shown = {
        "state": rng.normal(size=(4, 2)).astype(np.float32),
        "text": rng.integers(9, size=(4, 5)),
    }
    flags = [np.array([False, False, True]), np.zeros(3, bool)]
    went = Episode(
        shown, np.array([[0.25], [-1], [1]], np.float32), np.array([0.1, 0.2, 0.3]), *flags
    )
    write_episodes(tmp_path / "box.npz", [went], Box(-1, 1, (1,)))
    data = read_data_set(str(tmp_path / "box.npz"))
    assert data.action_space == Box(-1, 1, (1,)) and data.inputs["state"].shape == (2,)
    same(went, data.episodes[0])
    assert as_replay(data.episodes).read("action", np.arange(3)).dtype == np.float32
    with pytest.raises(MismatchError, match="numbered actions are needed"):
        assert data.num_actions
    write_episodes(tmp_path / "no_bounds.npz", [went])
    with pytest.raises(ConfigError, match="action_low and action_high"):
        read_data_set(str(tmp_path / "no_bounds.npz"))
    numbered = dataclasses.replace(went, actions=np.array([2, 1, 2]), action_names=("1", "2"))
    write_episodes(tmp_path / "start.npz", [numbered], Discrete(2, start=1))
    assert read_data_set(str(tmp_path / "start.npz")).action_space == Discrete(2, start=1)
    assert data.frame_skip == 1
    write_episodes(tmp_path / "skipped.npz", [numbered], Discrete(2, start=1), frame_skip=4)
    assert read_data_set(str(tmp_path / "skipped.npz")).frame_skip == 4


def old_form(**over):
    ends = np.array([0, 0, 1, 0, 1], bool)
    frames = np.arange(5 * 48, dtype=np.uint8).reshape(5, 4, 4, 3)
    actions, rewards = np.array([0, 1, 2, 1, 0]), np.ones(5, np.float32)
    good = {
        "frames": frames,
        "actions": actions,
        "rewards": rewards,
        "terminated": ends,
        "truncated": ends & False,
    }
    return {name: values for name, values in {**good, **over}.items() if values is not None}


def saved(path, **over):
    np.savez(path, **old_form(**over))
    return str(path)


def test_older_forms_are_read(tmp_path):
    data = read_data_set(saved(tmp_path / "frames.npz"))
    assert [len(e) for e in data.episodes] == [3, 2] and data.action_names == ("0", "1", "2")
    flags = {
        "terminated": np.array([0, 0, 1, 0, 1]),
        "truncated": np.zeros(5),
    }  # whole numbers, floats: 0 and 1 alone
    again = read_data_set(
        saved(tmp_path / "numbers.npz", **flags, rewards=np.array([0, 1, 2, 3, 4], ">i2"))
    )
    assert again.episodes[1].rewards.tolist() == [3, 4] and again.episodes[
        1
    ].terminated.tolist() == [False, True]
    gray = read_data_set(saved(tmp_path / "gray.npz", frames=np.zeros((5, 4, 4), np.uint8)))
    assert gray.inputs["image"].shape == (4, 4, 3)
    browsed = {
        "frames": None,
        "observations": np.zeros((7, 4, 4, 3), np.uint8),
        "starts": np.array([0, 4]),
        "truncated": None,
    }
    recorded = read_episodes(saved(tmp_path / "recorded.npz", **browsed))
    assert [len(e.pictures) for e in recorded] == [4, 3] and [len(e) for e in recorded] == [3, 2]


def test_a_data_set_fills_a_replay_at_its_size(tmp_path):
    data = read_data_set(saved(tmp_path / "steps.npz"))
    replay = Replay(picture_columns((2, 2, 3)), 10)
    fill_replay(replay, data)
    assert replay.lengths.tolist() == [3, 2] and replay.read("action", replay.kept()).tolist() == [
        0,
        1,
        2,
        1,
        0,
    ]
    with pytest.raises(MismatchError, match="shows image; state is needed"):
        fill_replay(
            Replay({**replay.columns, "state": next(iter(replay.columns.values()))}, 10), data
        )
    with pytest.raises(ConfigError, match="no steps"):
        DataSet([data.episodes[0].first(0)], Discrete(3), data.action_names)


WRONG = {
    "steps of no frames": ({"frame_skip": np.array([0])}, "frame_skip is one whole number from 1"),
    "steps of any frames": ({"frame_skip": np.array([4, 2])}, "frame_skip is one whole number from 1"),
    "steps of half a frame": ({"frame_skip": np.array([0.5])}, r"frame_skip are one whole number \(1,\)"),
    "a NaN": ({"rewards": np.array([0, 0, np.nan, 0, 0])}, "the reward of step 2 is nan"),
    "an infinity": ({"rewards": np.array([0, 0, 0, -np.inf, 0])}, "the reward of step 3 is -inf"),
    "too large": ({"rewards": np.array([0, 1e39, 0, 0, 0])}, r"the reward of step 1 is 1e\+39"),
    "a column of rewards": ({"rewards": np.ones((5, 1))}, "real numbers, one a step"),
    "words": ({"rewards": np.array(list("abcde"))}, "real numbers, one a step"),
    "complex": ({"rewards": np.ones(5) * 1j}, "complex"),
    "flags of words": ({"terminated": np.array(["True", "False"] * 2 + ["True"])}, "bool, or numbers 0 and 1"),
    "a flag of 2": ({"truncated": np.array([0, 0, 0, 2, 0])}, "truncated of step 3 is 2"),
    "a NaN flag": ({"truncated": np.array([0, np.nan, 0, 0, 0])}, "truncated of step 1 is nan"),
    "too few flags": ({"terminated": np.ones(4, bool)}, "terminated has 4 entries, actions 5"),
    "no ends": ({"truncated": None}, "lacks truncated"),
    "no pictures": ({"frames": None}, "lacks observations"),
    "pictures of floats": ({"frames": np.zeros((5, 4, 4, 3))}, "pictures uint8"),
    "pictures of four channels": ({"frames": np.zeros((5, 4, 4, 4), np.uint8)}, "pictures uint8"),
    "no pixels": ({"frames": np.zeros((5, 0, 4, 3), np.uint8)}, "do not fit"),
    "too many pictures": ({"frames": np.zeros((9, 4, 4, 3), np.uint8)}, "do not fit 5 steps"),
    "both names": ({"observations": np.zeros((5, 4, 4, 3), np.uint8)}, "two names"),
    "one action": ({"actions": np.int64(3)}, "whole numbers"),
    "floats for actions": ({"actions": np.zeros(5)}, "whole numbers"),
    "a negative action": ({"actions": np.array([0, 1, -1, 0, 0])}, "from 0 to 1"),
    "an action of no name": ({"action_names": np.array(["A", "B"])}, "from 0 to 1"),
    "five million names": ({"actions": np.array([0, 0, 5_000_000, 0, 0])}, "at most 4096"),
    "2 to the 63": ({"actions": np.array([0, 0, 2**63, 0, 0], np.uint64)}, "64 bits"),
    "names in a table": ({"action_names": np.array([["A", "B"]])}, "strings"),
    "a name that rings": ({"action_names": np.array(["A", "\a", "C"])}, "no name"),
    "an empty name": ({"action_names": np.array(["A", "", "C"])}, "no name"),
    "starts far away": ({"starts": np.array([0, 10**9])}, "starts ascend"),
    "starts backwards": ({"starts": np.array([0, 3, 2])}, "starts ascend"),
    "no start": ({"starts": np.zeros(0, int)}, "starts ascend"),
    "an end inside": ({"starts": np.array([0, 4])}, "end at its last step"),
    "nothing": ({**dict.fromkeys(("terminated", "truncated"), np.zeros(0, bool)), "actions": np.zeros(0, int),
                 "rewards": np.zeros(0), "frames": np.zeros((0, 4, 4, 3), np.uint8)}, "no file of episodes"),
    "Python objects": ({"rewards": np.array([{}, 1, 2, 3, 4], object)}, "Python objects"),
    "dates": ({"rewards": np.zeros(5, "datetime64[s]")}, "datetime64"),
    "records": ({"rewards": np.zeros(5, [("a", "f4")])}, "is an array of"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence_that_names_the_file(tmp_path, what):
    over, said = WRONG[what]
    path = saved(tmp_path / "bad.npz", **over)
    with pytest.raises(ConfigError, match=said) as caught:
        read_data_set(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)


def claiming(shape, descr, data=b""):
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def packed(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in old_form().items():
            file = io.BytesIO()
            np.save(file, values)
            archive.writestr(f"{name}.npy", members.get(name, file.getvalue()))
    return path


@pytest.mark.parametrize(
    "raw",
    [
        claiming((5, 10**30), "|u1"), claiming((10**6, 10**6, 64, 3), "|u1"), claiming((5, True, 4, 3), "|u1", bytes(60)),
        claiming((5, 4, 4, -3), "|u1"), claiming((5,), "<U100000000"), claiming((0, 10**30), "|u1"),
        claiming((5, 4, 4, 3), "|u1"),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31),
        b"\x93NUMPY\x03\x00\x00\x00\x00\x00", b"", b"GIF89a", claiming((5,), "|O", b"\x80\x04."),
    ],
)  # fmt: skip
def test_headers_are_held_to_what_the_file_has(tmp_path, raw):
    with pytest.raises(ConfigError, match="no file of episodes"):
        read_data_set(str(packed(tmp_path / "bad.npz", frames=raw)))


def test_bools_are_0_or_1(tmp_path):
    flags = claiming((5,), "|b1", b"\0\0\2\0\1")
    with pytest.raises(ConfigError, match="neither 0 nor 1"):
        read_data_set(str(packed(tmp_path / "bad.npz", terminated=flags)))


def test_other_kinds_of_files_are_refused_by_type(tmp_path):
    good = saved(tmp_path / "good.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "link.npz").symlink_to(good)
    os.mkfifo(tmp_path / "pipe.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with zipfile.ZipFile(tmp_path / "packed.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("actions.npy", claiming((1,), "<i8", bytes(8)))
    for name in ("empty", "folder", "link", "pipe", "array", "packed", "absent"):
        for read in (read_data_set, read_episodes):
            if name != "folder" or read is read_data_set:
                with pytest.raises(ConfigError, match=rf"{name}\.npz"):
                    read(str(tmp_path / f"{name}.npz"))
    (tmp_path / "good.npz").rename(tmp_path / "good.data")  # a name is no kind
    assert read_data_set(str(tmp_path / "good.data")).num_steps == 5
    with pytest.raises(ConfigError, match=r"neither an \.npz file nor"):
        read_data_set("a/b/data")


BOMB = """
import resource, sys
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import read_data_set
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 200_000_000,) * 2)
try:
    read_data_set(sys.argv[1])
except ConfigError as error:
    print(error, file=sys.stderr)
lines = open("/proc/self/status").read().splitlines()  # ru_maxrss knows what the parent had when it forked
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)
"""


def bomb(path, rows):
    """Frames of zeros, a thousandth of their size on the disk, for as many steps as ``rows``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("frames.npy", "w", force_zip64=True) as member:
            member.write(claiming((rows, 64, 64, 3), "|u1"))
            for _ in range(rows // 256):
                member.write(bytes(64 * 64 * 3 * 256))
        for name, values in old_form().items():
            file = io.BytesIO()
            np.save(file, np.zeros(rows, values.dtype))
            if name != "frames":
                archive.writestr(f"{name}.npy", file.getvalue())


def test_an_npz_takes_no_more_memory_than_is_free(tmp_path):
    bomb(tmp_path / "bomb.npz", 256 * 85)  # 267 MB of frames
    assert (tmp_path / "bomb.npz").stat().st_size < 4_000_000

    line = [sys.executable, "-c", BOMB, str(tmp_path / "bomb.npz")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "GB of memory" in done.stderr and "\n" not in done.stderr.strip()
    assert float(done.stdout) < 300  # MB


def content(data):
    """Everything that a data set says."""
    arrays = [
        values
        for e in data.episodes
        for values in (*e.inputs.values(), e.actions, e.rewards, e.terminated, e.truncated)
    ]
    return [
        data.action_names,
        [len(e) for e in data.episodes],
        *[(a.dtype.str, a.shape, a.tobytes()) for a in arrays],
    ]


def mutants(path, count, seed):
    """Copies with bytes changed, cut, doubled or taken out of another place, and with arrays changed under true checksums."""
    rng, raw = np.random.default_rng(seed), path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for n in range(count):
        how, changed = n % 5, bytearray(raw)
        if how < 2:
            for _ in range(1 + 3 * how):
                changed[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        elif how == 2:
            del changed[rng.integers(len(raw)) :]
        elif how == 3:
            begin, to = rng.integers(len(raw), size=2)
            changed[to : to + 16] = raw[begin : begin + 16]
        else:
            name = sorted(members)[rng.integers(len(members))]
            array = bytearray(members[name])
            array[rng.integers(len(array)) if n % 2 else rng.integers(min(len(array), 128))] ^= (
                1 << rng.integers(8)
            )
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                for other, values in members.items():
                    archive.writestr(other, array if other == name else values)
            changed = file.getvalue()
        yield how == 4, bytes(changed)


def hold_to_mutants(folder, count, seed=0):
    """Every mutant is refused in one sentence or a valid data set; one whose checksums are the old ones says the same as ever."""
    paths = [folder / "one.npz", folder / "two.npz"]
    write_episodes(paths[0], [episode(3), episode(4, seed=1)])
    saved(paths[1], action_names=np.array(NAMES))
    refused = 0
    for path in paths:
        wanted = content(read_data_set(str(path)))
        for resealed, raw in mutants(path, count // 2, seed):
            (folder / "mutant.npz").write_bytes(raw)
            try:
                data = read_data_set(str(folder / "mutant.npz"))
            except ConfigError as error:
                assert "\n" not in str(error)
                refused += 1
                continue
            replay = as_replay(data.episodes)  # valid: it can be learned from
            assert len(replay) == data.num_steps and data.action_space.n == len(data.action_names)
            assert resealed or content(data) == wanted
    return refused


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_mutated_files_are_refused_or_valid(tmp_path):
    assert hold_to_mutants(tmp_path, 120) > 60


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_two_thousand_mutated_files_are_refused_or_valid(tmp_path):
    refused = hold_to_mutants(tmp_path, 2000, seed=1)
    print(
        json.dumps({"files": 2000, "refused": refused, "untyped": 0, "accepted and different": 0})
    )
