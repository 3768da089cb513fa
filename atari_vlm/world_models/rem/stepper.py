"""A step of imagination, fast: the equations of :mod:`~atari_vlm.world_models.rem.world_model`, arranged for inference.

The block that is read and the prediction tokens of the next frame go through each layer together: one matrix product instead of
two, and the prediction tokens meet the state that the same layer has just left. What does not depend on the input is worked out
once, for the weights as they are: the norms' affine parts within the projections that follow them; rotation, decay and the
keys' scale in one complex factor per place (decay ``g**(n - m)`` as ``g**n`` on queries and ``g**-m`` on keys); and the first
layer's projections of every token, action and prediction token as a table. In the last layer only outputs that are read are
computed. Many rows go in parts, so that what lies between two products stays in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.world_models.rem.world_model import TokenWorldModel

PART_BYTES = 4_500_000  # of a layer's widest values, float32: 8 rows of preset rem, the fastest on a core with 2 MiB of cache
ONEDNN = torch.backends.mkldnn.is_available()


@dataclass(frozen=True)
class BlockStep:
    """What :meth:`Stepper.step` gives: ``memory`` float32 ``(B, L, H, D, D)`` after the block, and logits: ``reward`` ``(B, .)``,
    ``end`` ``(B, 2)``, ``tokens`` ``(B, K, V)`` of the next frame.
    """

    memory: Tensor
    reward: Tensor
    end: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class _Layer:
    """Weights and biases of a layer's four products."""

    qkvg: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    wide: tuple[Tensor, Tensor]
    narrow: tuple[Tensor, Tensor]


