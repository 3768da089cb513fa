"""mp4 videos of recorded episodes, made by playing them again in the emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from atari_vlm.pil_images import to_image
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.spaces import Env
from atari_vlm.types import Transition
from atari_vlm.video import VideoWriter

_FPS = 60  # of a game that does not tell
_SCALE = 2  # the emulator's picture of 210 x 160 is small on today's screens


def worth_filming(rows: Sequence[EpisodeRow], count: int) -> list[EpisodeRow]:
    """The best finished evaluation episodes, then the best training episodes: ``count`` in all."""
    done = [row for row in rows if row.status == "done" and row.length]
    return sorted(
        done, key=lambda row: (row.phase != "eval", -(row.episode_return or 0.0), row.episode)
    )[:count]


def write_video(path: Path, journal: Journal, row: EpisodeRow, make_env: Callable[[], Env]) -> None:
    """Write one episode, one picture per agent step, at the speed of the real game; the file appears when it is complete.

    A game that draws no picture of its own (``render``) is shown as its agents see it.
    """
    env = make_env()
    video = VideoWriter(path, fps=env.metadata.get("render_fps", _FPS))
    try:
        replay_episode(
            env, row, journal.steps(row.episode), lambda step: video.add(_picture(env, step))
        )
        video.close()
    finally:
        env.close()


def _picture(env: Env, step: Transition) -> np.ndarray:
    """uint8 ``(H, W, 3)``, enlarged by whole pixels."""
    draws = env.render_mode == "rgb_array"
    seen = env.render() if draws else to_image(step.next_observation["image"]).pixels
    return np.asarray(seen).repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
