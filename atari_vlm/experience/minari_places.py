"""Where local Minari data sets lie, and how one gets there as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from atari_vlm._lazy import require
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.minari import About, check_id, rooted, write_minari


def local_folder(dataset_id: str) -> Path:
    """The folder of a local data set, whether it is there or not; ``ConfigError`` for what is no id."""
    storage = require("minari.storage", "datasets")
    check_id(dataset_id, f"{dataset_id!r} is no id of a Minari dataset (NAME-v0)")
    return Path(storage.get_dataset_path(dataset_id)).absolute()


def put_local(dataset_id: str, episodes: Iterable[Episode], facts: About, stage: Path) -> None:
    """Write a local data set below the folder ``stage``, then move it to its place; one that is there is replaced."""
    place = local_folder(dataset_id)
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    with rooted(stage):
        write_minari(dataset_id, episodes, facts)
    _move_namespaces(dataset_id, stage, place)
    if place.exists():
        shutil.rmtree(place)
    shutil.move(stage / dataset_id, place)
    shutil.rmtree(stage)


def _move_namespaces(dataset_id: str, stage: Path, place: Path) -> None:
    """Each folder above a data set says by a file of its own that it is a namespace."""
    above = list(Path(dataset_id).parents)[:-1]
    for namespace, folder in zip(above, place.parents, strict=False):
        folder.mkdir(parents=True, exist_ok=True)
        for file in (stage / namespace).glob("*.json"):
            if not (folder / file.name).exists():
                shutil.copy(file, folder / file.name)
    place.parent.mkdir(parents=True, exist_ok=True)
