"""What a REM run has played, as a data set for others: an npz file, or a local Minari dataset.

It is what the replay of the newest checkpoint keeps: frames as the model saw them, the actions that were executed, and ends as
the learner saw them (in Atari a lost life is one).
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, RunError
from atari_vlm.experience.episode_files import save_steps, steps_of
from atari_vlm.experience.minari import _create, _episodes
from atari_vlm.experience.recorded_steps import Steps
from atari_vlm.experience.replay import Replay, picture_columns
from atari_vlm.runs.run_folder import read_config
from atari_vlm.training.imagination.checkpoints import Checkpoints
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.learned.arrays import under


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


def _replay(run: Path, rem: dict[str, Any], checkpoint: Checkpoint) -> Replay:
    tensors = under(checkpoint.tensors, "replay")
    px = rem["networks"]["tokenizer"]["frame_px"]
    reserve = len(tensors["serial"]) - rem["capacity"]
    replay = Replay(picture_columns((px, px, 3)), rem["capacity"], reserve=reserve, folder=run / "replay")
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
