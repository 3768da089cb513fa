"""mp4 files, complete or absent."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.files import replacing


def can_write_videos() -> bool:
    """Whether imageio-ffmpeg is installed."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


class _Abandoned(Exception):
    """Takes an unfinished file away."""


class VideoWriter:
    """Writes uint8 ``(H, W, 3)`` pictures of one size as H.264; the file appears under its name when it is complete."""

    def __init__(self, path: str | Path, fps: float):
        check_positive(fps=fps)
        self.path, self.fps = Path(path), fps
        if self.path.suffix != ".mp4":
            raise ConfigError(f"a video's name ends in .mp4, got {self.path.name!r}")
        self._ffmpeg = require("imageio_ffmpeg", "video")
        self._writer: Any = None
        self._file = ExitStack()
        self._shape: tuple[int, ...] = ()

    def add(self, picture: np.ndarray) -> None:
        """Append a picture; its sides must be even, and those of the first one."""
        if self._writer is None:
            self._open(picture)
        if picture.shape != self._shape:
            raise ConfigError(f"the video shows pictures of shape {self._shape}, got {picture.shape}")
        self._writer.send(np.ascontiguousarray(picture))

    def close(self) -> None:
        """Finish the file. Without any picture there is no file."""
        if self._writer is not None:
            with self._file:
                writer, self._writer = self._writer, None
                writer.close()

    def abandon(self) -> None:
        """Leave no file: what was begun is removed."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
            with suppress(_Abandoned), self._file:
                raise _Abandoned

    def _open(self, picture: np.ndarray) -> None:
        height, width = picture.shape[:2]
        if picture.dtype != np.uint8 or picture.ndim != 3 or height % 2 or width % 2:
            raise ConfigError(f"a video needs uint8 (H, W, 3) with even sides, got {picture.dtype} {picture.shape}")
        self._shape = picture.shape
        unfinished = self._file.enter_context(replacing(self.path))
        self._writer = self._ffmpeg.write_frames(
            str(unfinished), (width, height), fps=self.fps, macro_block_size=2, output_params=["-f", "mp4"]
        )
        self._writer.send(None)
