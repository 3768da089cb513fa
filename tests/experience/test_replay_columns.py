"""The replay beyond Atari: columns of any kind, several environments, sequences across episodes, files that are tied to it."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from replay_helpers import add_step, picture_replay, with_helpers

from atari_vlm.errors import ConfigError, MismatchError, RunError, StorageError
from atari_vlm.experience import columns as column_files
from atari_vlm.experience.columns import Column
from atari_vlm.experience.replay import Replay
from atari_vlm.experience.saved_replay import saved_replay

MIXED = {
    "image": Column((3, 5, 1), "uint8", on_disk=True),
    "state": Column((2,), "float32"),
    "text": Column((4,), "int32"),
    "action": Column((2,), "float32"),
    "latent": Column((6,), "float16", written_back=True),
}


def mixed_step(n, **ends):
    return {
        "image": np.full((3, 5, 1), n % 256, np.uint8),
        "state": np.array([n, -n], np.float64),
        "text": np.arange(n, n + 4),
        "action": np.array([n / 100, 0.5], np.float32),
        "reward": n / 4,
        "terminated": False,
        "truncated": False,
        **ends,
    }


def two_envs(folder=None, capacity=40):
    """Environment e's step n is number ``100 e + n``; its episodes are 3 + e steps long; steps come in turns."""
    replay = Replay(MIXED, capacity, num_envs=2, folder=folder)
    for n in range(14):
        for env in (0, 1):
            replay.add(mixed_step(100 * env + n, terminated=n % (3 + env) == 2 + env), env)
    return replay


def numbers(replay, slots):
    return replay.read("text", slots)[..., 0]


def test_columns_of_any_shape_and_type_come_back(tmp_path):
    for replay in (two_envs(), two_envs(tmp_path / "replay")):
        slots = replay.newest(5, env=1)
        assert numbers(replay, slots).tolist() == [109, 110, 111, 112, 113]
        assert replay.read("image", slots)[:, 2, 4, 0].tolist() == [109, 110, 111, 112, 113]
        assert (
            np.array_equal(replay.read("state", slots)[0], [109, -109])
            and replay.read("action", slots)[0, 1] == 0.5
        )
        assert len(replay) == 28 and replay.lengths.tolist() == [3, 3, 3, 3, 2, 4, 4, 4, 2]
        assert not replay.read("latent", slots).any()
    assert (tmp_path / "replay" / "frames.u8").stat().st_size == 40 * 15


