"""The checkpoints of a run: the newest ones, each complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.errors import CheckpointError
from atari_vlm.runs.progress import warn
from atari_vlm.settings import flat, is_same
from atari_vlm.world_models.base import StartFrames, context_space_of
from atari_vlm.world_models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from atari_vlm.world_models.inputs import as_observations
from atari_vlm.world_models.learned.learner import Learner

KEPT = 2
START_ROWS = 16
_MOST_TOLD = 4  # differences of two configs


class Checkpoints:
    """The checkpoints of a run, by epoch; ``kind`` names the family of those that are written."""

    def __init__(self, folder: Path, kind: str = ""):
        self.folder, self.kind = folder, kind

    def epochs(self) -> list[int]:
        """Epochs that have a checkpoint, ascending."""
        names = (path.name for path in self.folder.glob("epoch-*") if path.is_dir())
        return sorted(int(name[6:]) for name in names if name[6:].isdigit())

    def save(
        self,
        epoch: int,
        config: dict[str, Any],
        tensors: Mapping[str, np.ndarray],
        provenance: dict[str, Any],
    ) -> None:
        """Write a checkpoint as a whole, then remove all but the newest two."""
        made = {**provenance, "epoch": epoch}
        path = self._path(epoch)
        save_checkpoint(path, kind=self.kind, config=config, tensors=tensors, provenance=made)
        for old in self.epochs()[:-KEPT]:
            shutil.rmtree(self._path(old))

    def newest(self, say: Callable[[str], None] = warn) -> tuple[int, Checkpoint] | None:
        """The newest whole checkpoint and its epoch, ``None`` if there is none.

        One that is damaged, or of another epoch than its folder says, is passed over, and ``say`` is
        told. ``CheckpointError`` where no other is left.
        """
        damaged: list[str] = []
        for epoch in reversed(self.epochs()):
            try:
                checkpoint = self._read(epoch)
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            for reason in damaged:
                say(f"{reason}; going on from the checkpoint of epoch {epoch} instead")
            return epoch, checkpoint
        if damaged:
            raise CheckpointError(
                "; ".join(damaged) + "; no whole checkpoint is left to go on from"
            )
        return None

    def _read(self, epoch: int) -> Checkpoint:
        checkpoint = read_checkpoint(self._path(epoch))
        recorded = checkpoint.provenance.get("epoch", epoch)
        if recorded != epoch:
            raise CheckpointError(f"{self._path(epoch)} is a checkpoint of epoch {recorded}")
        return checkpoint

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:06d}"


def unlike(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Where two configs differ, at most four places, with both sides; nothing where they do not."""
    one, other = flat(theirs), flat(ours)
    names = [name for name in {**one, **other} if not is_same(one.get(name), other.get(name))]
    told = [f"{n} is {one.get(n)!r:.60} there and {other.get(n)!r:.60} here" for n in names]
    return "; ".join([*told[:_MOST_TOLD], *(["..."] if len(told) > _MOST_TOLD else [])])


def actions_of(checkpoint: Checkpoint) -> gymnasium.Space[Any]:
    """The actions that a run's checkpoint was made with."""
    if checkpoint.action_space is not None:
        return checkpoint.action_space
    first = int(checkpoint.config.get("first_action", 0))
    return Discrete(len(checkpoint.action_names), start=first)


def save_model(
    folder: Path, learner: Learner, config: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Write the model of a run by itself: weights of now, and start frames."""
    save_checkpoint(
        folder,
        kind=learner.kind,
        config=config,
        tensors=learner.weights(),
        start=start_frames(learner, provenance["seed"]),
        provenance=provenance,
    )


def start_frames(learner: Learner, seed: int) -> StartFrames | None:
    """Contexts of real frames from the replay, as long as the model's; ``None`` where it has none."""
    model, replay = learner.world_model(), learner.replay
    length = model.context_length
    if not (replay.lengths >= max(length, 2)).any():
        return None
    history = replay.histories(START_ROWS, length, np.random.default_rng(seed))
    slots = history.slots[history.mask.all(1)]
    if not len(slots):
        return None
    actions = replay.read("action", slots)
    shown = {name: replay.read(name, slots) for name in replay.shown}
    observations = as_observations(shown, context_space_of(model))
    return StartFrames(observations, actions[:, : length - 1])
