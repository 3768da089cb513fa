"""Buffers of transitions in files: an npz of arrays, and beside it a JSON file that says what they are.

``<name>.npz`` holds ``observations``, ``next_observations`` (of a ``Tuple`` or ``Dict`` space one array a part:
``observations/0``, ``observations/board``), ``actions``, ``rewards``, ``terminated``, ``truncated`` and ``trajectory_starts``.
``<name>.json`` holds the environment's id and spaces, where the transitions came from, and the digest of the npz, so that two
files of different buffers are not read as one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Tuple

from atari_vlm.errors import ConfigError
from atari_vlm.experience.npz_files import Header, read_arrays, write_arrays
from atari_vlm.files import atomic_write, check_plain_name, open_real, read_real
from atari_vlm.space_json import space_from_json, space_to_json

FORMAT, VERSION = "atari_vlm.transitions", 1
_MOST_JSON, _MOST_BYTES = 16 << 20, 1 << 40
_COLUMNS = ("actions", "rewards", "terminated", "truncated", "trajectory_starts")
_TREES = ("observations", "next_observations")


def write_buffer(buffer: Any, folder: str | Path, name: str) -> Path:
    """Write both files of a ``TransitionBuffer``, see its ``save``."""
    check_plain_name(name, "a buffer")
    path = Path(folder) / f"{name}.npz"
    about = {
        "format": FORMAT,
        "version": VERSION,
        "env_id": buffer.env_id,
        "transitions": len(buffer),
        "trajectories": len(buffer.trajectory_starts),
        "observation_space": space_to_json(buffer.observation_space),
        "action_space": space_to_json(buffer.action_space),
        "provenance": buffer.provenance,
    }
    arrays = {column: getattr(buffer, column) for column in _COLUMNS}
    for tree in _TREES:
        arrays |= dict(_leaves(getattr(buffer, tree), tree))
    write_arrays(path, arrays)
    text = json.dumps({**about, "sha256": _digest(path)}, indent=1, allow_nan=False)
    atomic_write(path.with_suffix(".json"), text + "\n")
    return path


def read_parts(path: Path) -> dict[str, Any]:
    """The arguments of the ``TransitionBuffer`` whose npz ``path`` is; for the caller's boundary."""
    about = _about(path.with_suffix(".json"))
    if about["sha256"] != _digest(path):
        raise ConfigError("it is not the file that the .json beside it was written for")
    space = space_from_json(about["observation_space"], "its observation space")
    names = {*_COLUMNS, *(name for tree in _TREES for name in _names(space, tree))}
    arrays = read_arrays(path, names.__contains__, lambda headers: _check(headers, names))
    return {
        **{column: arrays[column] for column in _COLUMNS},
        **{tree: _tree(space, tree, arrays) for tree in _TREES},
        "env_id": about["env_id"],
        "observation_space": space,
        "action_space": space_from_json(about["action_space"], "its action space"),
        "provenance": about["provenance"],
    }


def _about(path: Path) -> dict[str, Any]:
    about = json.loads(read_real(path, _MOST_JSON))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ConfigError(f"{path.name} describes no buffer of transitions")
    if about.get("version") != VERSION:
        raise ConfigError(f"{path.name} is of version {about.get('version')!r}, not {VERSION}")
    return about


def _digest(path: Path) -> str:
    with open_real(path, _MOST_BYTES) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _check(headers: Mapping[str, Header], names: set[str]) -> None:
    if missing := sorted(names - headers.keys()):
        raise ConfigError(f"it lacks {', '.join(missing)}")


def _leaves(tree: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, (dict, tuple)):
        parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, part in parts:
            yield from _leaves(part, f"{name}/{key}")
    else:
        yield name, tree


def _names(space: gymnasium.Space[Any], name: str) -> Iterator[str]:
    parts = _parts(space)
    if parts is None:
        yield name
    for key, part in parts or ():
        yield from _names(part, f"{name}/{key}")


def _tree(space: gymnasium.Space[Any], name: str, arrays: Mapping[str, np.ndarray]) -> Any:
    parts = _parts(space)
    if parts is None:
        return arrays[name]
    made = {key: _tree(part, f"{name}/{key}", arrays) for key, part in parts}
    return tuple(made.values()) if isinstance(space, Tuple) else made


def _parts(space: gymnasium.Space[Any]) -> list[tuple[Any, gymnasium.Space[Any]]] | None:
    """The parts of a ``Tuple`` or ``Dict`` by their names; none of another space."""
    if isinstance(space, Dict):
        return list(space.spaces.items())
    return list(enumerate(space.spaces)) if isinstance(space, Tuple) else None
