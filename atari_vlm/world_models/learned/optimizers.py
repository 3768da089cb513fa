"""Optimizers of learned world models."""

from __future__ import annotations

import torch
from torch import nn

from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.learned.team import Team


def optimizer_for(network: nn.Module, updates: Updates) -> torch.optim.AdamW:
    """AdamW; weight decay on the weights of linear and convolution layers only, none on biases, norms and embeddings."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                weight = isinstance(module, (nn.Linear, nn.Conv2d)) and name == "weight"
                (decayed if weight else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": updates.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=updates.learning_rate)


def apply_gradients(optimizer: torch.optim.Optimizer, max_norm: float, team: Team) -> float:
    """Sum the gradients over the ranks, clip, step and forget them; their norm before clipping."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    team.sum_gradients(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
