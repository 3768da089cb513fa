"""Columns that a learner writes back lie on disk, and come back as a checkpoint knew them whenever the process dies."""

import os
import subprocess
import sys

import numpy as np
import pytest
from replay_helpers import with_helpers

from atari_vlm.errors import RunError, StorageError
from atari_vlm.experience.columns import Column
from atari_vlm.experience.replay import Replay
from atari_vlm.experience.saved_replay import saved_replay

COLUMNS = {
    "state": Column((2,), "float32"),
    "latent": Column((3,), "float16", on_disk=True, written_back=True),
}


def replay_in(folder, reserve=60):
    return Replay(COLUMNS, 40, reserve=reserve, folder=folder)


def play(replay, steps):
    for n in range(replay.written, replay.written + steps):
        ends = {"terminated": n % 7 == 6, "truncated": False}
        replay.add({"state": np.full(2, n, np.float32), "reward": 0.0, **ends})


def learn(replay, rng, updates):
    """Draw and write back, as a learner does: what is drawn depends on what was written."""
    for _ in range(updates):
        slots = replay.segments(4, 5, rng, across_episodes=True, least=5).slots
        before = replay.read("latent", slots).astype(np.float32)
        replay.write("latent", slots, (before + rng.random(before.shape)).astype(np.float16))


def state(replay):
    kept = replay.kept()
    return {name: replay.read(name, kept).tobytes() for name in replay.columns}


def copied(arrays):
    return {name: array.copy() for name, array in arrays.items()}


def test_what_was_written_back_since_a_checkpoint_is_taken_back(tmp_path):
    replay, rng = replay_in(tmp_path), np.random.default_rng(0)
    play(replay, 30)
    learn(replay, rng, 5)
    replay.saved()
    arrays, known = copied(replay.arrays()), state(replay)
    assert "latent" not in arrays and not list(tmp_path.glob("*.undo-*"))  # all of it was new
    play(replay, 18)
    learn(replay, rng, 9)
    assert state(replay) != known and (tmp_path / "latent.f16.undo-1").stat().st_size
    again = replay_in(tmp_path)
    again.restore(arrays)
    assert state(again) == known and again.written == 30
    assert not list(tmp_path.glob("*.undo-*"))


def test_a_checkpoint_that_was_not_finished_leaves_the_one_before(tmp_path):
    replay, rng = replay_in(tmp_path, reserve=40), np.random.default_rng(0)
    play(replay, 30)
    learn(replay, rng, 5)
    replay.saved()
    arrays, known = copied(replay.arrays()), state(replay)
    for _ in range(2):
        learn(replay, rng, 5)
        replay.saved()  # and then the process dies before the checkpoint is whole
        again = replay_in(tmp_path, reserve=40)
        again.restore(arrays)
        assert state(again) == known
        replay = again
    learn(replay, rng, 3)
    replay.saved()
    replay.saved()
    assert len(list(tmp_path.glob("*.undo-*"))) == 0  # old logs go


def test_new_steps_begin_with_zeros(tmp_path):
    replay, rng = replay_in(tmp_path, reserve=0), np.random.default_rng(0)
    for _ in range(6):
        play(replay, 20)
        assert not replay.read("latent", replay.newest(20)).any()
        learn(replay, rng, 10)


KILLED = """
import os, signal, sys, numpy as np
from pathlib import Path
from test_revised import learn, play, replay_in
replay, rng = replay_in(Path(sys.argv[1]), reserve=40), np.random.default_rng(0)
play(replay, 30); learn(replay, rng, 4); replay.saved()
np.savez(sys.argv[1] + "/arrays.npz", **replay.arrays())
np.savez(sys.argv[1] + "/known.npz", latent=replay.read("latent", replay.kept()))
learn(replay, rng, int(sys.argv[2]))
play(replay, 9); learn(replay, rng, 2)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("updates", [0, 3])
def test_a_process_that_is_killed_loses_nothing_that_a_checkpoint_knew(tmp_path, updates):
    line = [sys.executable, "-c", KILLED, str(tmp_path), str(updates)]
    environment = with_helpers()
    here = os.path.dirname(__file__)
    environment["PYTHONPATH"] = os.pathsep.join([here, environment["PYTHONPATH"]])
    assert subprocess.run(line, env=environment).returncode == -9
    again = replay_in(tmp_path, reserve=40)
    again.restore(dict(np.load(tmp_path / "arrays.npz")))
    known = np.load(tmp_path / "known.npz")["latent"]
    assert np.array_equal(again.read("latent", again.kept()), known) and known.any()


def test_a_torn_entry_is_left_out_and_a_foreign_log_refused(tmp_path):
    replay, rng = replay_in(tmp_path), np.random.default_rng(0)
    play(replay, 30)
    learn(replay, rng, 5)
    replay.saved()
    arrays, known = copied(replay.arrays()), state(replay)
    learn(replay, rng, 2)
    (log,) = tmp_path.glob("*.undo-1")
    with open(log, "ab") as file:
        file.write(b"torn")
    again = replay_in(tmp_path)
    again.restore(arrays)
    assert state(again) == known
    (tmp_path / "latent.f16.undo-1").write_bytes(np.full(2, 10**6, "<i8").tobytes()[:14])
    with pytest.raises(RunError, match="names rows that are not there"):
        replay_in(tmp_path).restore(arrays)
    log.unlink()
    log.symlink_to(tmp_path / "latent.f16")
    with pytest.raises(RunError):
        replay_in(tmp_path).restore(arrays)


def test_a_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    replay, rng = replay_in(tmp_path), np.random.default_rng(0)
    play(replay, 30)
    replay.saved()
    monkeypatch.setattr("atari_vlm.experience.revised.open", _full, raising=False)
    with pytest.raises(StorageError, match=r"latent\.f16\.undo-1"):
        learn(replay, rng, 1)


def _full(*_, **__):
    raise OSError(28, "No space left on device")


def test_without_a_folder_it_is_a_column_like_any_other():
    replay, rng = replay_in(None), np.random.default_rng(0)
    play(replay, 30)
    learn(replay, rng, 5)
    again = replay_in(None)
    again.restore(copied(replay.arrays()))
    assert state(again) == state(replay)


def test_what_a_learner_kept_is_no_part_of_a_data_set(tmp_path):
    replay = replay_in(tmp_path)
    play(replay, 30)
    replay.saved()
    assert set(saved_replay(replay.arrays(), tmp_path).columns) == {
        *("state", "reward", "terminated", "truncated")
    }
