"""Buffers of transitions as the GIF-MCTS repository ships them: pickles of its replay buffer's attributes.

Their flag ``done`` is the end of an episode, whatever ended it. Here an end at an environment's step limit is a truncation and
any other one a termination. Rewards were stored as float32. Words in observations (the boards of its reading game) become
numbers; ``provenance["words"]`` holds the words in their order. Paths of the authors' machines and all else are dropped.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Tuple

from atari_vlm.errors import ConfigError
from atari_vlm.experience.pickled_values import Call, array_of, parse
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.files import read_real

_MOST_BYTES = 64 << 20
_ENV_ID = re.compile(r"\w{1,60}-v\d{1,3}")
_LISTS, _ARRAYS = ("obs", "next_obs", "actions", "extra_info"), ("rewards", "dones", "traj_starts")
_LIMITS = {"Acrobot": 500, "CartPole": 500, "MountainCar": 200, "Taxi": 200, "Pendulum": 200}
_LIMITS |= {"Reacher": 50, "Pusher": 100}
_OTHER_LIMIT = (
    1000  # of the other MuJoCo games; Blackjack and CliffWalking have none and never get there
)
_NUMBERED = {"CliffWalking": (48,), "Taxi": (500,), "Blackjack": (32, 11, 2)}


def read_pickled(path: Path) -> TransitionBuffer:
    """The transitions of such a file; nothing in it is run. Raises ``ConfigError`` for anything else that it holds."""
    fields = parse(read_real(path, _MOST_BYTES))
    n = _check(fields)
    env_id = _env_id(fields, path)
    rewards, dones, begins = (array_of(fields[name])[:n] for name in _ARRAYS)
    starts = np.unique(begins)
    truncated = dones & _at_limit(env_id, starts, n)
    before, after = (_columns(fields[name]) for name in ("obs", "next_obs"))
    words = sorted({word for tree in (before, after) for word in _words(tree)})
    space = _space(before, after, words, _NUMBERED.get(_name(env_id), ()))
    actions = np.stack([array_of(action) for action in fields["actions"]])
    return TransitionBuffer(
        _coded(before, words),
        actions,
        rewards,
        _coded(after, words),
        dones & ~truncated,
        truncated,
        env_id=env_id,
        observation_space=space,
        action_space=_action_space(fields["extra_info"][0], actions),
        trajectory_starts=starts,
        provenance={"source": "pickle", "file": path.name, "rewards": "float32", "words": words},
    )


def _check(fields: Any) -> int:
    """How many rows the fields of a replay buffer have."""
    if not isinstance(fields, dict) or not {*_LISTS, *_ARRAYS, "idx"} <= fields.keys():
        raise ConfigError("it lacks the fields of a replay buffer")
    n = fields["idx"]
    lengths = [len(fields[name]) if type(fields[name]) is list else -1 for name in _LISTS]
    if type(n) is not int or n < 1 or lengths != [n] * len(_LISTS):
        raise ConfigError(f"it holds {n!r} rows, its columns {lengths}")
    return n


def _env_id(fields: dict[str, Any], path: Path) -> str:
    """The environment, after which the folder was named that the file was written to, or else the one it lies in."""
    written = PurePosixPath(str(fields.get("file_path", "")))
    for name in (written.name, path.absolute().parent.name):
        if _ENV_ID.fullmatch(name):
            return name
    return "rtfm-simple-stationary-v0" if written.parent.name == "rtfm" else "unknown-v0"


def _name(env_id: str) -> str:
    return env_id.split("-")[0]


def _at_limit(env_id: str, starts: np.ndarray, n: int) -> np.ndarray:
    """Which rows are the last before the step limit of their episode, bool ``(n,)``."""
    rows = np.arange(n)
    step = rows - starts[np.searchsorted(starts, rows, side="right") - 1] + 1
    at_limit: np.ndarray = step == _LIMITS.get(_name(env_id), _OTHER_LIMIT)
    return at_limit


def _columns(rows: list[Any]) -> Any:
    """Observations one under the other: an array ``(N, ...)``, or a tuple of such."""
    if not isinstance(rows[0], tuple):
        return np.stack([array_of(row) for row in rows])
    if not all(isinstance(row, tuple) and len(row) == len(rows[0]) for row in rows):
        raise ConfigError("its observations do not have the same parts")
    return tuple(_columns([row[i] for row in rows]) for i in range(len(rows[0])))


def _words(tree: Any) -> set[str]:
    if isinstance(tree, tuple):
        return {word for part in tree for word in _words(part)}
    return set(tree.ravel().tolist()) if tree.dtype.kind == "U" else set()


def _coded(tree: Any, words: list[str]) -> Any:
    """The same with the numbers of words for words."""
    if isinstance(tree, tuple):
        return tuple(_coded(part, words) for part in tree)
    return np.searchsorted(words, tree) if tree.dtype.kind == "U" else tree


def _space(before: Any, after: Any, words: list[str], sizes: tuple[int, ...]) -> Any:
    if isinstance(before, tuple):
        known: list[tuple[int, ...]] = [(size,) for size in sizes] or [()] * len(before)
        parts = zip(before, after, known, strict=True)
        return Tuple([_space(a, b, words, size) for a, b, size in parts])
    if before.dtype.kind == "f":
        return Box(-np.inf, np.inf, before.shape[1:], before.dtype.type)
    if before.dtype.kind == "U":
        shape, n = before.shape[1:], len(words)
        return MultiDiscrete(np.full(shape, n)) if shape else Discrete(n)
    if before.ndim != 1:
        raise ConfigError(f"its observations are whole numbers {before.shape[1:]}")
    return Discrete(sizes[0] if sizes else int(max(before.max(), after.max())) + 1)


def _action_space(info: Any, actions: np.ndarray) -> gymnasium.Space[Any]:
    """The space that the first step noted; where it noted none, the one that the actions fill."""
    noted = info.get("valid_actions") if isinstance(info, dict) else None
    state = noted.state if isinstance(noted, Call) and isinstance(noted.state, dict) else {}
    if {"low", "high"} <= state.keys():
        return Box(array_of(state["low"]), array_of(state["high"]), dtype=np.float32)
    n = int(array_of(state["n"])) if "n" in state else int(actions.max()) + 1
    return Discrete(n)
