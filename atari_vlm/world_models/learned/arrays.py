"""Networks and optimisers as named arrays of checkpoints, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atari_vlm.errors import CheckpointError, UnknownNameError


def subtree(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries named ``prefix.*``, without the prefix."""
    length = len(prefix) + 1
    return {key[length:]: value for key, value in arrays.items() if key.startswith(prefix + ".")}


def weights_of(networks: Mapping[str, nn.Module]) -> dict[str, np.ndarray]:
    """The networks' weights as ``<network>.<name>``."""
    return {
        f"{name}.{key}": value.detach().cpu().numpy()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def load_weights(
    networks: Mapping[str, nn.Module],
    arrays: Mapping[str, np.ndarray],
    only: Collection[str] | None = None,
) -> None:
    """Put ``<network>.<name>`` arrays into the networks, or into ``only`` some of them.

    Raises ``CheckpointError`` if they do not fit, ``UnknownNameError`` for a part that is none.
    """
    for part in only or ():
        if part not in networks:
            raise UnknownNameError("part of the model", part, networks)
    for name, network in networks.items():
        if only is None or name in only:
            own = subtree(arrays, name)
            check_shapes(name, network, own)
            network.load_state_dict({key: torch.from_numpy(value) for key, value in own.items()})


def check_shapes(name: str, network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """``CheckpointError`` unless the arrays are the network's weights, with the first that is not and how many are not."""
    here = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    there = {key: array.shape for key, array in arrays.items()}
    wrong = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    if wrong:
        theirs, ours = (shapes.get(wrong[0], "absent") for shapes in (there, here))
        raise CheckpointError(
            f"the weights of {name} do not fit its sizes: {wrong[0]} is {theirs} in the checkpoint and {ours} here, "
            f"{len(wrong)} of {len(here)} differ"
        )


def optimizer_arrays(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, np.ndarray]:
    """Their states as ``optimizer.<network>.<index>.<name>``."""
    return {
        f"optimizer.{name}.{index}.{key}": array_of(value)
        for name, optimizer in optimizers.items()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer], arrays: Mapping[str, np.ndarray]
) -> None:
    """The inverse of :func:`optimizer_arrays`."""
    for name, optimizer in optimizers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in subtree(arrays, f"optimizer.{name}").items():
            index, part = key.split(".")
            states.setdefault(int(index), {})[part] = torch.from_numpy(value)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})


def array_of(value: Any) -> np.ndarray:
    """A tensor (or number) for a checkpoint; bfloat16, which numpy has not, as the float32 of the same value."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    kept = value.detach().cpu()
    return (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy()
