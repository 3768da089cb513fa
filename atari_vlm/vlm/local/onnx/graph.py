"""The computation of a small Qwen3-VL as one graph of plain tensor operations, for export; it needs torch and transformers.

The weights are those of the transformers model; inputs are named in :mod:`atari_vlm.vlm.local.onnx.feed`. Architecture: Qwen3-VL
(interleaved multimodal rotary positions; features of early vision layers added to early layers of the language model,
DeepStack, https://arxiv.org/abs/2406.04334), as transformers has it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

INPUTS = (
    "ids", "positions", "bias", "read", "picture", "patches", "places", "corners", "shares", "seen"
)  # fmt: skip


class Graph(nn.Module):
    """``forward`` takes :data:`INPUTS` in their order and gives logits float32 ``(B, R, V)``."""

    def __init__(self, model: Any):
        super().__init__()
        self.eyes = Eyes(model.model.visual)
        self.language, self.head = model.model.language_model, model.lm_head
        self.angles = Angles(self.language.rotary_emb)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        bias: Tensor,
        read: Tensor,
        picture: Tensor,
        *look: Tensor,
    ) -> Tensor:
        """One pass over prompts with their choices; ``look`` is the rest of :data:`INPUTS`."""
        tokens, early = self.eyes(*look)
        is_text = (picture == 0)[..., None]
        hidden = torch.where(is_text, self.language.embed_tokens(ids), tokens[picture])  # (B, S, D)
        turned = self.angles(positions)
        for number, layer in enumerate(self.language.layers):
            hidden = layer(hidden, position_embeddings=turned, attention_mask=bias)
            if number < len(early):
                hidden = hidden + early[number][picture]
        return self.head(self.language.norm(hidden[:, read]))


class Angles(nn.Module):
    """Cosines and sines of rotary positions: each frequency belongs to time, height or width, taken in turns."""

    def __init__(self, rotary: Any):
        super().__init__()
        axis = torch.zeros(len(rotary.inv_freq), dtype=torch.int64)
        for number, offset in ((1, 1), (2, 2)):
            axis[offset : rotary.mrope_section[number] * 3 : 3] = number
        self.register_buffer("axis", axis)
        self.register_buffer("frequencies", rotary.inv_freq.clone())
        self.scaling = rotary.attention_scaling

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """From ``(3, B, S)`` twice ``(B, S, width of a head)``."""
        angle = positions[self.axis].permute(1, 2, 0).float() * self.frequencies
        whole = torch.cat((angle, angle), -1)
        return whole.cos() * self.scaling, whole.sin() * self.scaling


class Eyes(nn.Module):
    """The vision tower over several pictures side by side."""

    def __init__(self, visual: Any):
        super().__init__()
        self.visual, self.heads = visual, visual.config.num_heads
        self.register_buffer("frequencies", visual.rotary_pos_emb.inv_freq.clone())

    def forward(
        self, patches: Tensor, places: Tensor, corners: Tensor, shares: Tensor, seen: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Features ``(1 + tokens, D)`` for the first layer, and for each early one; the first row is zeros, for text."""
        project = self.visual.patch_embed.proj
        hidden = nn.functional.linear(patches, project.weight.flatten(1), project.bias)  # (P, N, D)
        learned = self.visual.pos_embed(corners) * shares[..., None]
        hidden = hidden + learned.sum(2)
        angle = (places[..., None].float() * self.frequencies).flatten(2)
        whole = torch.cat((angle, angle), -1)[:, None]  # (P, 1, N, width of a head)
        turn, bias = (whole.cos(), whole.sin()), seen[:, None, None]
        early = []
        for number, block in enumerate(self.visual.blocks):
            hidden = hidden + self._attend(block.attn, block.norm1(hidden), turn, bias)
            hidden = hidden + block.mlp(block.norm2(hidden))
            if number in self.visual.deepstack_visual_indexes:
                at = self.visual.deepstack_visual_indexes.index(number)
                early.append(_below_zeros(self.visual.deepstack_merger_list[at](hidden)))
        return _below_zeros(self.visual.merger(hidden)), early

    def _attend(
        self, attention: Any, hidden: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor
    ) -> Tensor:
        """Every patch looks at all of its own picture: ``(P, N, D)``."""
        parts = attention.qkv(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys = (_turned(part, *turn) for part in (parts[0], parts[1]))
        weights = queries @ keys.transpose(-1, -2) * attention.scaling + bias  # (P, H, N, N)
        mixed = weights.softmax(-1) @ parts[2]
        return attention.proj(mixed.transpose(1, 2).flatten(2))


def _turned(part: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    half = part.shape[-1] // 2
    return part * cosine + torch.cat((-part[..., half:], part[..., :half]), -1) * sine


def _below_zeros(features: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(features[:1]), features))
