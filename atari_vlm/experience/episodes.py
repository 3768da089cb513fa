"""Whole episodes of REM's real play: kept while games are evaluated, or cut out of the replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atari_vlm.experience.replay import Replay, picture_columns


@dataclass(frozen=True, eq=False)
class RemEpisode:
    """``pictures`` uint8 ``(T + 1, H, W, 3)``, or ``(T, H, W, 3)`` where the last one was not kept; ``actions`` int64,
    ``rewards`` float32, ``terminated``, ``truncated`` and ``lost_life`` bool ``(T,)``. It may be only an episode's beginning.
    """

    pictures: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    lost_life: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)


def newest_episodes(replay: Replay, count: int, steps: int) -> list[RemEpisode]:
    """The last ``count`` ended episodes of a replay, newest last, of each its first ``steps`` steps."""
    firsts, stops = replay.bounds()
    found: list[RemEpisode] = []
    for first, stop in zip(firsts[::-1].tolist(), stops[::-1].tolist(), strict=True):
        if len(found) == count:
            break
        slots = replay.slots(np.arange(first, stop))
        names = ("action", "reward", "terminated", "truncated")
        action, reward, terminated, truncated = (replay.read(name, slots) for name in names)
        if terminated[-1] or truncated[-1]:
            columns = (action, reward, terminated, truncated, np.zeros(len(slots), np.bool_))
            found.append(first_steps(RemEpisode(replay.read("image", slots), *columns), steps))
    return found[::-1]


def first_steps(episode: RemEpisode, steps: int) -> RemEpisode:
    """The beginning of an episode, with the picture after its last step if there is one."""
    columns = (episode.actions, episode.rewards, episode.terminated, episode.truncated, episode.lost_life)
    return RemEpisode(episode.pictures[: steps + 1], *(column[:steps] for column in columns))


def as_replay(episodes: Sequence[RemEpisode]) -> Replay:
    """A replay of their steps, labelled as in training: a lost life ends an episode."""
    steps = sum(map(len, episodes))
    replay = Replay(picture_columns(episodes[0].pictures.shape[1:]), steps + 1)
    for episode in episodes:
        for t in range(len(episode)):
            step = {
                "image": episode.pictures[t],
                "action": episode.actions[t],
                "reward": episode.rewards[t],
                "terminated": episode.terminated[t] or episode.lost_life[t],
                "truncated": episode.truncated[t],
            }
            replay.add(step)
        replay.stop_episode()
    return replay
