"""The model that is tuned: a family's checkpoint, loaded by the code that plays it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError
from atari_vlm.training.tuning.memory import TrainingLoad, check_training_memory
from atari_vlm.vlm.catalogue import entries
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.cogvlm2 import is_foreign
from atari_vlm.vlm.local.encoder import Encoder
from atari_vlm.vlm.local.engine import Engine
from atari_vlm.vlm.local.loading import load_folder
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import FAMILY, NEW, new_player

_AS_EVER = LocalOptions()
BASES = ("qwen-vl", "llava", "video-llava", "idefics2", FAMILY)


@dataclass(frozen=True)
class Base:
    """A loaded model: its family, what the user called it, where its weights lie and their hash, and what runs it."""

    family: str
    model: str
    folder: Path
    weights: str
    model_type: str
    encoder: Encoder
    engine: Engine

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self.engine.model


def check_family(family: str) -> None:
    """Raise ``NotSupportedError`` for a family without one-pass scores, ``UnknownNameError`` for what is none."""
    if family in BASES:
        return
    if family in entries():
        raise NotSupportedError(
            f"the base {family} has no one-pass scores to learn from; --base takes {', '.join(BASES)}"
        )
    raise UnknownNameError("base", family, BASES)


@contextmanager
def open_base(
    family: str, model: str, *, seed: int, options: LocalOptions = _AS_EVER
) -> Iterator[Base]:
    """The base for the time of the block; ``new`` is made from ``seed`` in a folder that is gone afterwards."""
    check_family(family)
    check_new(family, model)
    if model != NEW:
        yield load_base(family, model, options)
        return
    with new_player(seed) as folder:
        yield load_base(family, NEW, options, folder)


def check_new(family: str, model: str) -> None:
    """Raise ``ConfigError`` for a family that does not begin from nothing."""
    if model == NEW and family != FAMILY:
        raise ConfigError(f"--model {NEW} begins from nothing and needs --base {FAMILY}")


def load_base(
    family: str,
    model: str,
    options: LocalOptions,
    folder: Path | None = None,
    load: TrainingLoad | None = None,
) -> Base:
    """Find, check and load a checkpoint; ``folder`` is where ``model`` lies, if that is known.

    ``load``: what will be trained, refused before any weights are loaded where it does not fit the memory.
    """
    check_family(family)
    for module in ("torch", "transformers", "accelerate"):
        require(module, "tune")
    where = weights.find_folder(model, options) if folder is None else folder
    weights.check_weights(model, where)
    if is_foreign(model, where):
        raise NotSupportedError(
            f"{model} brings its own code and has no one-pass scores to learn from"
        )
    if load is not None:
        check_training_memory(model, where, options, load)
    loaded = load_folder(model, where, options)
    if not loaded.engine.scores_in_one_pass:
        raise NotSupportedError(
            f"the base {model} is a {loaded.model_type} model, which has no one-pass scores to learn from"
        )
    multiply_patches(loaded.engine.model)
    return Base(
        family,
        model,
        where,
        weights.digest(where),
        loaded.model_type,
        loaded.encoder,
        loaded.engine,
    )


def multiply_patches(network: Any) -> None:
    """Compute the embedding of flat patches as the matrix product that it is.

    Such a tower convolves every patch with a kernel of its own size, whose gradient torch takes a third of a small model's update
    for on a CPU. Weights keep their names and values, and outputs are equal but for the order of sums.
    """
    from torch.nn import Conv3d, functional

    class PatchProduct(Conv3d):
        """``(N, C, T, P, P)`` to ``(N, D, 1, 1, 1)``, for inputs of the kernel's size."""

        def forward(self, patches: Any) -> Any:
            if patches.shape[1:] != self.weight.shape[1:]:
                return super().forward(patches)
            out = functional.linear(patches.flatten(1), self.weight.flatten(1), self.bias)
            return out[..., None, None, None]

    for module in network.modules():
        if type(module) is Conv3d:
            module.__class__ = PatchProduct
