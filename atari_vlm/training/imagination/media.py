"""Episodes of a run to look at: training games, evaluation games, dreams; as npz, and as mp4 where ffmpeg is installed.

::

    <run>/media/train/epoch-000020.npz and .mp4           the last ended episodes of the replay
    <run>/media/test/...                                  the beginnings of the first games of the evaluation
    <run>/media/imagination/...                           the player in its dream, from moments of the replay
    <run>/reconstructions/epoch-000020.png                originals above what the tokenizer makes of them

``python -m atari_vlm.play --episodes <run>/media`` shows them step by step; see
:mod:`atari_vlm.experience.episode_files` for what an npz holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import IMAGE, KINDS, Episode
from atari_vlm.files import atomic_write, remove_left_behind
from atari_vlm.picture import encode_png
from atari_vlm.video import VideoWriter, can_write_videos
from atari_vlm.viewing.episode_browser import EpisodeBrowser

_FPS = 15.0


@dataclass(frozen=True)
class MediaConfig:
    """Per evaluation and kind, ``episodes`` (0: no media) of at most ``steps`` steps; the newest ``kept`` evaluations stay.

    With 64 x 64 pixels that is at most 3 x 5 x 2 x 500 frames of 12 KB before compression.
    """

    episodes: int = 2
    steps: int = 500
    kept: int = 5

    def __post_init__(self) -> None:
        if self.episodes < 0 or self.steps < 1 or self.kept < 1:
            raise ConfigError(f"episodes >= 0, steps >= 1 and kept >= 1 are needed, got {self}")


def save_episodes(
    folder: Path, kind: str, epoch: int, episodes: Sequence[Episode], action_names: Sequence[str]
) -> Path:
    """Write episodes to ``folder/kind/epoch-<epoch>.npz``, and a film of them beside it; returns the npz's path."""
    if kind not in KINDS or not episodes:
        raise ConfigError(
            f"media are episodes of one of {', '.join(KINDS)}, got {len(episodes)} of {kind!r}"
        )
    path, names = folder / kind / f"epoch-{epoch:06d}.npz", tuple(action_names)
    titles = [f"{path.stem} {n}/{len(episodes)}" for n in range(1, len(episodes) + 1)]
    titled = [
        replace(e, name=name, action_names=names) for name, e in zip(titles, episodes, strict=True)
    ]
    write_episodes(path, titled)
    if IMAGE in titled[0].inputs and can_write_videos():
        _film(path, titled)
    return path


def keep_newest(folder: Path, kept: int) -> None:
    """Remove what older evaluations left, and films that a killed process left unfinished."""
    for kind in KINDS:
        if (folder / kind).is_dir():
            remove_left_behind(folder / kind)
        for suffix in (".npz", ".mp4"):
            for old in sorted((folder / kind).glob(f"epoch-*{suffix}"))[:-kept]:
                old.unlink()


def _film(path: Path, episodes: list[Episode]) -> None:
    """An mp4 of what the episode browser shows: each picture below a line of step, action, reward and return."""
    browser = EpisodeBrowser(episodes)
    video = VideoWriter(path.with_suffix(".mp4"), _FPS)
    for at in range(len(browser.shown)):
        browser.at, browser.step = at, 0
        for step in range(len(browser.episode.pictures)):
            browser.step = step
            video.add(browser.picture())
    video.close()


def write_reconstructions(
    path: Path, originals: np.ndarray, decoded: np.ndarray, scale: int = 2
) -> None:
    """A PNG: frames ``(N, H, W, 3)`` in a row, what the tokenizer makes of them below."""
    rows = [np.concatenate(list(frames), axis=1) for frames in (originals, decoded)]
    atomic_write(path, encode_png(np.concatenate(rows).repeat(scale, 0).repeat(scale, 1)))
