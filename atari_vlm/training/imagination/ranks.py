"""What rank 0 sends to the other processes of a run, and what they give it for a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from atari_vlm.experience.replay import Replay
from atari_vlm.world_models.learned.team import Team

_CHUNK = 4096  # frames sent at once
_KEY = "ranks"


def send_steps(team: Team, replay: Replay, before: Sequence[int]) -> None:
    """Bring the other ranks' replays up to rank 0's, whose environments had ``before`` steps each until now."""
    if team.size == 1:
        return
    added = team.from_first(torch.tensor(replay.written_by_env) - torch.tensor(before)).tolist()
    for env, count in enumerate(added):
        _send_newest(team, replay, (count, env))


def _send_newest(team: Team, replay: Replay, what: tuple[int, int]) -> None:
    count, env = what
    slots = replay.newest(count, env) if team.rank == 0 else np.zeros(count, np.int64)
    columns = {name: _first(team, replay.read(name, slots)) for name in replay.columns}
    if team.rank > 0:
        for t in range(count):
            step = {
                name: values[t]
                for name, values in columns.items()
                if not replay.columns[name].written_back
            }
            replay.add_row(step, env)


def send_frames(team: Team, replay: Replay) -> None:
    """Give the other ranks what lies on disk of all steps that are kept: a checkpoint has it in rank 0's files alone."""
    if team.size == 1:
        return
    kept, on_disk = (
        replay.kept(),
        [name for name, column in replay.columns.items() if column.on_disk],
    )
    for begin in range(0, len(kept), _CHUNK):
        slots = kept[begin : begin + _CHUNK]
        for name in on_disk:
            values = _first(team, replay.read(name, slots))
            if team.rank > 0:
                replay.write(name, slots, values)


def streams_of_others(team: Team, own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The random streams of the ranks after rank 0, as arrays of a checkpoint; none for a single process."""
    if team.size == 1:
        return {}
    rows = {
        name: team.gather(torch.from_numpy(state.view(np.uint8).copy())[None])
        for name, state in own.items()
    }
    return {f"{_KEY}.{name}": states[1:].numpy() for name, states in rows.items()}


def streams_of_rank(team: Team, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """This rank's streams in a checkpoint; ``None`` for rank 0, and where it was made by another number of processes."""
    streams = {
        name.split(".")[1]: rows for name, rows in arrays.items() if name.startswith(_KEY + ".")
    }
    if team.rank == 0 or not streams or len(streams["numpy"]) != team.size - 1:
        return None
    own = {name: rows[team.rank - 1].copy() for name, rows in streams.items()}
    return {**own, "numpy": own["numpy"].view(np.uint64)}


def _first(team: Team, values: np.ndarray) -> np.ndarray:
    """Rank 0's array; bool travels as uint8."""
    raw = values.view(np.uint8) if values.dtype == np.bool_ else values
    sent = team.from_first(torch.from_numpy(np.ascontiguousarray(raw))).numpy()
    return sent.view(np.bool_) if values.dtype == np.bool_ else sent
