"""Episodes of a REM run to look at: training games, evaluation games, dreams; as npz, and as mp4 where ffmpeg is installed.

::

    <run>/media/train/epoch-000020.npz and .mp4           the last ended episodes of the replay
    <run>/media/test/...                                  the beginnings of the first games of the evaluation
    <run>/media/imagination/...                           the player in its dream, from moments of the replay
    <run>/reconstructions/epoch-000020.png                originals above what the tokenizer makes of them

``python -m atari_vlm.play --episodes <run>/media`` shows them step by step. An npz has ``observations`` uint8 (N episodes one
after the other), ``actions``, ``rewards``, ``terminated``, ``truncated``, ``starts`` and ``action_names``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.experience.episodes import RemEpisode
from atari_vlm.files import atomic_write, remove_left_behind
from atari_vlm.picture import encode_png
from atari_vlm.video import VideoWriter, can_write_videos
from atari_vlm.viewing.episode_browser import KINDS, EpisodeBrowser, read_episodes

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
    folder: Path, kind: str, epoch: int, episodes: Sequence[RemEpisode], action_names: Sequence[str]
) -> Path:
    """Write episodes to ``folder/kind/epoch-<epoch>.npz``, and a film of them beside it; returns the npz's path."""
    if kind not in KINDS or not episodes:
        raise ConfigError(f"media are episodes of one of {', '.join(KINDS)}, got {len(episodes)} of {kind!r}")
    path = folder / kind / f"epoch-{epoch:06d}.npz"
    pictures = [with_last(episode) for episode in episodes]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        observations=np.concatenate(pictures),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]).astype(np.float64),
        terminated=np.concatenate([episode.terminated for episode in episodes]),
        truncated=np.concatenate([episode.truncated for episode in episodes]),
        starts=np.cumsum([0, *map(len, pictures[:-1])]),
        action_names=np.array(action_names),
    )
    atomic_write(path, content.getvalue())
    if can_write_videos():
        _film(path)
    return path


def with_last(episode: RemEpisode) -> np.ndarray:
    """Pictures ``(T + 1, H, W, 3)``; where the last one was not kept, the one before it stands for it."""
    missing = len(episode) + 1 - len(episode.pictures)
    return np.concatenate([episode.pictures, episode.pictures[-1:].repeat(missing, axis=0)])


def keep_newest(folder: Path, kept: int) -> None:
    """Remove what older evaluations left, and films that a killed process left unfinished."""
    for kind in KINDS:
        if (folder / kind).is_dir():
            remove_left_behind(folder / kind)
        for suffix in (".npz", ".mp4"):
            for old in sorted((folder / kind).glob(f"epoch-*{suffix}"))[:-kept]:
                old.unlink()


def _film(path: Path) -> None:
    """An mp4 of what the episode browser shows: each picture below a line of step, action, reward and return."""
    browser = EpisodeBrowser(read_episodes(path))
    video = VideoWriter(path.with_suffix(".mp4"), _FPS)
    for at in range(len(browser.shown)):
        browser.at, browser.step = at, 0
        for step in range(len(browser.episode.pictures)):
            browser.step = step
            video.add(browser.picture())
    video.close()


def write_reconstructions(path: Path, originals: np.ndarray, decoded: np.ndarray, scale: int = 2) -> None:
    """A PNG: frames ``(N, H, W, 3)`` in a row, what the tokenizer makes of them below."""
    rows = [np.concatenate(list(frames), axis=1) for frames in (originals, decoded)]
    atomic_write(path, encode_png(np.concatenate(rows).repeat(scale, 0).repeat(scale, 1)))