class Stepper:
    """A network's step with the weights that it had when this was made; products in ``dtype`` (float32 or bfloat16), the state
    and the sum that runs through the layers in float32. Gives no gradients.
    """

    def __init__(self, network: TokenWorldModel, dtype: torch.dtype = torch.float32):
        self.dtype = dtype
        with torch.no_grad(), torch.autocast(network.codes.device.type, enabled=False):
            self._take(network)

    def _take(self, network: TokenWorldModel) -> None:
        self.block, self.num_codes = network.num_tokens + 1, len(network.codes)
        modules: list[Any] = list(network.layers)
        self.layers = [self._packed(module) for module in modules]
        self.heads = [
            (self._linear(head[0]), self._linear(head[2]))
            for head in (network.reward_head, network.end_head, network.token_head)
        ]
        self.turns, self.back = _factors(modules[0].retention, self.block)
        embedded = network.code_in(network.codes)
        self.vectors = torch.cat(
            [embedded, network.action_embedding.weight, network.prediction_tokens]
        ).float()
        ahead = torch.arange(network.num_tokens, device=self.vectors.device)
        self.ahead = ahead + self.num_codes + len(network.action_embedding.weight)
        width = max(
            linear[0].shape[0] for layer in self.layers for linear in (layer.qkvg, layer.wide)
        )
        self.part_rows = max(1, PART_BYTES // (4 * width * (2 * self.block - 1)))
        self.places = None if network.places is None else network.places.detach().clone()
        # a vector per place would make the table one of tokens times places
        self.table = (
            self._projected(self.vectors, self.layers[0]) if network.places is None else None
        )

    @torch.no_grad()
    def step(self, memory: Tensor, tokens: Tensor, actions: Tensor) -> BlockStep:
        """Take in blocks of ``tokens`` ``(B, K)`` and ``actions`` ``(B,)`` after ``memory``; predict the frames that follow."""
        rows = self.part_rows if memory.device.type == "cpu" else len(tokens)
        with torch.autocast(memory.device.type, enabled=False):
            split = zip(memory.split(rows), tokens.split(rows), actions.split(rows), strict=True)
            parts = [self._rows(*part) for part in split]
        if len(parts) == 1:
            return BlockStep(*parts[0])
        return BlockStep(*(torch.cat(leaf) for leaf in zip(*parts, strict=True)))

    def _rows(
        self, memory: Tensor, tokens: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows, last = len(tokens), len(self.layers) - 1
        index = torch.cat(
            [tokens, actions[:, None] + self.num_codes, self.ahead.expand(rows, -1)], 1
        )  # (B, N)
        x = self.vectors[index]  # (B, N, W): K tokens, the action, K prediction tokens
        if self.places is not None:
            x[:, : self.block - 1] += self.places
        following = torch.empty_like(memory)
        for i, layer in enumerate(self.layers):
            unread = self.block - 1 if i == last else 0
            qkvg = (
                self.table[index]
                if i == 0 and self.table is not None
                else self._projected(x, layer)
            )
            retained = self._retained(qkvg, memory[:, i], following[:, i], unread)
            x = x[:, unread:]
            x = x + _product(
                retained.mul_(functional.silu(qkvg[:, unread:, 3])).flatten(2), *layer.out
            )
            wide = _product(self._normed(x), *layer.wide)
            x += _product(functional.silu(wide, inplace=True), *layer.narrow)
        x = x.to(self.dtype)
        reward, end = (_mlp(x[:, 0], head) for head in self.heads[:2])
        return following, reward, end, _mlp(x[:, 1:], self.heads[2])

    def _projected(self, x: Tensor, layer: _Layer) -> Tensor:
        """Queries, keys, values and gates ``(..., 4, H, D)``."""
        _, heads, _, half = self.turns.shape
        return _product(self._normed(x), *layer.qkvg).unflatten(-1, (4, heads, 2 * half))

    def _retained(self, qkvg: Tensor, state: Tensor, following: Tensor, unread: int) -> Tensor:
        """Normalised outputs of retention ``(B, N - unread, H, D)``; the state after the block goes into ``following``."""
        rows, heads, _, dim = state.shape
        qk = torch.empty(2, rows, heads, qkvg.shape[1], dim, device=qkvg.device)
        qk.copy_(qkvg[:, :, :2].permute(2, 0, 3, 1, 4))
        torch.view_as_complex(qk.unflatten(-1, (dim // 2, 2))).mul_(self.turns[:, None])
        q, k = qk.to(self.dtype).flatten(1, 2)  # (B * H, N, D)
        v = qkvg[:, :, 2].transpose(1, 2).flatten(0, 1)
        n, before = self.block, state.flatten(0, 1)
        added = torch.bmm(k[:, :n].transpose(1, 2), v[:, :n]) + before
        pairs, after = (
            added.view(rows, heads, dim // 2, 2, dim),
            following.unflatten(2, (dim // 2, 2)),
        )
        torch.addcmul(pairs * self.back[0], pairs.flip(3), self.back[1], out=after)
        read = _attended(q[:, unread:n], k[:, :n], v[:, :n], before.to(self.dtype))
        ahead = _attended(q[:, n:], k[:, n:], v[:, n:], following.flatten(0, 1).to(self.dtype))
        normed = functional.layer_norm(torch.cat([read, ahead], 1), (dim,), eps=1e-6)
        return normed.unflatten(0, (rows, heads)).transpose(1, 2).contiguous()

    def _normed(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], eps=1e-5).to(self.dtype)

    def _packed(self, layer: Any) -> _Layer:
        retention, ffn = layer.retention, layer.ffn
        return _Layer(
            self._linear(retention.qkvg, layer.retention_norm),
            self._linear(retention.out),
            self._linear(ffn[0], layer.ffn_norm),
            self._linear(ffn[2]),
        )

    def _linear(self, linear: nn.Linear, norm: nn.LayerNorm | None = None) -> tuple[Tensor, Tensor]:
        """Weight and bias, the affine part of the norm before it included."""
        weight, bias = linear.weight.detach(), linear.bias.detach()
        if norm is not None:
            bias = bias + weight @ norm.bias
            weight = weight * norm.weight
        return weight.to(self.dtype, copy=True), bias.to(self.dtype, copy=True)


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``functional.linear``, but on the CPU by oneDNN in float32 too, where torch takes MKL, half as fast on AMD processors."""
    if ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))
    return functional.linear(x, weight, bias)


def _attended(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> Tensor:
    """Retention of a chunk's last tokens ``q`` ``(B * H, n, D)`` over the whole chunk and the state before it."""
    similar = torch.bmm(q, k.transpose(1, 2)).tril_(k.shape[1] - q.shape[1])
    return torch.bmm(q, state).baddbmm_(similar, v)


def _mlp(x: Tensor, head: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    return _product(_product(x, *head[0]).relu_(), *head[1])


def _factors(retention: Any, block: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What queries and keys are multiplied by, complex ``(2, H, 2 * block - 1, D / 2)``: places of a block, then of the frame
    after it, counted from its own beginning; and the turn of a state by one block, ``(H, D / 2, 2, 1)`` twice.
    """
    cos, sin = (
        retention.table_cos[:, 0::2].double(),
        retention.table_sin[:, 0::2].double(),
    )  # (block + 1, D / 2)
    power = retention.table_power.double()  # (H, block + 1)
    turn = torch.complex(cos, sin)
    queries = power[:, :block, None] * turn[:block]
    keys = turn[:block] / power[:, :block, None] * retention.head_dim**-0.5
    turns = torch.stack([queries, keys])
    turns = torch.cat([turns, turns[:, :, : block - 1]], 2)
    kept = power[:, block, None, None, None]
    back_cos = kept * cos[block][:, None, None].expand(-1, 2, 1)
    back_sin = kept * torch.stack([sin[block], -sin[block]], -1)[..., None]
    return turns.to(torch.complex64), (back_cos.float(), back_sin.float())
