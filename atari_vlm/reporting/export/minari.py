"""A run as a Minari data set: pictures, actions and rewards as Minari has them, and the words in its ``infos``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete
from PIL import Image as PIL

import atari_vlm
from atari_vlm.conditions import free_memory
from atari_vlm.errors import ConfigError, RunError
from atari_vlm.experience.episodes import IMAGE, Episode
from atari_vlm.experience.minari import About, Told, as_local, read_told, write_told
from atari_vlm.reporting.export.retelling import Retold, pixels_sha256
from atari_vlm.runs.game_names import is_atari


def write_minari_export(folder: Path, episodes: Iterable[Retold]) -> tuple[int, int]:
    """Write episodes as the Minari data set ``folder`` and read them back; how many, and how many steps.

    The folder's name is the data set's id (``NAME-v0``), so that with ``MINARI_DATASETS_PATH`` set to the folder above Minari
    finds it. ``ConfigError`` for a name that is no id and an episode that memory is too small for, ``RunError`` if a picture that
    is read back is not the one that was played.
    """
    waiting = iter(episodes)
    with as_local(folder) as dataset_id:
        first = next(waiting)
        env = _env_of(first)
        about = About(
            Discrete(len(first.action_names)),
            f"atari_vlm {atari_vlm.__version__}: {first.agent}",
            f"{first.game}: pictures as seen, actions, rewards; facts shown, prompts, replies and reasoning in the infos",
            env,
        )
        try:
            count, steps = write_told(dataset_id, _all(first, waiting), about)
        finally:
            if env is not None:
                env.close()
        _check_read_back(dataset_id)
    return count, steps


def _env_of(told: Retold) -> gym.Env[Any, Any] | None:
    """The game that shows what was seen, where gymnasium makes it."""
    if not is_atari(told.game):
        return None
    keywords = {**told.keywords, "image_format": "numpy"}
    return gym.make(f"AtariVLM/{told.game}-v5", **keywords)


def _all(first: Retold, more: Iterator[Retold]) -> Iterator[Told]:
    yield _told(first)
    for retold in more:
        if (retold.size, retold.action_names) != (first.size, first.action_names):
            raise ConfigError(
                f"episode {retold.row.episode} has pictures of another size or other buttons than the first one: they are not "
                "of one data set"
            )
        yield _told(retold)


def _told(retold: Retold) -> Told:
    needed = len(retold.pictures) * retold.size[0] * retold.size[1] * 3
    free = free_memory()
    if (
        free is not None and 3 * needed > free
    ):  # the pictures, Minari's list of them, and what it writes
        raise ConfigError(
            f"episode {retold.row.episode} needs {3 * needed / 1e9:.1f} GB of memory as a Minari episode, {free / 1e9:.1f} GB "
            "are free; --format lerobot holds its pictures packed"
        )
    pictures = np.stack([np.asarray(PIL.open(io.BytesIO(png))) for png in retold.pictures])
    episode = Episode(
        {IMAGE: pictures}, retold.actions, retold.rewards, retold.terminated, retold.truncated,
        action_names=retold.action_names, seed=retold.row.seed,
    )  # fmt: skip
    words: Mapping[str, list[str]] = {
        "text": retold.texts,
        "sha256": retold.digests,
        **retold.words,
        "agent": [retold.agent] * len(retold),
    }
    return Told(episode, words)


def _check_read_back(dataset_id: str) -> None:
    for told in read_told(dataset_id):
        found = [pixels_sha256(picture) for picture in told.episode.pictures]
        if found != told.words["sha256"]:
            raise RunError(f"{dataset_id} does not hold the pictures that were played")
