"""What rank 0 sends to the other processes of a run, and what they give it for a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from atari_vlm.experience.replay import ReplayBuffer
from atari_vlm.world_models.learned.team import Team

_CHUNK = 4096  # frames sent at once
_COLUMNS = ("action", "reward", "terminated", "truncated")
_KEY = "ranks"


def send_steps(team: Team, replay: ReplayBuffer, before: int) -> None:
    """Bring the other ranks' replays up to rank 0's, which had ``before`` steps until now."""
    if team.size == 1:
        return
    added = int(team.from_first(torch.tensor(replay.written - before)))
    slots = np.arange(before, before + added) % len(replay.serial)
    frames = _first(team, replay.frames(slots))
    columns = [_first(team, replay.column(name, slots)) for name in _COLUMNS]
    if team.rank > 0:
        for frame, *values in zip(frames, *columns, strict=True):
            action, reward, terminated, truncated = values
            replay.add(frame, int(action), float(reward), bool(terminated), bool(truncated))


def send_frames(team: Team, replay: ReplayBuffer) -> None:
    """Give the other ranks the frames of all steps that are kept: a checkpoint has them in rank 0's file alone."""
    if team.size == 1:
        return
    serials = np.arange(replay.written - len(replay), replay.written)
    for begin in range(0, len(serials), _CHUNK):
        slots = serials[begin : begin + _CHUNK] % len(replay.serial)
        frames = _first(team, replay.frames(slots))
        if team.rank > 0:
            replay.put_frames(slots, frames)


def streams_of_others(team: Team, own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The random streams of the ranks after rank 0, as arrays of a checkpoint; none for a single process."""
    if team.size == 1:
        return {}
    rows = {name: team.gather(torch.from_numpy(state.view(np.uint8).copy())[None]) for name, state in own.items()}
    return {f"{_KEY}.{name}": states[1:].numpy() for name, states in rows.items()}


def streams_of_rank(team: Team, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """This rank's streams in a checkpoint; ``None`` for rank 0, and where it was made by another number of processes."""
    found = {name.split(".")[1]: rows for name, rows in arrays.items() if name.startswith(_KEY + ".")}
    if team.rank == 0 or not found or len(found["numpy"]) != team.size - 1:
        return None
    own = {name: rows[team.rank - 1].copy() for name, rows in found.items()}
    return {**own, "numpy": own["numpy"].view(np.uint64)}


def _first(team: Team, values: np.ndarray) -> np.ndarray:
    """Rank 0's array; bool travels as uint8."""
    raw = values.view(np.uint8) if values.dtype == np.bool_ else values
    sent = team.from_first(torch.from_numpy(np.ascontiguousarray(raw))).numpy()
    return sent.view(np.bool_) if values.dtype == np.bool_ else sent
