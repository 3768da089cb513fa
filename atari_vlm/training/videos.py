"""mp4 videos of recorded episodes, made by playing them again in the emulator."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.training.journal import EpisodeRow, Journal
from atari_vlm.training.replay import replay_episode
from atari_vlm.training.rollout import Env

_SCALE = 2  # the emulator's 210 x 160 picture is small, and codecs want even sizes


def can_write_videos() -> bool:
    """Whether imageio-ffmpeg is installed."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


def worth_filming(rows: Sequence[EpisodeRow], count: int) -> list[EpisodeRow]:
    """The best finished evaluation episodes, then the best training episodes: ``count`` in all."""
    done = [row for row in rows if row.status == "done" and row.length]
    return sorted(done, key=lambda row: (row.phase != "eval", -(row.episode_return or 0.0), row.episode))[:count]


def write_video(path: Path, journal: Journal, row: EpisodeRow, make_env: Callable[[], Env]) -> None:
    """Write one episode as H.264, one picture per agent step, at the speed of the real game; a finished file only."""
    env = make_env()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    writer: Any = None
    try:
        writer = _open(unfinished, env)
        replay_episode(env, row, journal.steps(row.episode), lambda _: writer.send(_picture(env)))
        writer.close()
        unfinished.replace(path)
    finally:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)
        env.close()


def _open(path: Path, env: Env) -> Any:
    import imageio_ffmpeg

    env.reset(seed=0)
    height, width = _picture(env).shape[:2]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=env.metadata.get("render_fps", 15),
        macro_block_size=2,
        output_params=["-f", "mp4"],
    )
    writer.send(None)
    return writer


def _picture(env: Env) -> np.ndarray:
    """uint8 ``(H, W, 3)``, enlarged by whole pixels."""
    return np.ascontiguousarray(np.asarray(env.render()).repeat(_SCALE, axis=0).repeat(_SCALE, axis=1))
