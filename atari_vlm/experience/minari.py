"""Minari data sets of episodes, read and written: the one place that knows Minari."""

from __future__ import annotations

import inspect
import math
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

import atari_vlm
from atari_vlm._lazy import require
from atari_vlm.actions import as_actions, check_action_space, numbers_of
from atari_vlm.conditions import free_memory
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episodes import IMAGE, DataSet, Episode, as_pictures
from atari_vlm.experience.npz_files import boundary

_ROOT = "MINARI_DATASETS_PATH"  # where Minari looks for its data sets
_SILENT = (
    "`eval_env` is set to None",
    "env_spec is None",
)  # where no environment shows what the data set does


@dataclass(frozen=True)
class About:
    """What a written data set says of itself; ``env`` is the game, where an environment shows what was observed."""

    action_space: gymnasium.Space[Any]
    algorithm: str
    description: str
    env: gymnasium.Env[Any, Any] | None = None


def open_minari(dataset_id: str) -> Any:
    """A local data set; ``ConfigError`` where there is none of this id."""
    minari = require("minari", "datasets")
    if not _is_local(minari, dataset_id):
        raise ConfigError(
            f"there is no local Minari dataset {dataset_id!r}; `minari download {dataset_id}` may fetch it"
        )
    with unreadable(dataset_id):
        return minari.load_dataset(dataset_id)


def episodes_of_folder(folder: Path) -> tuple[dict[str, Any], list[Episode], gymnasium.Space[Any]]:
    """What a folder that Minari wrote says of itself (``game``: the environment's id), its episodes and its actions."""
    minari = require("minari", "datasets")
    with boundary(f"the Minari data set in {folder}", "cannot be read"):
        dataset = minari.MinariDataset(folder / "data")
        space = check_action_space(dataset.action_space, "it")
        _check_memory(dataset)
        told, numbers = dataset.storage.metadata, numbers_of(space)
        names = tuple(map(str, told.get("action_names", numbers))) if numbers else ()
        about = {
            "game": None if dataset.env_spec is None else dataset.env_spec.id,
            "algorithm": str(told.get("algorithm_name", "")),
            "description": str(told.get("description", "")),
            "episodes": int(dataset.total_episodes),
            "steps": int(dataset.total_steps),
        }
        return about, list(episodes_of(dataset, names)), space


def unreadable(dataset_id: str) -> AbstractContextManager[None]:
    """The boundary of everything that reads a data set."""
    return boundary(f"the Minari dataset {dataset_id!r}", "cannot be read")


def check_id(dataset_id: str, otherwise: str) -> None:
    """``ConfigError`` with the words ``otherwise`` unless Minari takes it for an id."""
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise ConfigError(otherwise) from error


def _is_local(minari: Any, dataset_id: str) -> bool:
    """Whether a data set of this id is there, whatever else lies beside it."""
    check_id(
        dataset_id,
        f"{dataset_id!r} is neither an .npz file nor the id of a Minari dataset (NAME-v0)",
    )
    with unreadable(dataset_id), warnings.catch_warnings():
        warnings.simplefilter("error")  # Minari passes over what is damaged with a warning
        return dataset_id in minari.list_local_datasets(prefix=dataset_id)


def read_minari(dataset_id: str) -> DataSet:
    """All of a local data set. ``ConfigError`` for spaces, values and sizes that are not meant here."""
    dataset = open_minari(dataset_id)
    with unreadable(dataset_id):
        space = check_action_space(dataset.action_space, "it")
        numbers = numbers_of(space)
        names = tuple(map(str, dataset.storage.metadata.get("action_names", numbers)))
        _check_memory(dataset)
        return DataSet(list(episodes_of(dataset, names)), space, names if numbers else ())


def episodes_of(dataset: Any, action_names: tuple[str, ...] = ()) -> Iterator[Episode]:
    """Its episodes as they come; what was observed is named as in :class:`Episode`."""
    space = check_action_space(dataset.action_space, "it")
    for number, episode in enumerate(dataset.iterate_episodes()):
        flags = [
            np.asarray(values).astype(np.bool_)
            for values in (episode.terminations, episode.truncations)
        ]
        actions = as_actions(space, episode.actions, f"actions of episode {number}")
        inputs, rewards = _inputs(episode.observations), np.asarray(episode.rewards)
        yield Episode(
            inputs, actions, rewards, *flags, action_names=action_names, name=f"{number + 1}"
        )


def seeds_of(dataset: Any) -> list[int | None]:
    """The seed of each of its episodes, where one was kept."""
    told = dataset.storage.get_episode_metadata(dataset.episode_indices)
    return [None if row.get("seed") is None else int(row["seed"]) for row in told]


def _check_memory(dataset: Any) -> None:
    spaces = dataset.observation_space
    parts = spaces.spaces.values() if isinstance(spaces, gymnasium.spaces.Dict) else [spaces]
    a_step = sum(
        math.prod(part.shape or ()) * np.dtype(part.dtype or "u1").itemsize for part in parts
    )
    needed, free = int(dataset.total_steps) * a_step, free_memory()
    if free is not None and needed > free:
        raise ConfigError(f"it needs {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are free")


