"""LoRA (Hu et al. 2021, arXiv 2106.09685): a frozen core learns through products of two narrow matrices beside its own.

Files are those of the library peft, ``adapter_config.json`` and ``adapter_model.safetensors``. Of a Mamba model peft refuses
``out_proj`` and passes over ``dt_proj`` without a word, since transformers reads their weights past the layer; here every
projection is a layer that is called, so each of them learns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm import hub
from atari_vlm.errors import (
    CheckpointError,
    ConfigError,
    MismatchError,
    check_count,
    check_positive,
    reading,
)
from atari_vlm.files import atomic_write
from atari_vlm.settings import check_names
from atari_vlm.world_models.checkpoint_files import pack_tensors, to_json
from atari_vlm.world_models.dreamer.cores.pretrained import Stored, stored
from atari_vlm.world_models.dreamer.cores.projected import ProjectedCore

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_LARGEST_RANK = 1 << 12
_ADAPTER = re.compile(r".*\.([^.]+)\.lora_[AB]\.weight")
_PLAIN = {  # peft's other kinds of adapters, and what they are in a plain one
    "use_dora": False, "use_rslora": False, "fan_in_fan_out": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {},
    "modules_to_save": None,
}  # fmt: skip


class LoraLinear(nn.Linear):
    """A linear layer with an adapter: ``W x + b + alpha / rank * B A x``; ``B`` begins at 0."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.rank, self.alpha = rank, float(alpha)
        place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False, **place)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False, **place)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """As a linear layer."""
        added: Tensor = self.lora_B(self.lora_A(x))
        return functional.linear(x, self.weight, self.bias) + self.alpha / self.rank * added

    def merged(self) -> nn.Linear:
        """The plain layer that computes the same."""
        sizes = (self.in_features, self.out_features)
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, *sizes, bias=self.bias is not None)
        change = self.alpha / self.rank * self.lora_B.weight @ self.lora_A.weight
        layer.weight = nn.Parameter((self.weight + change).detach())
        layer.bias = self.bias
        return layer


def add_lora(core: nn.Module, rank: int, alpha: float, targets: Sequence[str]) -> None:
    """Give every linear layer of ``core`` whose name is among ``targets`` an adapter, in place, and freeze the rest of the core.

    Projections that stand around a core of another width are no part of it and go on learning. Raises ``UnknownNameError`` for a
    target that is no linear layer of the core, ``ConfigError`` for a core that has adapters.
    """
    check_count(rank=rank)
    check_positive(alpha=alpha)
    inner = _inner(core)
    if next(_adapted(inner), None) is not None:
        raise ConfigError("the core has LoRA adapters already; merge them first")
    layers = [(n, m) for n, m in inner.named_modules() if isinstance(m, nn.Linear)]
    check_names(targets, {name.split(".")[-1] for name, _ in layers}, "LoRA target")
    if not targets or isinstance(targets, str):
        raise ConfigError(f"LoRA needs a list of targets such as ['in_proj'], got {targets!r}")
    inner.requires_grad_(False)
    for name, layer in layers:
        if name.split(".")[-1] in targets:
            inner.set_submodule(name, LoraLinear(layer, rank, alpha))


