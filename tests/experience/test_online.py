"""The online queue: fresh sequences first, each once, whatever happens to the replay meanwhile."""

import numpy as np
import pytest

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.experience.columns import Column
from atari_vlm.experience.online import OnlineQueue
from atari_vlm.experience.replay import Replay


def replay_of(envs=1, capacity=1000):
    return Replay({"number": Column((), "int64")}, capacity, num_envs=envs)


def play(replay, steps, env=0, episode=7):
    """Go on with an environment whose step n is number n, and whose episodes are so long."""
    for n in range(replay.written_by_env[env], replay.written_by_env[env] + steps):
        ends = {"terminated": n % episode == episode - 1, "truncated": False}
        replay.add({"number": n, "reward": 0.0, **ends}, env)


def numbers(replay, segments):
    return replay.read("number", segments.slots).tolist()


def test_every_stretch_is_served_once_as_soon_as_it_is_whole():
    replay = replay_of()
    queue, rng = OnlineQueue(replay, 5), np.random.default_rng(0)
    assert not len(queue.take(3))
    play(replay, 4)
    assert not len(queue.waiting())
    play(replay, 9)  # 13 steps: two stretches
    batch = replay.segments(4, 5, rng, least=5, across_episodes=True, begins=queue.take(4))
    assert numbers(replay, batch)[:2] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert batch.mask.all() and batch.is_first[:2].nonzero()[1].tolist() == [0, 2]
    assert not len(queue.take(4))
    play(replay, 12)
    first, rest = queue.take(1), queue.take(9)
    assert first.tolist() == [10] and rest.tolist() == [15, 20]


def test_drawn_rows_are_those_that_would_have_been_drawn():
    replay = replay_of()
    play(replay, 40)
    drawn = replay.segments(6, 5, np.random.default_rng(1), across_episodes=True)
    mixed = replay.segments(6, 5, np.random.default_rng(1), across_episodes=True, begins=[0, 5])
    assert numbers(replay, mixed)[2:] == numbers(replay, drawn)[2:]
    assert numbers(replay, mixed)[:2] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_environments_take_turns_and_stretches_may_overlap():
    replay = replay_of(envs=2)
    queue = OnlineQueue(replay, 5, overlap=1)
    play(replay, 14, env=0)
    play(replay, 9, env=1)
    begins = queue.take(9)
    rows = [tuple(map(int, replay.env_of(begin))) for begin in begins]
    assert rows == [(0, 0), (1, 0), (0, 4), (1, 4), (0, 8)]
    play(replay, 4, env=1)
    assert [tuple(map(int, replay.env_of(begin))) for begin in queue.take(9)] == [(1, 8)]


def test_what_the_replay_gave_up_is_passed_over():
    replay = replay_of(capacity=24)
    queue = OnlineQueue(replay, 5)
    play(replay, 6)
    assert queue.take(9).tolist() == [0]
    play(replay, 60)
    first = int(replay.spans()[0][0])
    waiting = queue.take(9).tolist()
    assert first > 5 and waiting == list(range(-(-first // 5) * 5, 62, 5))
    assert all(position >= first for position in waiting)


def test_ranks_share_what_waits():
    replay = replay_of()
    play(replay, 52)
    parts = [OnlineQueue(replay, 5).take(2, rank, 2).tolist() for rank in (0, 1)]
    assert parts == [[0, 10], [5, 15]]


def test_a_checkpoint_knows_what_was_served():
    replay = replay_of(envs=2)
    queue = OnlineQueue(replay, 5)
    play(replay, 30, env=0)
    queue.take(2)
    again = OnlineQueue(replay, 5)
    again.restore(queue.arrays())
    assert again.take(9).tolist() == queue.take(9).tolist() == [10, 15, 20, 25]
    with pytest.raises(RunError, match="of 1 environments, this one of 2"):
        again.restore(OnlineQueue(replay_of(), 5).arrays())
    with pytest.raises(ConfigError, match="overlap is from 0"):
        OnlineQueue(replay, 5, overlap=5)
