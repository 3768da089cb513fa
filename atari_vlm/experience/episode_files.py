"""Episodes in npz files: one form is written; two older ones are read as well.

For E episodes of N steps together: ``actions`` int ``(N,)`` or ``(N, A)``, or float ``(N, A)``, ``rewards`` float ``(N,)``,
``terminated`` and ``truncated`` bool ``(N,)``; ``observations`` uint8 pictures ``(N + E, H, W, 3)`` one episode after the
other, of each one more than it has steps, or ``(N, H, W, 3)`` without what followed the last steps; ``starts`` int ``(E,)``:
where in them each episode begins. Where there are any: ``observations/<name>`` for what else was observed, ``action_names``
strings, ``lost_life`` bool ``(N,)``, ``action_start`` ``(1,)`` or ``(A,)`` of actions that do not begin at 0, ``action_low`` and
``action_high`` ``(A,)`` of floats, ``action_counts`` ``(A,)`` of whole numbers in several parts, ``frame_skip`` ``(1,)`` of
games that show fewer steps than frames.

Older files call the pictures ``frames``, or have no ``starts``: an episode then begins after each end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from atari_vlm.actions import as_actions
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episodes import (
    IMAGE,
    KINDS,
    DataSet,
    Episode,
    as_pictures,
    check_actions,
    check_rewards,
)
from atari_vlm.experience.minari import read_minari
from atari_vlm.experience.npz_files import Header, Streamed, boundary, read_arrays, write_arrays

FLAGS = ("terminated", "truncated", "lost_life")
_NONE = "is no file of episodes"
_MOST_ACTIONS, _MOST_SKIPPED = 4096, 10_000
_MEANT = {  # kinds of numpy's types, and the words for them
    "actions": ("iuf", "whole numbers (N,) or (N, A), or floats (N, A)"),
    "rewards": ("iuf", "real numbers, one a step"),
    **dict.fromkeys(FLAGS, ("biuf", "bool, or numbers 0 and 1, one a step")),
    "starts": ("iu", "whole numbers (E,)"),
    "action_names": ("U", "strings (A,)"),
    "action_start": ("iu", "one whole number (1,), or one for each part (A,)"),
    "action_counts": ("iu", "one whole number for each part (A,)"),
    **dict.fromkeys(("action_low", "action_high"), ("f", "floats (A,)")),
    "frame_skip": ("iu", "one whole number (1,)"),
}


def read_data_set(source: str) -> DataSet:
    """Recorded play from an npz file, or from the local Minari data set of that id; ``ConfigError`` names what is wrong."""
    if not source.endswith(".npz") and not Path(source).is_file():
        return read_minari(source)
    with boundary(source, _NONE):
        episodes, space, frame_skip = _read(Path(source), ("terminated", "truncated"))
        if space is None:
            raise ConfigError(
                "actions of floats have their bounds in action_low and action_high, of whole numbers in parts their action_counts"
            )
        return DataSet(episodes, space, episodes[0].action_names, frame_skip)


def read_episodes(path: str | Path) -> list[Episode]:
    """Every episode of an npz file, or of all npz files below a folder, in the order of their names; flags may be absent.

    Raises ``ConfigError`` for other files. Below a folder an episode is of the kind that its own folder names.
    """
    path = Path(path)
    files = sorted(path.rglob("*.npz")) if path.is_dir() else [path]
    episodes = []
    for file in files:
        kind = (
            next((part for part in reversed(file.parts[:-1]) if part in KINDS), "")
            if len(files) > 1
            else ""
        )
        with boundary(file, _NONE):
            episodes += [dataclasses.replace(episode, kind=kind) for episode in _read(file, ())[0]]
    if not episodes:
        raise ConfigError(
            f"{path} holds no episodes: no npz file with observations, actions and rewards"
        )
    return episodes


def write_episodes(
    path: Path,
    episodes: Sequence[Episode],
    action_space: gymnasium.Space[Any] | None = None,
    frame_skip: int = 1,
) -> None:
    """Write episodes that show the same; each is asked for more than once, so that only one needs to be in memory.

    If any has an observation after its last step, so have all: :meth:`Episode.with_last`.
    """
    first, small = episodes[0], [_small(episode) for episode in episodes]
    lengths = [len(of_one["actions"]) for of_one, _ in small]
    lasts = any(has_last for _, has_last in small)
    columns = {name: np.concatenate([of_one[name] for of_one, _ in small]) for name in small[0][0]}
    if not columns["lost_life"].any():
        del columns["lost_life"]
    arrays: dict[str, np.ndarray | Streamed] = {**columns, **_described(action_space)}
    arrays["starts"] = np.cumsum([0, *(length + lasts for length in lengths[:-1])])
    if first.action_names:
        arrays["action_names"] = np.array(first.action_names)
    if frame_skip > 1:
        arrays["frame_skip"] = np.array([frame_skip])
    for name, values in first.inputs.items():
        shape = (sum(lengths) + lasts * len(lengths), *values.shape[1:])
        parts = _parts(episodes, name, lasts)
        arrays["observations" if name == IMAGE else f"observations/{name}"] = Streamed(
            shape, values.dtype, parts
        )
    write_arrays(path, arrays)


def _small(episode: Episode) -> tuple[dict[str, np.ndarray], bool]:
    """What of an episode is small, and whether it has an observation after its last step."""
    columns = {name: getattr(episode, name) for name in ("actions", "rewards", *FLAGS)}
    return columns, len(next(iter(episode.inputs.values()))) > len(episode)


def _parts(episodes: Sequence[Episode], name: str, lasts: bool) -> Iterator[np.ndarray]:
    for episode in episodes:
        yield (episode.with_last() if lasts else episode).inputs[name]


def _described(space: gymnasium.Space[Any] | None) -> dict[str, np.ndarray]:
    if isinstance(space, Box):
        return {"action_low": space.low, "action_high": space.high}
    if isinstance(space, MultiDiscrete):
        return {"action_counts": space.nvec, "action_start": space.start}
    if isinstance(space, Discrete) and space.start:
        return {"action_start": np.array([space.start])}
    return {}


def _read(
    path: Path, needed: Sequence[str]
) -> tuple[list[Episode], gymnasium.Space[Any] | None, int]:
    """A file's episodes, the space of their actions if the file says enough of it, and the frames of a step."""
    arrays = read_arrays(path, _is_wanted, lambda headers: _check_headers(headers, needed))
    inputs, columns = _inputs(arrays), _columns(arrays)
    names = tuple(map(_name, arrays.get("action_names", np.array([], str)).tolist()))
    space, names = _actions(arrays, columns["actions"], names)
    starts = _starts(arrays, columns, len(next(iter(inputs.values()))))
    episodes = _cut(path.stem, inputs, columns, (starts, names))
    return episodes, space, _frame_skip(arrays.get("frame_skip", np.ones(1, np.int64)))


