"""A recording of play: an mp4 to look at, and beside it an npz with what happened."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from atari_vlm.files import atomic_write
from atari_vlm.video import VideoWriter


class Recording:
    """An mp4 of what was shown, and an npz of what happened with the same name.

    The npz holds ``observations`` uint8 ``(T + N, H, W, 3)`` (the pictures the player acted on), ``actions`` int64 ``(T,)``,
    ``rewards`` float64 ``(T,)``, ``terminated`` and ``truncated`` bool ``(T,)``, and ``starts`` int64 ``(N,)``: where in
    ``observations`` each of the N episodes begins.
    """

    def __init__(self, path: str | Path, fps: float):
        self.video = VideoWriter(path, fps)
        self._spool = cast(BinaryIO, tempfile.TemporaryFile())
        self._shape: tuple[int, ...] = ()
        self._pictures = 0
        self._starts: list[int] = []
        self._steps: list[tuple[int, float, bool, bool]] = []

    def start(self, observation: np.ndarray, shown: np.ndarray) -> None:
        """An episode begins (or the recording does, within one)."""
        self._starts.append(self._pictures)
        self._keep(observation, shown)

    def step(self, outcome: tuple[int, float, bool, bool], observation: np.ndarray, shown: np.ndarray) -> None:
        """One step: ``(action, reward, terminated, truncated)``, the picture after it, and what was shown then."""
        self._steps.append(outcome)
        self._keep(observation, shown)

    def close(self) -> Path:
        """Write both files; returns the video's path."""
        self.video.close()
        self._spool.flush()
        observations = np.memmap(self._spool, np.uint8, "r", shape=(self._pictures, *self._shape))
        actions, rewards, terminated, truncated = zip(*self._steps, strict=True) if self._steps else ((), (), (), ())
        with tempfile.SpooledTemporaryFile(max_size=1 << 28) as content:
            np.savez_compressed(
                cast(Any, content),
                observations=observations,
                actions=np.array(actions, np.int64),
                rewards=np.array(rewards, np.float64),
                terminated=np.array(terminated, np.bool_),
                truncated=np.array(truncated, np.bool_),
                starts=np.array(self._starts, np.int64),
            )
            content.seek(0)
            atomic_write(self.video.path.with_suffix(".npz"), content.read())
        self._spool.close()
        return self.video.path

    def _keep(self, observation: np.ndarray, shown: np.ndarray) -> None:
        if not self._shape:
            self._shape = observation.shape
        self._spool.write(np.ascontiguousarray(observation, dtype=np.uint8).tobytes())
        self._pictures += 1
        self.video.add(shown)
