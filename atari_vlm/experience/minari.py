"""Minari datasets of recorded steps, read and written."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

import atari_vlm
from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError
from atari_vlm.experience.recorded_steps import COLUMNS, Steps


def _from_minari(name: str) -> Steps:
    minari = require("minari", "datasets")
    if name not in minari.list_local_datasets():
        raise ConfigError(f"{name!r} is neither an .npz file nor a local Minari dataset")
    dataset = minari.load_dataset(name)
    columns: list[list[np.ndarray]] = [[] for _ in COLUMNS]
    for episode in dataset.iterate_episodes():
        shown = np.asarray(episode.observations)[: len(episode.actions)]  # the last one follows the last action
        values = (shown, episode.actions, episode.rewards, episode.terminations, episode.truncations)
        for column, value in zip(columns, values, strict=True):
            column.append(np.asarray(value))
    numbers = [str(action) for action in range(int(dataset.action_space.n))]
    names = tuple(map(str, dataset.storage.metadata.get("action_names", numbers)))
    frames, actions, rewards, terminated, truncated = (np.concatenate(column) for column in columns)
    return Steps(frames, actions, rewards, terminated, truncated, names)


def _episodes(steps: Steps) -> Iterator[Any]:
    """Episodes as Minari buffers them; the last one may still be going on: it counts as truncated."""
    from minari.data_collector import EpisodeBuffer

    stops = np.flatnonzero(steps.terminated | steps.truncated) + 1
    stops = np.union1d(stops, [len(steps.actions)])
    for begin, stop in zip([0, *stops[:-1]], stops, strict=True):
        truncated = steps.truncated[begin:stop].copy()
        truncated[-1] |= not steps.terminated[stop - 1]
        yield EpisodeBuffer(
            observations=[*steps.frames[begin:stop], steps.frames[stop - 1]],
            actions=steps.actions[begin:stop].tolist(),
            rewards=steps.rewards[begin:stop].tolist(),
            terminations=steps.terminated[begin:stop].tolist(),
            truncations=truncated.tolist(),
        )


def _create(minari: Any, dataset_id: str, buffer: list[Any], of: tuple[Steps, str]) -> Any:
    steps, source = of
    options: dict[str, Any] = {
        "observation_space": gymnasium.spaces.Box(0, 255, steps.frames.shape[1:], np.uint8),
        "action_space": gymnasium.spaces.Discrete(steps.num_actions),
        "algorithm_name": "atari_vlm REM",
        "author": "atari_vlm",
        "author_email": "none",
        "code_permalink": f"atari-vlm {atari_vlm.__version__}",
        "description": f"{source}, played by REM while it trained; actions: {', '.join(steps.action_names)}",
    }
    if "jpeg_encoding" in inspect.signature(minari.create_dataset_from_buffers).parameters:
        options["jpeg_encoding"] = False  # the default loses pixels
    with warnings.catch_warnings():
        for missing in ("`eval_env` is set to None", "env_spec is None"):  # no environment shows pictures of this size
            warnings.filterwarnings("ignore", missing)
        return minari.create_dataset_from_buffers(dataset_id, buffer=buffer, **options)