def _inputs(observations: Any) -> dict[str, np.ndarray]:
    if isinstance(observations, Mapping):
        return {str(name): _input(values) for name, values in observations.items()}
    values = _input(observations)
    return (
        {IMAGE: as_pictures(values, "observations")}
        if values.dtype == np.uint8 and values.ndim > 2
        else {"state": values}
    )


def _input(values: Any) -> np.ndarray:
    array = np.asarray(values) if isinstance(values, (np.ndarray, list)) else None
    if array is None or array.dtype.kind not in "biuf":
        raise ConfigError(
            f"observations are numbers, or named numbers; got {type(values).__name__}"
        )
    return array


@dataclass(frozen=True)
class Told:
    """An episode with words: lists of texts by name, one for each step or each observation. They are Minari's ``infos``."""

    episode: Episode
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)


@contextmanager
def rooted(folder: Path) -> Iterator[None]:
    """Within the block Minari's local data sets are those below ``folder``: a variable of the environment, which is put back."""
    require("minari", "datasets")
    before = os.environ.get(_ROOT)
    os.environ[_ROOT] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ROOT]
        else:
            os.environ[_ROOT] = before


@contextmanager
def as_local(folder: Path) -> Iterator[str]:
    """The id under which ``folder`` is a local data set while the block lasts: its name, where that is one.

    ``ConfigError`` for another name.
    """
    with rooted(folder.parent):
        check_id(
            folder.name,
            f"{folder.name!r} is no id of a Minari data set, which its folder is named by (NAME-v0)",
        )
        yield folder.name


def read_told(dataset_id: str) -> Iterator[Told]:
    """The episodes of a local data set with their words."""
    dataset = open_minari(dataset_id)
    with unreadable(dataset_id):
        whole = zip(dataset.iterate_episodes(), episodes_of(dataset), strict=True)
        for raw, episode in whole:
            words = {
                name: [text.decode("utf-8") for text in values]
                for name, values in (raw.infos or {}).items()
                if len(values) and isinstance(values[0], bytes)
            }
            yield Told(episode, words)


def write_minari(dataset_id: str, episodes: Iterable[Episode], facts: About) -> int:
    """Write episodes as a local data set, one at a time, pictures without loss; how many steps.

    Minari wants an observation after the last step; the one before it stands for one that was not kept. A last step without an
    end counts as truncated. ``ConfigError`` when there is one of this id already.
    """
    return write_told(dataset_id, map(Told, episodes), facts)[1]


def write_told(dataset_id: str, episodes: Iterable[Told], facts: About) -> tuple[int, int]:
    """:func:`write_minari` with words; how many episodes, and how many steps."""
    minari = require("minari", "datasets")
    if _is_local(minari, dataset_id):
        raise ConfigError(
            f"there is a local Minari dataset {dataset_id!r} already; delete it or choose another id"
        )
    dataset, count, steps = None, 0, 0
    try:
        for told in episodes:
            count, steps = count + 1, steps + len(told.episode)
            if dataset is None:
                dataset = _create(minari, dataset_id, told, facts)
            else:
                dataset.update_dataset_from_buffer([_buffer(told)])
    except BaseException:
        if dataset is not None:
            shutil.rmtree(Path(dataset.storage.data_path).parent, ignore_errors=True)
        raise
    return count, steps


def _buffer(told: Told) -> Any:
    from minari.data_collector import EpisodeBuffer

    episode = told.episode
    inputs = episode.with_last().inputs
    columns = {name: list(values) for name, values in inputs.items()}
    truncated = episode.truncated.copy()
    truncated[-1:] |= not episode.terminated[-1:].any()
    return EpisodeBuffer(
        seed=episode.seed,
        observations=next(iter(columns.values())) if len(columns) == 1 else columns,
        actions=list(episode.actions),
        rewards=episode.rewards.tolist(),
        terminations=episode.terminated.tolist(),
        truncations=truncated.tolist(),
        infos={name: list(texts) for name, texts in told.words.items()} or None,
    )


def _create(minari: Any, dataset_id: str, told: Told, facts: About) -> Any:
    episode = told.episode
    spaces: dict[str, gymnasium.Space[Any]] = {
        name: _space_of(values) for name, values in episode.inputs.items()
    }
    options: dict[str, Any] = {
        "env": facts.env,
        "eval_env": facts.env,
        "observation_space": next(iter(spaces.values()))
        if len(spaces) == 1
        else gymnasium.spaces.Dict(spaces),
        "action_space": facts.action_space,
        "algorithm_name": facts.algorithm,
        "author": "atari_vlm",
        "author_email": "none",
        "code_permalink": f"atari-vlm {atari_vlm.__version__}",
        "description": facts.description,
    }
    if "jpeg_encoding" in inspect.signature(minari.create_dataset_from_buffers).parameters:
        options["jpeg_encoding"] = False  # the default loses pixels
    with warnings.catch_warnings():
        for missing in _SILENT if facts.env is None else ():
            warnings.filterwarnings("ignore", missing)
        dataset = minari.create_dataset_from_buffers(dataset_id, buffer=[_buffer(told)], **options)
    if episode.action_names:
        dataset.storage.update_metadata({"action_names": list(episode.action_names)})
    return dataset


def _space_of(values: np.ndarray) -> Box:
    if values.dtype == np.uint8:
        return Box(0, 255, values.shape[1:], np.uint8)
    return Box(-np.inf, np.inf, values.shape[1:], values.dtype.type)