def lora_parameters(core: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' matrices by name: ``layers.0.mixer.in_proj.lora_A.weight`` ``(rank, inputs)``, ``lora_B`` the other way."""
    return {
        f"{name}.{part}.weight": getattr(layer, part).weight
        for name, layer in _adapted(_inner(core))
        for part in ("lora_A", "lora_B")
    }


def merge_lora(core: nn.Module) -> None:
    """Add every adapter to its layer's weight, in place: a plain core that computes the same and learns in whole again."""
    inner = _inner(core)
    for name, layer in list(_adapted(inner)):
        inner.set_submodule(name, layer.merged())
    inner.requires_grad_(True)


def save_lora(core: nn.Module, folder: str | Path) -> None:
    """Write the adapters into ``folder``, as peft does for a ``MambaModel``; ``ConfigError`` for a core without any."""
    adapted = dict(_adapted(_inner(core)))
    if not adapted:
        raise ConfigError("the core has no LoRA adapters to save")
    layer = next(iter(adapted.values()))
    config = {
        **_PLAIN, "peft_type": "LORA", "r": layer.rank, "lora_alpha": layer.alpha, "lora_dropout": 0.0, "inference_mode": True,
        "target_modules": sorted({name.split(".")[-1] for name in adapted}), "task_type": None,
        "base_model_name_or_path": None,
    }  # fmt: skip
    arrays = {
        _PREFIX + name: value.detach().float().cpu().numpy()
        for name, value in lora_parameters(core).items()
    }
    atomic_write(Path(folder) / WEIGHTS, pack_tensors(arrays))
    atomic_write(Path(folder) / CONFIG, to_json(config))


def load_lora(core: nn.Module, folder: str | Path) -> None:
    """Read adapters that :func:`save_lora` or peft wrote into ``core``, which gets adapters like them where it has none.

    Raises ``CheckpointError`` for pickled or damaged files, ``MismatchError`` for adapters of another kind, rank or core; the
    core is then as it was.
    """
    tensors, rank, alpha = _read(Path(folder))
    targets = _targets(tensors)
    inner = _inner(core)
    there = dict(_adapted(inner))
    if not there:
        linear = {n.split(".")[-1] for n, m in inner.named_modules() if isinstance(m, nn.Linear)}
        if wrong := [target for target in targets if target not in linear]:
            raise MismatchError(
                f"{folder} adapts {', '.join(wrong)}; the core has {', '.join(sorted(linear))}"
            )
    else:
        _check_alike(there, targets, rank, alpha, folder)
    weights = _weights(inner, tensors, rank, targets)
    if not there:
        add_lora(core, rank, alpha, targets)
    with torch.no_grad():
        for name, parameter in lora_parameters(core).items():
            parameter.copy_(weights[name])


def _weights(
    inner: nn.Module, tensors: Stored, rank: int, targets: Sequence[str]
) -> dict[str, Tensor]:
    """Both matrices of every layer that is a target; ``MismatchError`` for those of layers that the core has not."""
    shapes = {}
    for name, layer in inner.named_modules():
        if isinstance(layer, nn.Linear) and name.split(".")[-1] in targets:
            shapes[f"{name}.lora_A.weight"] = (rank, layer.in_features)
            shapes[f"{name}.lora_B.weight"] = (layer.out_features, rank)
    if extra := sorted(tensors.shapes.keys() - shapes.keys()):
        raise MismatchError(
            f"{tensors.place} adapts {extra[0]} among others, which the core has not"
        )
    return {name: tensors.tensor(name, shape) for name, shape in shapes.items()}


def _targets(tensors: Stored) -> list[str]:
    """The names of the layers that are adapted; ``MismatchError`` for tensors that are none of adapters."""
    found = [_ADAPTER.fullmatch(name) for name in tensors.shapes]
    if not found or None in found:
        raise MismatchError(f"{tensors.place} holds other tensors than those of LoRA adapters")
    return sorted({match[1] for match in found if match})


def _check_alike(
    there: dict[str, LoraLinear], targets: list[str], rank: int, alpha: float, folder: object
) -> None:
    layer = next(iter(there.values()))
    ours = (layer.rank, layer.alpha, sorted({name.split(".")[-1] for name in there}))
    if ours != (theirs := (rank, alpha, targets)):
        shown = ["rank {}, alpha {:g}, {}".format(r, a, ", ".join(t)) for r, a, t in (theirs, ours)]
        raise MismatchError(
            f"the adapters in {folder} have {shown[0]}; those of the core {shown[1]}"
        )


def _read(folder: Path) -> tuple[Stored, int, float]:
    """The tensors of a folder of peft's, their rank and alpha."""
    file = folder / WEIGHTS
    if not file.exists():
        pickled = (folder / "adapter_model.bin").exists()
        why = "its pickled weights can run code and are refused" if pickled else "nothing is there"
        raise CheckpointError(f"{folder} has no {WEIGHTS}: {why}")
    with reading(folder, CheckpointError):
        hub.check_files(folder, (CONFIG, WEIGHTS))
        config = hub.read_object(folder / CONFIG)
        tensors = stored(file, [file], (_PREFIX, "backbone."))
        rank, alpha = _numbers(config)
    for name, plain in _PLAIN.items():
        if config.get(name, plain) != plain:
            raise MismatchError(
                f"{folder} has {name} = {config[name]!r}; only plain LoRA is read, {plain!r}"
            )
    return tensors, rank, alpha


def _numbers(config: dict[str, Any]) -> tuple[int, float]:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    check_count(r=rank)
    check_positive(lora_alpha=alpha)  # type: ignore[arg-type]
    if rank > _LARGEST_RANK or not math.isfinite(alpha):  # type: ignore[operator, arg-type]
        raise ValueError(
            f"r is at most {_LARGEST_RANK} and lora_alpha finite, got {rank} and {alpha}"
        )
    return int(rank), float(alpha)  # type: ignore[arg-type]


def _inner(core: nn.Module) -> nn.Module:
    """The core without the projections around it."""
    return core.core if isinstance(core, ProjectedCore) else core


def _adapted(core: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    for name, layer in core.named_modules():
        if isinstance(layer, LoraLinear):
            yield name, layer
