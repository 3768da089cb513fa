"""Weights of a Mamba language model, from a folder or the Hugging Face hub, in either layout of transformers.

``MambaModel`` names its parameters ``layers.0. ...``, ``MambaForCausalLM`` ``backbone.layers.0. ...``. Only safetensors are read,
and of them only what is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atari_vlm import hub
from atari_vlm._lazy import require
from atari_vlm.errors import (
    CheckpointError,
    ConfigError,
    MismatchError,
    ModelNotAvailableError,
    check_count,
    reading,
)
from atari_vlm.files import open_real
from atari_vlm.world_models.checkpoint_files import MOST_HEADER_BYTES

PATTERNS = (hub.CONFIG, hub.INDEX, "*.safetensors", "tokenizer*.json", "special_tokens_map.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SIZES = {  # of MambaCore: of a configuration
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "state_size": "state_size",
    "conv_kernel": "conv_kernel",
    "expand": "expand",
}
_LARGEST, _MOST_LAYERS = 1 << 16, 1 << 10
_EMBEDDINGS = ("embeddings.weight", "embedding.weight")


def folder_of(folder_or_id: str | Path) -> Path:
    """The folder of a model, downloaded where it is an id of the hub that is not on this machine yet.

    ``ModelNotAvailableError``, which says where weights can be put, where it is not to be had; ``CheckpointError`` where it
    holds pickled weights only.
    """
    try:
        folder = hub.find_folder(str(folder_or_id), PATTERNS)
        hub.check_files(folder, PATTERNS)
        complete = hub.is_complete(folder)
    except ModelNotAvailableError as error:
        raise _unavailable(str(error)) from error
    if not complete:
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles and not list(folder.glob("*.safetensors")):
            raise CheckpointError(
                f"{folder} has its weights in {', '.join(pickles)}: pickled files can run code when they are loaded and are "
                "refused; save the model again with safe_serialization=True"
            )
        raise _unavailable(f"{folder} lacks config.json or model.safetensors")
    return folder


def _unavailable(what: str) -> ModelNotAvailableError:
    return ModelNotAvailableError(
        f"{what.rstrip('.')}. Put config.json and model.safetensors of a Mamba model, for example those of "
        "state-spaces/mamba-130m-hf, into a folder and give its path, or begin without pretrained weights"
    )


def sizes_of(folder: Path) -> dict[str, Any]:
    """The arguments of a ``MambaCore`` of this folder's sizes; ``MismatchError`` for a model that is no such Mamba."""
    config = hub.read_object(folder / hub.CONFIG)
    kind = config.get("model_type")
    if kind != "mamba":
        raise MismatchError(
            f"{folder} holds a model of type {kind!r}; the core takes Mamba in transformers' format, type 'mamba', as "
            "state-spaces/mamba-130m-hf has it"
        )
    other = {"use_bias": False, "use_conv_bias": True, "hidden_act": "silu"}
    for name, value in other.items():
        if config.get(name, value) != value:
            raise MismatchError(
                f"{folder} has {name} = {config[name]!r}; the core has {name} = {value!r}"
            )
    sizes: dict[str, Any] = {name: config.get(key) for name, key in _SIZES.items()}
    rank, eps = config.get("time_step_rank", "auto"), config.get("layer_norm_epsilon", 1e-5)
    sizes["time_step_rank"] = None if rank == "auto" else rank
    with reading(folder / hub.CONFIG, CheckpointError):
        check_count(
            **{n: size for n, size in sizes.items() if size is not None or n != "time_step_rank"}
        )
        largest = max(size for size in sizes.values() if size is not None)
        if largest > _LARGEST or sizes["layers"] > _MOST_LAYERS:
            raise ValueError(f"these sizes are those of no model: {sizes}")
        if type(eps) is not float or not 0 < eps < 1:
            raise ValueError(f"layer_norm_epsilon is {eps!r}")
    return {**sizes, "norm_eps": eps}


@dataclass(frozen=True)
class Stored:
    """The tensors of some files by name: shape, and what reads it as float32."""

    place: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of a name, float32; ``CheckpointError`` where it is absent, of another shape or holds no numbers."""
        found = self.shapes.get(name)
        if found != shape:
            there = "no" if found is None else f"{found} as"
            raise CheckpointError(f"{self.place} has {there} {name}; the model needs {shape}")
        tensor = self.read(name)
        if not tensor.isfinite().all():
            raise CheckpointError(f"{self.place} is damaged: {name} holds numbers that are none")
        return tensor


def stored(place: Path, files: Iterable[Path], prefixes: Iterable[str] = ("backbone.",)) -> Stored:
    """What safetensors files hold, their names without ``prefixes``; nothing but headers is read."""
    safetensors = require("safetensors", "train")
    places: dict[str, tuple[Path, str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def opened(file: Path) -> AbstractContextManager[Any]:
        handle: AbstractContextManager[Any] = safetensors.safe_open(file, framework="pt")
        return handle

    def read(name: str) -> Tensor:
        file, stored_name = places[name]
        with reading(file, CheckpointError), opened(file) as tensors:
            return torch.as_tensor(tensors.get_tensor(stored_name)).float()

    for file in files:
        _check_header(file)
        with reading(file, CheckpointError), opened(file) as tensors:
            for key in tensors.keys():  # a handle is no mapping
                name = functools.reduce(str.removeprefix, prefixes, key)
                places[name], shapes[name] = (file, key), tuple(tensors.get_slice(key).get_shape())
    return Stored(place, shapes, read)


def _check_header(file: Path) -> None:
    """A header is read as a whole by whoever opens the file: its length is looked at before."""
    with reading(file, CheckpointError), open_real(file, 1 << 50, links=True) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"its header claims {length} bytes; {MOST_HEADER_BYTES} are the most")


def weights_of(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of these names and shapes, float32."""
    tensors = stored(folder, hub.weight_files(folder))
    return {name: tensors.tensor(name, shape) for name, shape in shapes.items()}


def first_layers(sizes: Mapping[str, Any], layers: int | None) -> int:
    """How many layers to take; ``ConfigError`` for more than there are."""
    there = int(sizes["layers"])
    if layers is not None:
        check_count(layers=layers)
        if layers > there:
            raise ConfigError(f"the model has {there} layers, {layers} were asked for")
    return there if layers is None else layers


def embeddings_of(folder_or_id: str | Path) -> Tensor:
    """The table of token embeddings of a model, float32 ``(words, width)``."""
    folder = folder_of(folder_or_id)
    tensors, width = stored(folder, hub.weight_files(folder)), sizes_of(folder)["width"]
    name = next((name for name in _EMBEDDINGS if name in tensors.shapes), _EMBEDDINGS[0])
    words = tensors.shapes.get(name, (0,))[0]
    return tensors.tensor(name, (words, width))
