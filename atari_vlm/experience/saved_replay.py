"""The replay of a run, as its checkpoint and its files hold it, to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from atari_vlm.experience.columns import Column
from atari_vlm.experience.replay import FOLLOWED, Replay
from atari_vlm.experience.store import FILES

_NO_COLUMNS = (*FOLLOWED, "cursor", "starts", "serial", "priority", "arrivals")


def saved_replay(arrays: Mapping[str, np.ndarray], folder: Path) -> Replay:
    """The replay that a checkpoint's ``arrays`` and a run's ``folder`` of files hold, without what a learner kept with it."""
    slots, columns = len(arrays["serial"]), {}
    for name, array in arrays.items():
        kind, _, column = name.partition(".")
        if kind == "shape":
            column, dtype = column.rsplit(".", 1)
            columns[column] = Column(tuple(array.tolist()), dtype, on_disk=True)
        elif name not in _NO_COLUMNS and kind not in ("checksum", "back", "undo"):
            columns.setdefault(name, Column(array.shape[1:], array.dtype.name))
    columns = {name: column for name, column in columns.items() if f"back.{name}" not in arrays}
    frames = folder / f"{FILES['image']}.u8"
    if (
        not any(column.on_disk for column in columns.values()) and frames.is_file()
    ):  # of before shapes were kept
        side = math.isqrt(frames.stat().st_size // slots // 3)
        columns["image"] = Column((side, side, 3), "uint8", on_disk=True)
    envs, arrivals = len(arrays["cursor"]) // 2, "arrivals" in arrays
    replay = Replay(columns, slots, folder=folder, num_envs=envs, arrivals=arrivals)
    replay.restore(arrays)
    return replay
