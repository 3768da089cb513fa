"""What a REM run has played, as a data set for others: an npz file, or a local Minari dataset.

It is what the replay of the newest checkpoint keeps: frames as the model saw them, the actions that were executed, and ends as
the learner saw them (in Atari a lost life is one).
"""

from __future__ import annotations

import fcntl
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import atari_vlm
from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, RunError
from atari_vlm.experience.episode_files import Steps, save_steps, steps_of
from atari_vlm.experience.replay import ReplayBuffer, ReplayConfig
from atari_vlm.runs.metrics import Checkpoints
from atari_vlm.runs.run_folder import read_config
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.rem.learner import under


def steps_of_run(run: Path) -> tuple[Steps, str]:
    """The steps that a run's newest checkpoint knows, oldest first, and the game or data set they are of.

    Raises ``ConfigError`` for a folder that is no REM run or has no checkpoint yet, and ``RunError`` while it is being trained.
    """
    settings = read_config(run)["settings"]
    if "rem" not in settings:
        raise ConfigError(f"{run} is not a run of `dream rem`")
    with open(run / "lock", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{run} is being trained; stop it first, it can go on later") from error
        newest = Checkpoints(run / "checkpoints").newest()
        if newest is None or not (run / "replay" / "frames.u8").is_file():
            raise ConfigError(f"{run} has no checkpoint and replay to export yet")
        replay = _replay(run, settings["rem"], newest[1])
        return steps_of(replay, tuple(newest[1].config["action_names"])), str(settings["source"])


def _replay(run: Path, rem: dict[str, Any], checkpoint: Checkpoint) -> ReplayBuffer:
    tensors = under(checkpoint.tensors, "replay")
    px = rem["networks"]["tokenizer"]["frame_px"]
    reserve = len(tensors["serial"]) - rem["capacity"]
    replay = ReplayBuffer(ReplayConfig(rem["capacity"], px, reserve), run / "replay")
    replay.restore(tensors)
    return replay


def export_npz(run: Path, path: Path) -> int:
    """Write a run's steps to an npz file as ``--dataset`` takes it; how many steps."""
    if path.suffix != ".npz":
        raise ConfigError(f"the file's name ends in .npz, got {path.name!r}")
    steps, _ = steps_of_run(run)
    save_steps(path, steps)
    return len(steps.actions)


def export_minari(run: Path, dataset_id: str) -> int:
    """Write a run's steps as a local Minari dataset, one episode each, pictures without loss; how many steps.

    Minari wants a picture after the last action; the last one that was seen stands for it.
    """
    minari = require("minari", "datasets")
    if dataset_id in minari.list_local_datasets():
        raise ConfigError(f"there is a local Minari dataset {dataset_id!r} already; delete it or choose another id")
    steps, source = steps_of_run(run)
    dataset = None
    for buffer in _episodes(steps):
        if dataset is None:
            dataset = _create(minari, dataset_id, [buffer], (steps, source))
        else:
            dataset.update_dataset_from_buffer([buffer])
    assert dataset is not None  # steps are never empty
    dataset.storage.update_metadata({"action_names": list(steps.action_names)})
    return len(steps.actions)


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
