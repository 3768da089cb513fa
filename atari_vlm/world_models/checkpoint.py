"""Checkpoints of world models: one folder, written as a whole or not at all, and safe to load from strangers.

============================  =======================================================================================
``config.json``               kind, action names, frame skip, reward transform, and what the kind needs (its sizes)
``provenance.json``           how it came about: package versions, and what the maker adds (command, seeds, steps, parent)
``weights.safetensors``       the arrays, if the kind has any
``start.npz``                 contexts that a dream can begin from, if there are any
``program.py``                the text of a model that is a program; only a loader runs it, in a sandbox
``manifest.json``             size and SHA-256 of every file above
============================  =======================================================================================

A kind's loader takes the :class:`Checkpoint` and the options of :func:`load_world_model`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import check_action_space
from atari_vlm.conditions import versions
from atari_vlm.errors import (
    AtariVLMError,
    CheckpointError,
    ConfigError,
    MismatchError,
    UnknownNameError,
    reading,
)
from atari_vlm.files import naming, open_new, sync_folder
from atari_vlm.sharing.pulling import local_folder
from atari_vlm.space_json import space_from_json
from atari_vlm.space_trees import described, fits
from atari_vlm.world_models.base import StartFrames, WorldModel, check_fit, context_space_of
from atari_vlm.world_models.checkpoint_files import (
    CONFIG,
    MANIFEST,
    PROGRAM,
    PROVENANCE,
    START,
    WEIGHTS,
    from_json,
    manifest_of,
    pack_tensors,
    read_files,
    to_json,
    unpack_tensors,
)
from atari_vlm.world_models.checkpoint_program import pack_program, unpack_program
from atari_vlm.world_models.checkpoint_start import pack_start, unpack_start
from atari_vlm.world_models.families import family, load_part

REWARD_TRANSFORMS = ("none", "sign")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds.

    ``config`` always has ``frame_skip`` (int >= 1), ``reward_transform`` (``"none"`` or ``"sign"``) and the actions:
    ``action_names`` (list of words), or ``action_space`` (:mod:`atari_vlm.space_json`), or both; ``game`` (a game's name) where
    the model is of one.
    ``tensors`` are writable arrays; ``program`` is the text of a model that is one.
    """

    kind: str
    config: dict[str, Any]
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    start: StartFrames | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    program: str | None = None

    def __post_init__(self) -> None:
        family(self.kind)
        names, skip = self.config.get("action_names"), self.config.get("frame_skip")
        listed = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
        if not (listed and names) and (self.action_space is None or not (listed or names is None)):
            raise ConfigError(
                f"config['action_names'] is a list of words, got {names!r}, where there is no config['action_space']"
            )
        if type(skip) is not int or skip < 1:
            raise ConfigError(f"config['frame_skip'] is a whole number of at least 1, got {skip!r}")
        if self.config.get("reward_transform") not in REWARD_TRANSFORMS:
            raise UnknownNameError(
                "reward_transform", self.config.get("reward_transform"), REWARD_TRANSFORMS
            )

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the actions; empty where they have none."""
        return tuple(self.config.get("action_names") or ())

    @property
    def action_space(self) -> gymnasium.Space[Any] | None:
        """The space of the actions where ``config`` has one; ``ConfigError`` for what is none."""
        written = self.config.get("action_space")
        if written is None:
            return None
        space = space_from_json(written, "config['action_space']")
        return check_action_space(space, "config['action_space']")


def save_checkpoint(
    folder: str | Path,
    *,
    kind: str,
    config: dict[str, Any],
    tensors: Mapping[str, np.ndarray] | None = None,
    start: StartFrames | None = None,
    provenance: dict[str, Any] | None = None,
    program: str | None = None,
) -> Path:
    """Write a checkpoint; ``folder`` then holds all of the new one, or, if the process dies first, all of the old one.

    ``config`` as in :class:`Checkpoint`, without the kind. Package versions are added to ``provenance``. Raises ``ConfigError``
    for a config that lacks something, and for a ``folder`` that exists and is no checkpoint.
    """
    checkpoint = Checkpoint(
        kind, config, dict(tensors or {}), start, {"versions": versions(), **(provenance or {})}
    )
    contents = {
        CONFIG: to_json({**checkpoint.config, "kind": kind}),
        PROVENANCE: to_json(checkpoint.provenance),
    }
    if checkpoint.tensors:
        contents[WEIGHTS] = pack_tensors(checkpoint.tensors)
    if start is not None:
        contents[START] = pack_start(start)
    if program is not None:
        contents[PROGRAM] = pack_program(program)
    folder = Path(folder)
    _replace_folder(folder, {**contents, MANIFEST: manifest_of(contents)})
    return folder


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read and verify a checkpoint folder, or that of ``hub:OWNER/NAME[@REVISION]``; nothing in it is run.

    Raises ``CheckpointError`` for anything that is damaged, unsafe (pickles, Python objects, links) or of another format.
    """
    folder, contents = _read_while_others_save(local_folder(path))
    config = from_json(contents[CONFIG], str(folder / CONFIG))
    kind = config.pop("kind", None)
    with reading(f"{folder} is not a usable checkpoint: it", CheckpointError):
        return Checkpoint(
            kind,
            config,
            unpack_tensors(contents[WEIGHTS], str(folder / WEIGHTS)) if WEIGHTS in contents else {},
            unpack_start(contents[START], str(folder / START)) if START in contents else None,
            from_json(contents[PROVENANCE], str(folder / PROVENANCE)),
            unpack_program(contents[PROGRAM], str(folder / PROGRAM))
            if PROGRAM in contents
            else None,
        )