def test_segments_stay_in_their_environment_and_say_where_episodes_begin():
    replay, rng = two_envs(), np.random.default_rng(0)
    for across in (False, True):
        cut = replay.segments(500, 6, rng, across_episodes=across, least=6 if across else 1)
        assert cut.mask.all() == across
        for slots, mask, first in zip(cut.slots, cut.mask, cut.is_first, strict=True):
            steps = numbers(replay, slots[mask])
            length = 3 + steps[0] // 100
            assert (np.diff(steps) == 1).all() and steps[0] // 100 == steps[-1] // 100
            assert first[mask].tolist() == [step % 100 % length == 0 for step in steps]
            assert across or first[mask][1:].sum() == 0
    starts = numbers(replay, replay.segments(3000, 1, rng).slots[:, 0])
    counts = np.bincount(starts % 100 + 14 * (starts // 100), minlength=28)
    assert np.abs(counts / 3000 - 1 / 28).max() < 0.02
    history = replay.histories(300, 3, rng)
    assert history.mask[:, 1:].all() and not history.is_first[:, 2].any()


def test_values_are_written_back_and_saved():
    replay = two_envs()
    cut = replay.segments(8, 2, np.random.default_rng(1), least=2)
    slots = cut.slots[cut.mask]
    values = np.arange(6 * len(slots), dtype=np.float32).reshape(-1, 6)
    replay.write("latent", slots, values)
    again = Replay(MIXED, 40, num_envs=2)
    again.restore({name: array.copy() for name, array in replay.arrays().items()})
    assert np.array_equal(again.read("latent", slots), replay.read("latent", slots))
    assert np.array_equal(again.kept(), replay.kept()) and again.written == 28
    with pytest.raises(MismatchError, match="latent is float16"):
        replay.write("latent", slots, values[:, :5])
    with pytest.raises(RunError, match="of 2 environments, this one of 1"):
        Replay(MIXED, 40).restore(replay.arrays())
    with pytest.raises(ConfigError, match="of bool, integers or floats"):
        Column((3,), "object", written_back=True)


def test_what_is_kept_is_copied(tmp_path):
    painted = np.zeros((2, 2, 3), np.uint8)
    for replay in (picture_replay(5, 2), picture_replay(5, 2, folder=tmp_path)):
        for n in range(4):
            painted[:] = n
            add_step(replay, painted, n, 0.0, False, False)
        assert replay.read("image", replay.kept())[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reward": float("nan")}, "reward of step 28 holds numbers, got nan"),
        ({"reward": 1e300}, "reward of step 28 holds numbers, got 1e"),
        ({"reward": np.array([1.0])}, r"reward of step 28 is float32 \(\), got float64 \(1,\)"),
        ({"reward": "1"}, "reward of step 28 is float32"),
        ({"terminated": 1}, "terminated of step 28 is bool"),
        ({"terminated": "False"}, "terminated of step 28 is bool"),
        ({"image": np.zeros((3, 5, 1))}, "image of step 28 is uint8"),
        ({"image": np.zeros((3, 5), np.uint8)}, r"got uint8 \(3, 5\)"),
        (
            {"text": np.array([0, 1, 2, 1 << 40])},
            "text of step 28 is int32, which cannot hold 1099511627776",
        ),
        ({"state": np.array([0.0, np.inf])}, "state of step 28 holds numbers"),
        ({"action": 1}, "action of step 28"),
        ({"sound": 1}, "a step of this replay has"),
    ],
)
def test_what_is_no_step_is_refused_and_leaves_nothing(wrong, said):
    replay = two_envs()
    with pytest.raises(MismatchError, match=said):
        replay.add(mixed_step(0, **wrong))
    assert len(replay) == 28 and replay.lengths.tolist() == [3, 3, 3, 3, 2, 4, 4, 4, 2]


def played(folder):
    replay = picture_replay(20, 4, folder=folder, reserve=10)
    rng = np.random.default_rng(0)
    for n in range(9):
        add_step(
            replay, rng.integers(256, size=(4, 4, 3), dtype=np.uint8), n, 0.0, n % 4 == 3, False
        )
    replay.saved()
    return {name: array.copy() for name, array in replay.arrays().items()}


def reopen(folder, arrays):
    replay = picture_replay(20, 4, folder=folder, reserve=10)
    replay.restore(arrays)
    return replay


def damage(folder, how):
    path = folder / "frames.u8"
    raw = bytearray(path.read_bytes())
    if how == "zeroed":
        path.write_bytes(bytes(len(raw)))
    elif how == "one bit":
        raw[100] ^= 1
        path.write_bytes(raw)
    elif how == "another run's":
        path.write_bytes(np.random.default_rng(1).bytes(len(raw)))
    elif how == "cut":
        path.write_bytes(raw[:-1])
    else:
        path.unlink()
        {
            "link": lambda: path.symlink_to("/dev/zero"),
            "pipe": lambda: os.mkfifo(path),
            "folder": path.mkdir,
        }.get(how, lambda: None)()


@pytest.mark.parametrize(
    "how", ["gone", "zeroed", "one bit", "another run's", "cut", "link", "pipe", "folder"]
)
def test_a_run_goes_on_with_the_pictures_that_its_checkpoint_knows_or_not_at_all(tmp_path, how):
    arrays = played(tmp_path)
    reopen(tmp_path, arrays)
    damage(tmp_path, how)
    for _ in range(2):  # a refusal leaves nothing behind that would be taken the next time
        with pytest.raises(RunError, match=r"frames\.u8"):
            reopen(tmp_path, arrays)


def test_checkpoints_of_before_the_checksums_open_but_not_without_their_file(tmp_path):
    arrays = {
        name: array
        for name, array in played(tmp_path).items()
        if not name.startswith(("checksum", "shape"))
    }
    wanted = reopen(tmp_path, arrays)
    assert wanted.arrays()["checksum.image"][:9].all()
    assert saved_replay(arrays, tmp_path).columns["image"].shape == (4, 4, 3)
    (tmp_path / "frames.u8").unlink()
    with pytest.raises(RunError, match=r"frames\.u8 is missing"):
        reopen(tmp_path, arrays)


def test_a_saved_replay_says_itself_what_it_holds(tmp_path):
    replay = two_envs(tmp_path)
    again = saved_replay(replay.arrays(), tmp_path)
    assert again.columns["image"].shape == (3, 5, 1) and len(again) == 28
    assert {*MIXED} - {*again.columns} == {"latent"}  # which is the learner's
    for name in again.columns:
        assert np.array_equal(again.read(name, again.kept()), replay.read(name, replay.kept())), (
            name
        )


def test_arrays_that_do_not_fit_together_are_refused(tmp_path):
    arrays = played(tmp_path)
    for name, wrong in {
        "serial": arrays["serial"][::-1].copy(),
        "starts": np.array([0, 7, 4]),
        "cursor": np.array([1 << 30, 0]),
        "action": arrays["action"].astype(np.float64),
        "reward": arrays["reward"][:-1],
    }.items():
        with pytest.raises(RunError):
            reopen(tmp_path, {**arrays, name: wrong})


def test_room_is_held_when_the_file_is_made_and_when_an_old_one_is_added_to(tmp_path):
    replay = picture_replay(1000, 16, folder=tmp_path)
    assert not (tmp_path / "frames.u8").exists()
    add_step(replay, np.zeros((16, 16, 3), np.uint8), 0, 0.0, False, False)
    about = (tmp_path / "frames.u8").stat()
    assert about.st_size == 768_000 and about.st_blocks * 512 >= 768_000
    (tmp_path / "frames.u8").write_bytes(b"")
    os.truncate(tmp_path / "frames.u8", 768_000)
    assert (tmp_path / "frames.u8").stat().st_blocks == 0
    add_step(
        picture_replay(1000, 16, folder=tmp_path),
        np.zeros((16, 16, 3), np.uint8),
        0,
        0.0,
        False,
        False,
    )
    assert (tmp_path / "frames.u8").stat().st_blocks * 512 >= 768_000


def test_a_full_disk_is_one_sentence_before_the_first_step(tmp_path, monkeypatch):
    def full(descriptor, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(column_files.os, "posix_fallocate", full)
    replay = picture_replay(10, 8, folder=tmp_path)
    with pytest.raises(
        StorageError, match=r"frames\.u8 cannot be written: No space left"
    ) as caught:
        add_step(replay, np.zeros((8, 8, 3), np.uint8), 0, 0.0, False, False)
    assert caught.value.exit_code == 74 and not len(replay) and not list(tmp_path.iterdir())


def test_where_room_cannot_be_reserved_zeros_hold_it(tmp_path, monkeypatch):
    def unable(descriptor, offset, size):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(column_files.os, "posix_fallocate", unable)
    replay = picture_replay(10, 8, folder=tmp_path)
    add_step(replay, np.full((8, 8, 3), 7, np.uint8), 0, 0.0, False, False)
    assert (tmp_path / "frames.u8").stat().st_size == 1920 and (
        replay.read("image", replay.kept()) == 7
    ).all()


def test_a_million_pictures_are_twelve_gigabytes_of_disk_and_little_memory():
    replay = Replay(
        {"image": Column((64, 64, 3), "uint8", on_disk=True), "action": Column((), "int64")}, 100
    )
    assert replay.columns["image"].step_bytes * 1_000_000 == 12_288_000_000
    in_memory = sum(column.step_bytes for name, column in replay.columns.items() if name != "image")
    assert in_memory + 8 + 4 + 4 < 40  # serial, priority and checksum: 40 MB for a million


MEASURED = """
import json, resource, sys, numpy as np
from pathlib import Path
from atari_vlm.experience.columns import Column
from atari_vlm.experience.replay import Replay
steps, learned = int(sys.argv[2]), int(sys.argv[3])
columns = {
    "image": Column((64, 64, 3), "uint8", on_disk=True), "action": Column((), "int64"),
    "latent": Column((512,), "float16", on_disk=True, written_back=True),
}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frame = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
replay = Replay(columns, steps, folder=Path(sys.argv[1]), num_envs=4)
for n in range(steps - 8):
    ends = {"terminated": n // 4 % 500 == 499, "truncated": False}
    replay.add({"image": frame, "action": 0, "reward": 0.0, **ends}, n % 4)
replay.saved()
rng = np.random.default_rng(0)
for _ in range(learned):
    slots = replay.segments(16, 65, rng, least=65, across_episodes=True).slots
    replay.read("image", slots)
    replay.write("latent", slots, np.ones((16, 65, 512), np.float16))
kept = sum(array.nbytes for array in replay.arrays().values())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
files = sum(path.stat().st_size for path in Path(sys.argv[1]).glob("*.u8"))
print(json.dumps({"peak": (peak - before) / 1024, "kept": kept / 1e6, "files": files / 1e9}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "most"),
    [(60_000, 500), pytest.param(1_000_000, 1500, marks=pytest.mark.timeout(3600))],
)
def test_mapped_pages_do_not_add_up(tmp_path, steps, most):
    line = [sys.executable, "-c", MEASURED, tmp_path, str(steps), str(steps // 2000)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=with_helpers())
    measured = json.loads(done.stdout)
    assert measured["peak"] < most and measured["kept"] < 60 * steps / 1e6, measured  # MB
    assert measured["files"] == pytest.approx(12_288 * steps / 1e9, rel=0.01)
