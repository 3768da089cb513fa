"""The replay: whole episodes, uniform segments, padding, ends, eviction, exact state."""

import subprocess
import sys

import numpy as np
import pytest
from replay_helpers import add_step, picture_replay, with_helpers

from atari_vlm.errors import RunError


def filled(lengths, *, capacity=100, reserve=0, folder=None, ends=None):
    """Episodes of the given lengths; step n of all has action n, its frame is full of n. ``ends``: which way each stops."""
    replay = picture_replay(capacity, 2, reserve=reserve, folder=folder)
    add(replay, lengths, ends)
    return replay


def add(replay, lengths, ends=None):
    for length, end in zip(lengths, ends or ["terminated"] * len(lengths), strict=True):
        for t in range(length):
            n, last = replay.written, t == length - 1
            frame = np.full((2, 2, 3), n % 256, np.uint8)
            add_step(
                replay, frame, n, n / 2, last and end == "terminated", last and end == "truncated"
            )


def test_segments_begin_uniformly_and_are_padded_on_the_right():
    replay = filled([5, 1, 7])
    found = replay.segments(4000, 4, np.random.default_rng(0))
    firsts = replay.read("action", found.slots[:, 0])
    assert found.mask[:, 0].all()
    assert np.abs(np.bincount(firsts, minlength=13) / 4000 - 1 / 13).max() < 0.02
    stops = np.array([5] * 5 + [6] + [13] * 7)
    for first, slots, mask in zip(firsts, found.slots, found.mask, strict=True):
        expected = np.arange(first, min(first + 4, stops[first]))
        assert mask.tolist() == [True] * len(expected) + [False] * (4 - len(expected))
        assert replay.read("action", slots[mask]).tolist() == expected.tolist()
        assert (replay.read("image", slots[mask])[:, 0, 0, 0] == expected).all()


def test_least_keeps_short_tails_out_but_not_short_episodes():
    replay = filled([5, 1, 2, 7])
    firsts = replay.read(
        "action", replay.segments(2000, 4, np.random.default_rng(0), least=3).slots[:, 0]
    )
    assert set(firsts.tolist()) == {0, 1, 2, 5, 6, 8, 9, 10, 11, 12}


def test_histories_end_anywhere_but_at_a_first_step_and_are_padded_on_the_left():
    replay = filled([3, 1, 5])
    found = replay.histories(2000, 4, np.random.default_rng(1))
    lasts = replay.read("action", found.slots[:, -1])
    assert set(lasts.tolist()) == {1, 2, 5, 6, 7, 8} and found.mask[:, -2:].all()
    for last, slots, mask in zip(lasts, found.slots, found.mask, strict=True):
        first = 0 if last < 3 else 4
        expected = np.arange(max(first, last - 3), last + 1)
        assert replay.read("action", slots[mask]).tolist() == expected.tolist()
        assert mask.tolist() == [False] * (4 - len(expected)) + [True] * len(expected)


def test_truncation_is_no_termination():
    replay = filled([3, 4], ends=["truncated", "terminated"])
    slots = np.arange(7)
    assert np.flatnonzero(replay.read("terminated", slots)).tolist() == [6]
    assert np.flatnonzero(replay.read("truncated", slots)).tolist() == [2]
    assert replay.lengths.tolist() == [3, 4]


def test_the_oldest_episodes_go_as_a_whole_and_segments_pass_the_end_of_the_ring():
    replay = filled([4, 4, 4, 4], capacity=10)
    assert replay.lengths.tolist() == [4, 4] and len(replay) == 8
    found = replay.segments(500, 4, np.random.default_rng(0))
    for slots, mask in zip(found.slots, found.mask, strict=True):
        steps = replay.read("action", slots[mask])
        assert (
            steps.min() >= 8
            and (np.diff(steps) == 1).all()
            and len({n // 4 for n in steps.tolist()}) == 1
        )
        assert (replay.read("image", slots[mask])[:, 0, 0, 0] == steps).all()


def test_an_episode_longer_than_the_buffer_is_refused():
    with pytest.raises(RunError, match="longer than the replay buffer"):
        filled([11], capacity=10)


def test_priority_draws_its_share():
    replay = filled([20])
    every = replay.segments(2000, 1, np.random.default_rng(0))
    replay.set_priority(every.slots[:, 0], np.where(every.slots[:, 0] == 13, 5.0, 0.0))
    drawn = replay.segments(1000, 1, np.random.default_rng(1), prioritised=0.3).slots[:, 0]
    assert (drawn[:300] == 13).all() and 20 < (drawn[300:] == 13).sum() < 60


def test_a_checkpoint_survives_what_is_added_after_it(tmp_path):
    replay = filled([4, 4], capacity=12, reserve=8, folder=tmp_path)
    replay.saved()
    add(replay, [3])
    replay.saved()
    kept = {name: array.copy() for name, array in replay.arrays().items()}
    before = replay.read("image", replay.segments(50, 3, np.random.default_rng(5)).slots)
    add(replay, [4, 4])
    with pytest.raises(RunError, match="since it was saved"):
        add(replay, [1])
    again = picture_replay(12, 2, reserve=8, folder=tmp_path)
    again.restore(kept)
    assert np.array_equal(
        again.read("image", again.segments(50, 3, np.random.default_rng(5)).slots), before
    )
    assert again.lengths.tolist() == [4, 4, 3]
    with pytest.raises(RunError, match="slots"):
        picture_replay(13, 2, reserve=8).restore(kept)


def test_an_episode_goes_on_after_a_checkpoint():
    replay = filled([3])
    add_step(replay, np.zeros((2, 2, 3), np.uint8), 3, 0.0, False, False)
    again = picture_replay(100, 2)
    again.restore({name: array.copy() for name, array in replay.arrays().items()})
    for buffer in (replay, again):
        add_step(buffer, np.zeros((2, 2, 3), np.uint8), 4, 0.0, True, False)
        assert buffer.lengths.tolist() == [3, 2]


def test_an_empty_buffer_says_so():
    with pytest.raises(RunError, match="empty"):
        picture_replay(5, 2).any_slots(1, np.random.default_rng(0))
    with pytest.raises(RunError, match="two steps"):
        filled([1, 1]).histories(1, 3, np.random.default_rng(0))


MEASURED = """
import resource, sys, numpy as np
from pathlib import Path
from replay_helpers import add_step, picture_replay
replay = picture_replay(100_000, 64, folder=Path(sys.argv[1]))
frame = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
for n in range(100_000):
    add_step(replay, frame, 0, 0.0, n % 500 == 499, False)
rng = np.random.default_rng(0)
for _ in range(300):
    replay.read("image", replay.segments(64, 10, rng).slots)
assert len(replay) > 99_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
"""


@pytest.mark.slow
def test_memory_of_a_hundred_thousand_frames(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env=with_helpers(),
    )
    assert float(done.stdout) < 1.5  # GB of RAM at the most, mapped pages included
