"""Recorded play for training without a game: an npz file, or a Minari dataset.

The npz file has, for N steps one after the other: ``frames`` uint8 ``(N, H, W, 3)``, ``actions`` int ``(N,)``, ``rewards``
float ``(N,)``, ``terminated`` and ``truncated`` bool ``(N,)``; ``action_names`` ``(A,)`` strings if they have names. An episode
stops at an end of either kind.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.experience.minari import _from_minari
from atari_vlm.experience.recorded_steps import COLUMNS, Steps
from atari_vlm.experience.replay import Replay
from atari_vlm.files import replacing
from atari_vlm.world_models.view import as_seen


def load_steps(source: str) -> Steps:
    """Steps from an npz file (a path that ends in ``.npz``) or a local Minari dataset id. Pickles are refused."""
    return _from_npz(Path(source)) if source.endswith(".npz") else _from_minari(source)


def save_steps(path: Path, steps: Steps) -> None:
    """Write steps as a compressed npz file, which appears under its name when it is complete."""
    arrays = {name: getattr(steps, name) for name in COLUMNS}
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, action_names=np.array(steps.action_names), **arrays)


def fill_replay(replay: Replay, steps: Steps) -> None:
    """Add all steps, frames brought to the replay's size; an unfinished last episode is closed as truncated."""
    column = replay.columns["image"]
    pictures = gymnasium.spaces.Box(0, 255, column.shape, np.uint8)
    for t in range(len(steps.actions)):
        step = {
            "image": as_seen(steps.frames[t], pictures, "the data set"),
            "action": steps.actions[t],
            "reward": steps.rewards[t],
            "terminated": steps.terminated[t],
            "truncated": steps.truncated[t],
        }
        replay.add(step)
    replay.stop_episode()


def steps_of(replay: Replay, action_names: tuple[str, ...]) -> Steps:
    """Everything a replay keeps, oldest first."""
    names = ("image", "action", "reward", "terminated", "truncated")
    frames, actions, rewards, terminated, truncated = (replay.read(name, replay.kept()) for name in names)
    return Steps(frames, actions, rewards, terminated, truncated, action_names)


def _from_npz(path: Path) -> Steps:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in COLUMNS if name not in archive]
            if missing:
                raise ConfigError(f"{path} lacks {', '.join(missing)}; a dataset has {', '.join(COLUMNS)}")
            frames, actions, rewards, terminated, truncated = (archive[name] for name in COLUMNS)
            named = archive["action_names"].tolist() if "action_names" in archive else None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the dataset {path} cannot be read: {error}") from error
    names = named or [str(action) for action in range(int(actions.max()) + 1 if len(actions) else 1)]
    return Steps(frames, actions, rewards, terminated, truncated, tuple(names))
