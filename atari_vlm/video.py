"""mp4 files, complete or absent."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path

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

    _ffmpeg: subprocess.Popen[bytes] | None = None

    def __init__(self, path: str | Path, fps: float):
        check_positive(fps=fps)
        self.path, self.fps = Path(path), fps
        if self.path.suffix != ".mp4":
            raise ConfigError(f"a video's name ends in .mp4, got {self.path.name!r}")
        self._program = require("imageio_ffmpeg", "video").get_ffmpeg_exe()
        self._file = ExitStack()
        self._shape: tuple[int, ...] = ()
        self._unfinished = self.path

    def add(self, picture: np.ndarray) -> None:
        """Append a picture; its sides must be even, and those of the first one."""
        ffmpeg = self._ffmpeg or self._open(picture)
        if picture.shape != self._shape:
            raise ConfigError(
                f"the video shows pictures of shape {self._shape}, got {picture.shape}"
            )
        try:
            ffmpeg.stdin.write(np.ascontiguousarray(picture).data)  # type: ignore[union-attr]
        except OSError as error:
            self.abandon()
            raise self._unwritable() from error

    def close(self) -> None:
        """Finish the file. Without any picture there is no file."""
        if self._ffmpeg is not None:
            with self._file:
                self._end()
                if not _is_whole(self._unfinished):
                    raise self._unwritable()

    def abandon(self) -> None:
        """Leave no file: what was begun is removed."""
        if self._ffmpeg is not None:
            self._end()
            with suppress(_Abandoned), self._file:
                raise _Abandoned

    def __del__(self) -> None:
        """A video that nobody ended leaves no file."""
        self.abandon()

    def _open(self, picture: np.ndarray) -> subprocess.Popen[bytes]:
        height, width = picture.shape[:2]
        if picture.dtype != np.uint8 or picture.ndim != 3 or height % 2 or width % 2:
            raise ConfigError(
                f"a video needs uint8 (H, W, 3) with even sides, got {picture.dtype} {picture.shape}"
            )
        self._shape = picture.shape
        self._unfinished = self._file.enter_context(replacing(self.path))
        rate = str(Fraction(self.fps).limit_denominator())
        command = [
            *(self._program, "-y", "-v", "quiet"),
            *(
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-s",
                f"{width}x{height}",
                "-r",
                rate,
                "-i",
                "-",
            ),
            *("-c:v", "libx264", "-crf", "25", "-pix_fmt", "yuv420p", "-f", "mp4"),
            str(self._unfinished),
        ]
        # A group of its own: Ctrl-C stops us, and we end the file.
        self._ffmpeg = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
        )
        return self._ffmpeg

    def _end(self) -> None:
        """No more pictures: wait until ffmpeg has written what it holds, or has died."""
        ffmpeg, self._ffmpeg = self._ffmpeg, None
        with suppress(OSError):  # of a pipe that nobody reads; what is missing shows in the file
            ffmpeg.stdin.close()  # type: ignore[union-attr]
        ffmpeg.wait()  # type: ignore[union-attr]

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