def _frame_skip(told: np.ndarray) -> int:
    if len(told) != 1 or not 1 <= told[0] <= _MOST_SKIPPED:
        raise ConfigError(
            f"frame_skip is one whole number from 1 to {_MOST_SKIPPED}, got {told[:20].tolist()}"
        )
    return int(told[0])


def _is_wanted(name: str) -> bool:
    return name in _MEANT or name in ("observations", "frames") or name.startswith("observations/")


def _check_headers(headers: Mapping[str, Header], needed: Sequence[str]) -> None:
    """Raise ``ConfigError`` unless the arrays fit together; nothing of them has been read yet."""
    columns = [name for name in headers if name not in _MEANT]
    missing = [name for name in ("actions", "rewards", *needed) if name not in headers]
    missing += [] if columns else ["observations"]
    if missing:
        raise ConfigError(
            f"it lacks {', '.join(missing)}: an npz file of play has observations, actions, rewards and ends"
        )
    if {"observations", "frames"} <= headers.keys():
        raise ConfigError("it has observations and frames, which are two names for the same")
    for name, header in headers.items():
        _check_column(name, header)
    steps, count = (
        headers["actions"].shape[0],
        headers["starts"].shape[0] if "starts" in headers else 1,
    )
    for name in ("rewards", *FLAGS):
        if name in headers and headers[name].shape[0] != steps:
            raise ConfigError(f"{name} has {headers[name].shape[0]} entries, actions {steps}")
    for name in columns:
        shape = headers[name].shape
        if (
            shape[:1] != headers[columns[0]].shape[:1]
            or shape[:1] not in ((steps,), (steps + count,))
            or 0 in shape[1:]
        ):
            raise ConfigError(f"{name} {shape} do not fit {steps} steps of {count} episodes")


def _check_column(name: str, header: Header) -> None:
    if name not in _MEANT:
        return
    kinds, meant = _MEANT[name]
    dims = {1}
    if name == "actions":
        dims = {2} if header.dtype.kind == "f" else {1, 2}
    if header.dtype.kind not in kinds or len(header.shape) not in dims:
        raise ConfigError(f"{name} are {meant}; got {header.dtype} {header.shape}")
    if name == "action_names" and header.shape[0] > _MOST_ACTIONS:
        raise ConfigError(
            f"it has {header.shape[0]} action_names; at most {_MOST_ACTIONS} are read"
        )


