"""The loss of REM's world model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from atari_vlm.world_models.rem.world_model import TokenWorldModel


@dataclass(frozen=True)
class Blocks:
    """B segments of T blocks: ``tokens`` int64 ``(B, T, K)``, ``actions`` int64, ``rewards`` float32, ``ends`` bool (terminated,
    not truncated) and ``mask`` bool ``(B, T)`` (False where padded on the right).
    """

    tokens: Tensor
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    mask: Tensor

    def rows(self, begin: int, end: int) -> Blocks:
        """Some of the rows."""
        leaves = (self.tokens, self.actions, self.rewards, self.ends, self.mask)
        return Blocks(*(leaf[begin:end] for leaf in leaves))

    def scored(self, context: int) -> tuple[Tensor, Tensor]:
        """Where tokens, and where rewards and ends are scored, bool ``(B, T)`` each.

        The first ``context`` frames are given, never predicted; the action on the last of them is the first imagined one, so
        its reward and end are scored.
        """
        place = torch.arange(self.mask.shape[1], device=self.mask.device)
        return self.mask & (place >= context), self.mask & (place >= context - 1)


@dataclass(frozen=True)
class WorldModelLoss:
    """Sums over the scored elements divided by ``counts``; ``rows`` is each row's own token loss, ``(B,)``."""

    total: Tensor
    tokens: Tensor
    reward: Tensor
    end: Tensor
    rows: Tensor
    accuracy: Tensor


def world_model_loss(
    network: TokenWorldModel,
    blocks: Blocks,
    context: int,
    counts: tuple[Tensor, Tensor] | None = None,
    known: Tensor | None = None,
) -> WorldModelLoss:
    """The unweighted sum of the cross-entropies of tokens, reward and end (rem.md section 2.3).

    ``counts`` (scored token blocks, scored rewards) of the whole batch make the losses of its parts add up to the batch's;
    default: this batch's own. ``known`` int64 ``(B, T, K)`` reveals tokens (-1 where open); only open ones are scored.
    """
    on_tokens, on_acts = blocks.scored(context)
    block_count, act_count = counts or (on_tokens.sum(), on_acts.sum())
    predicted = network(blocks.tokens, blocks.actions, known=known)
    logits = predicted.tokens.float()
    per_token = functional.cross_entropy(
        logits.flatten(0, 2), blocks.tokens.flatten(), reduction="none"
    )
    per_token = per_token.view(blocks.tokens.shape)  # (B, T, K)
    is_open = torch.ones_like(per_token) if known is None else (known < 0).float()
    per_block = (per_token * is_open).sum(-1) / is_open.sum(-1).clamp(min=1)  # (B, T)
    token_sums = (per_block * on_tokens).sum(1)  # (B,)
    tokens = token_sums.sum() / block_count.clamp(min=1)
    reward = (
        network.reward.loss(predicted.reward.float(), blocks.rewards) * on_acts
    ).sum() / act_count.clamp(min=1)
    ends = functional.cross_entropy(
        predicted.end.float().flatten(0, 1), blocks.ends.long().flatten(), reduction="none"
    )
    end = (ends.view(blocks.ends.shape) * on_acts).sum() / act_count.clamp(min=1)
    right = (
        (logits.argmax(-1) == blocks.tokens).float().mean(-1) * on_tokens
    ).sum() / block_count.clamp(min=1)
    rows = (token_sums / on_tokens.sum(1).clamp(min=1)).detach()
    return WorldModelLoss(tokens + reward + end, tokens, reward, end, rows, right.detach())


def revealed_tokens(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """What refinement learns from: half of the blocks see nothing, the others a random share of their own tokens (-1: hidden)."""
    shape = (*tokens.shape[:-1], 1)
    share = torch.rand(shape, generator=generator, device=tokens.device)
    some = torch.rand(shape, generator=generator, device=tokens.device) < 0.5
    visible = torch.rand(tokens.shape, generator=generator, device=tokens.device) < share
    return torch.where(visible & some, tokens, -1)