def load_world_model(path: str | Path, **options: Any) -> WorldModel[Any]:
    """The world model of a checkpoint, of whatever kind: a folder, or ``hub:OWNER/NAME[@REVISION]`` on the Hugging Face Hub.

    ``options`` are its loader's (REM: device, precision, ...).
    Raises ``CheckpointError`` as :func:`read_checkpoint` does, and ``MismatchError`` when the files contradict each other.
    """
    return build_model(read_checkpoint(path), str(path), **options)


def build_model(checkpoint: Checkpoint, where: str, **options: Any) -> WorldModel[Any]:
    """:func:`load_world_model` for a checkpoint that is read already; ``where`` names it in errors.

    Raises ``NotSupportedError`` for a kind whose code is not part of this installation.
    """
    load = load_part(checkpoint.kind, "model")
    with reading(f"the checkpoint {where}", CheckpointError, passing=(AtariVLMError,)):
        model: WorldModel[Any] = load(checkpoint, **options)
    config = checkpoint.config
    told = (checkpoint.action_names, config["frame_skip"], f"the config of {where}")
    check_fit(model, *told, checkpoint.action_space)
    if model.reward_transform != config["reward_transform"]:
        transform = config["reward_transform"]
        raise MismatchError(
            f"the model's rewards are {model.reward_transform!r}, the config of {where} says {transform!r}"
        )
    start, space = checkpoint.start, context_space_of(model)
    if start is not None and not fits(space, start.observations, 2):
        frames = described(start.observations, 2)
        raise MismatchError(f"the model sees {space}, the start frames of {where} are {frames}")
    return model


def build_policy(checkpoint: Checkpoint, where: str, device: str = "cpu") -> Any:
    """The player of a checkpoint that is read already, a :class:`~atari_vlm.world_models.learned.learner.Policy`.

    Raises ``NotSupportedError`` for a kind that has none, ``CheckpointError`` for a checkpoint that is none of its kind.
    """
    load = load_part(checkpoint.kind, "policy")
    with reading(f"the checkpoint {where}", CheckpointError, passing=(AtariVLMError,)):
        return load(checkpoint, device)


def _read_while_others_save(path: Path) -> tuple[Path, dict[str, bytes]]:
    """The files of a checkpoint, and where they were found; read again when another process swapped the folder meanwhile."""
    for _ in range(20):
        folder = path if path.exists() or not _set_aside(path).is_dir() else _set_aside(path)
        before = _inode(folder)
        try:
            return folder, read_files(folder)
        except (CheckpointError, FileNotFoundError):
            if _inode(path) == before:
                raise
    raise CheckpointError(f"{path} is replaced faster than it can be read")


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None


def _set_aside(folder: Path) -> Path:
    """Where the old checkpoint stands for the moment between two renames."""
    return folder.with_name(f".{folder.name}.previous")


def _replace_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files beside ``folder``, then swap: at every moment the old or the new ones are complete and can be found."""
    if folder.is_symlink() or (
        folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists()
    ):
        raise ConfigError(
            f"{folder} is not overwritten: it is a link, or holds something other than a checkpoint"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, previous = (
        folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.new"),
        _set_aside(folder),
    )
    for left_behind in folder.parent.glob(f".{folder.name}.*.new"):  # by a process that died
        shutil.rmtree(left_behind)
    fresh.mkdir()
    try:
        for name, raw in contents.items():
            with naming(folder), open_new(fresh / name) as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(fresh)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        fresh.rename(folder)
    except BaseException:
        if not folder.exists() and previous.exists():
            previous.rename(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)