def _inputs(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    inputs = {}
    for name, values in arrays.items():
        if name in ("observations", "frames"):
            inputs[IMAGE] = as_pictures(values, name)
        elif name.startswith("observations/"):
            inputs[name.removeprefix("observations/")] = values
    return inputs


def _columns(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    actions, rewards = arrays["actions"], arrays["rewards"]
    if actions.dtype.kind in "iu" and actions.size and int(actions.max()) > np.iinfo(np.int64).max:
        raise ConfigError(f"the action {actions.max()} is no whole number of 64 bits")
    columns = {}
    with np.errstate(over="ignore"):
        columns["actions"] = actions.astype(np.float32 if actions.dtype.kind == "f" else np.int64)
        columns["rewards"] = (
            rewards
            if rewards.dtype.kind == "f" and rewards.itemsize <= 8
            else rewards.astype(np.float64)
        )
    check_actions(columns["actions"])
    check_rewards(columns["rewards"])
    for name in FLAGS:
        flags = arrays.get(name, np.zeros(len(actions), np.bool_))
        if wrong := np.flatnonzero((flags != 0) & (flags != 1)).tolist():
            raise ConfigError(
                f"{name} of step {wrong[0]} is {flags[wrong[0]]}; flags are bool, or numbers 0 and 1"
            )
        columns[name] = flags != 0
    return columns


def _name(name: str) -> str:
    if not name.isprintable() or not name:
        raise ConfigError(f"{name!r} is no name of an action")
    return name


def _actions(
    arrays: Mapping[str, np.ndarray], actions: np.ndarray, names: tuple[str, ...]
) -> tuple[gymnasium.Space[Any] | None, tuple[str, ...]]:
    """The space of actions, and their names where they are numbered; numbers where the file has none."""
    if actions.ndim == 2:
        space = _space_of_parts(arrays, actions.dtype)
        if space is not None:
            as_actions(space, actions)
        return space, ()
    start = int(arrays["action_start"][0]) if "action_start" in arrays else 0
    if not names:
        count = int(actions.max(initial=start)) - start + 1
        if count > _MOST_ACTIONS:
            raise ConfigError(
                f"there are {count} actions and no action_names; without names at most {_MOST_ACTIONS} are read"
            )
        names = tuple(str(start + action) for action in range(count))
    numbered = Discrete(len(names), start=start)
    as_actions(numbered, actions)
    return numbered, names


def _space_of_parts(
    arrays: Mapping[str, np.ndarray], dtype: np.dtype[Any]
) -> gymnasium.Space[Any] | None:
    """The space of actions ``(N, A)``; ``None`` where the file does not say it."""
    if dtype.kind == "f":
        low, high = arrays.get("action_low"), arrays.get("action_high")
        return None if low is None or high is None else Box(low, high, dtype=np.float32)
    counts = arrays.get("action_counts")
    if counts is None:
        return None
    counts = counts.astype(np.int64)
    return MultiDiscrete(counts, start=arrays.get("action_start", np.zeros_like(counts)))


def _starts(
    arrays: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray], observations: int
) -> list[int]:
    steps = len(columns["actions"])
    if "starts" in arrays:
        starts = arrays["starts"]
        if (
            not len(starts)
            or starts[0] != 0
            or (starts[1:] <= starts[:-1]).any()
            or starts[-1] >= max(observations, 1)
        ):
            raise ConfigError(
                f"starts ascend from 0 and lie below {observations}, got {starts[:20].tolist()}"
            )
        return [int(start) for start in starts]
    ends = columns["terminated"] | columns["truncated"]
    return [0, *(np.flatnonzero(ends[:-1]) + 1).tolist()] if observations == steps else [0]


def _cut(
    title: str,
    inputs: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    where: tuple[list[int], tuple[str, ...]],
) -> list[Episode]:
    """The episodes of one file: where last observations were kept, episode n has one more than it has steps."""
    starts, names = where
    observations = len(next(iter(inputs.values())))
    extra = int(observations > len(columns["actions"]))
    episodes = []
    for n, (begin, end) in enumerate(zip(starts, [*starts[1:], observations], strict=True)):
        part = {name: values[begin:end] for name, values in inputs.items()}
        steps = slice(begin - n * extra, end - (n + 1) * extra)
        kept = [columns[name][steps] for name in ("actions", "rewards", *FLAGS)]
        name = f"{title} {n + 1}/{len(starts)}" if len(starts) > 1 else title
        episodes.append(Episode(part, *kept, action_names=names, name=name))
    return episodes
