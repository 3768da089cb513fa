"""mp4 files, complete or absent."""

from __future__ import annotations

import importlib.util
import shutil
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, StorageError, check_positive
from atari_vlm.files import replacing

_LITTLE_ROOM = 1 << 20


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
        self._unfinished = self.path

    def add(self, picture: np.ndarray) -> None:
        """Append a picture; its sides must be even, and those of the first one."""
        if self._writer is None:
            self._open(picture)
        if picture.shape != self._shape:
            raise ConfigError(
                f"the video shows pictures of shape {self._shape}, got {picture.shape}"
            )
        try:
            self._writer.send(np.ascontiguousarray(picture))
        except OSError as error:
            self.abandon()
            raise self._unwritable() from error

    def close(self) -> None:
        """Finish the file. Without any picture there is no file."""
        if self._writer is not None:
            with self._file:
                writer, self._writer = self._writer, None
                writer.close()
                if not _is_whole(self._unfinished):
                    raise self._unwritable()

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
            raise ConfigError(
                f"a video needs uint8 (H, W, 3) with even sides, got {picture.dtype} {picture.shape}"
            )
        self._shape = picture.shape
        self._unfinished = self._file.enter_context(replacing(self.path))
        self._writer = self._ffmpeg.write_frames(
            str(self._unfinished),
            (width, height),
            fps=self.fps,
            macro_block_size=2,
            ffmpeg_log_level="quiet",
            output_params=["-f", "mp4"],
        )
        self._writer.send(None)

    def _unwritable(self) -> StorageError:
        full = shutil.disk_usage(self.path.parent).free < _LITTLE_ROOM
        return StorageError(
            f"{self.path} cannot be written: {'the disk is full' if full else 'ffmpeg was stopped'}"
        )


def _is_whole(file: Path) -> bool:
    """Whether an mp4 has all of its parts, the table of its pictures among them, which is written last (ISO 14496-12, 4.2)."""
    kinds, at, size = [], 0, file.stat().st_size
    with open(file, "rb") as stream:
        while at + 8 <= size:
            stream.seek(at)
            length, kind = struct.unpack(">I4s", stream.read(8))
            if length == 1:  # the length does not fit and stands behind
                (length,) = struct.unpack(">Q", stream.read(8))
            kinds.append(kind)
            at += max(length, 8)
    return at == size and b"moov" in kinds
