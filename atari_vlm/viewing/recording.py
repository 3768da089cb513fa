"""A recording of play: an mp4 to look at, and beside it an npz with what happened."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import gymnasium
import numpy as np

from atari_vlm.actions import as_actions, still_action
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import IMAGE, Episode
from atari_vlm.video import VideoWriter


class Recording:
    """An mp4 of what was shown, and an npz of what happened with the same name (see :mod:`atari_vlm.experience.episode_files`):
    pictures the player acted on, rewards in float64, and of ``action_space``, where one is given, what the actions alone do
    not say: bounds, or where numbers begin.
    """

    def __init__(
        self, path: str | Path, fps: float, action_space: gymnasium.Space[Any] | None = None
    ):
        self.video = VideoWriter(path, fps)
        self._action_space = action_space
        self._spool = cast(BinaryIO, tempfile.TemporaryFile())
        self._shape: tuple[int, ...] = ()
        self._steps: list[list[tuple[Any, float, bool, bool]]] = []  # of each episode

    def start(self, observation: np.ndarray, shown: np.ndarray) -> None:
        """An episode begins (or the recording does, within one)."""
        self._keep(observation, shown)
        self._steps.append([])

    def step(
        self, outcome: tuple[Any, float, bool, bool], observation: np.ndarray, shown: np.ndarray
    ) -> None:
        """One step: ``(action, reward, terminated, truncated)``, the picture after it, and what was shown then."""
        self._keep(observation, shown)
        self._steps[-1].append(outcome)

    def close(self) -> Path:
        """Write both files; returns the video's path."""
        self.video.close()
        self._spool.flush()
        if self._steps:
            path = self.video.path.with_suffix(".npz")
            write_episodes(path, self._episodes(), self._action_space)
        self._spool.close()
        return self.video.path

    def _episodes(self) -> list[Episode]:
        pictures = sum(len(steps) + 1 for steps in self._steps)
        kept = np.memmap(self._spool, np.uint8, "r", shape=(pictures, *self._shape))
        width, kind = self._kind_of_action()
        episodes, begin = [], 0
        for steps in self._steps:
            actions, rewards, terminated, truncated = (
                zip(*steps, strict=True) if steps else ((), (), (), ())
            )
            flags = (np.array(flag, np.bool_) for flag in (terminated, truncated))
            shown = {IMAGE: kept[begin : begin + len(steps) + 1]}
            episodes.append(
                Episode(
                    shown,
                    np.array(actions, kind).reshape(-1, *width),
                    np.array(rewards, np.float64),
                    *flags,
                )
            )
            begin += len(steps) + 1
        return episodes

    def _kind_of_action(self) -> tuple[tuple[int, ...], type[np.generic]]:
        """Shape and type of one action, of a recording without steps too."""
        like = next((np.asarray(steps[0][0]) for steps in self._steps if steps), np.int64(0))
        if self._action_space is not None:
            like = as_actions(self._action_space, still_action(self._action_space))
        return like.shape, np.float32 if like.dtype.kind == "f" else np.int64

    def abandon(self) -> None:
        """Leave no file, when something went wrong."""
        self._spool.close()
        self.video.abandon()

    def _keep(self, observation: np.ndarray, shown: np.ndarray) -> None:
        self._shape = self._shape or observation.shape
        if observation.shape != self._shape or observation.dtype != np.uint8:
            raise ConfigError(
                f"a recording is of uint8 {self._shape}, got {observation.dtype} {observation.shape}"
            )
        self.video.add(shown)
        self._spool.write(np.ascontiguousarray(observation).tobytes())
