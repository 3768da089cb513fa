"""The token world model: a retentive network over blocks of K observation tokens and one action token, with POP.

Parallel observation prediction (Cohen et al. 2024, section 3.2): the K tokens of the next frame are predicted at once by
feeding K fixed prediction tokens from the state after the last block, at the positions the frame would occupy, and throwing
away the state they leave. In training the real sequence is run once with the state kept at every block boundary; then the
prediction tokens of all blocks run in parallel, each layer from that layer's own states.

Shapes: B rows, T blocks, K tokens a frame, W width, L layers, H heads, D channels of a head, V codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.world_models.learned.heads import categorical, mlp, scalar_head
from atari_vlm.world_models.rem.retention import Retention, block_decays, token_decays
from atari_vlm.world_models.rem.settings import RemConfig, WorldModelConfig


class Layer(nn.Module):
    """Pre-norm retention and feed-forward."""

    def __init__(self, config: WorldModelConfig, decays: Tensor, max_tokens: int):
        super().__init__()
        self.retention_norm = nn.LayerNorm(config.width)
        self.retention = Retention(config.width, decays, max_tokens)
        self.ffn_norm = nn.LayerNorm(config.width)
        self.ffn = nn.Sequential(
            nn.Linear(config.width, config.ffn_width),
            nn.SiLU(),
            nn.Linear(config.ffn_width, config.width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def feed(self, x: Tensor) -> Tensor:
        """The feed-forward half."""
        return x + cast(Tensor, self.dropout(self.ffn(self.ffn_norm(x))))

    def chunk(self, x: Tensor, state: Tensor, *, keep_state: bool) -> tuple[Tensor, Tensor | None]:
        """One chunk ``(..., N, W)`` after ``state``."""
        out, following = self.retention.chunk(self.retention_norm(x), state, keep_state=keep_state)
        return self.feed(x + self.dropout(out)), following

    def closing(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`chunk` where only the last token's output is used: it alone is computed, ``(..., 1, W)``."""
        out, following = self.retention.closing(self.retention_norm(x), state)
        return self.feed(x[..., -1:, :] + self.dropout(out)), following

    def blocks(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks ``(B, T, N, W)`` after ``state``; states at the boundaries ``(B, T + 1, H, D, D)``."""
        out, states = self.retention.blocks(self.retention_norm(x), state)
        return self.feed(x + self.dropout(out)), states


@dataclass(frozen=True)
class Predictions:
    """Logits for T blocks: ``tokens`` ``(B, T, K, V)`` predicted *before* a block is seen; ``reward`` and ``end`` ``(B, T, .)``
    after its action.
    """

    tokens: Tensor
    reward: Tensor
    end: Tensor


class TokenWorldModel(nn.Module):
    """REM's world model.

    ``codes`` ``(V, code_dim)`` is a frozen copy of the tokenizer's code vectors, which embed the observation tokens
    (:meth:`use_codes`); only the actions' embeddings are learned.
    """

    def __init__(self, config: RemConfig):
        super().__init__()
        c, t = config.world_model, config.tokenizer
        self.config, self.num_tokens, self.num_actions = c, t.num_tokens, config.num_actions
        block = t.num_tokens + 1
        decays = (
            token_decays(c.num_heads)
            if c.decay_unit == "token"
            else block_decays(c.num_heads, block, c.decay_blocks)
        )
        self.codes = nn.Parameter(torch.zeros(t.num_codes, t.code_dim), requires_grad=False)
        self.code_in = nn.Identity() if t.code_dim == c.width else nn.Linear(t.code_dim, c.width)
        self.action_embedding = nn.Embedding(
            config.num_actions + 1, c.width
        )  # the last row: no action known
        self.prediction_tokens = nn.Parameter(torch.randn(t.num_tokens, c.width) * 0.02)
        self.places = (
            nn.Parameter(torch.randn(t.num_tokens, c.width) * 0.3) if c.place_embedding else None
        )
        self.layers = nn.ModuleList(Layer(c, decays, block) for _ in range(c.num_layers))
        self.reward = scalar_head(c.reward, c.reward_bins)
        self.token_head = mlp(c.width, t.num_codes)
        self.reward_head = mlp(c.width, self.reward.size)
        self.end_head = mlp(c.width, 2)

    def use_codes(self, codes: Tensor) -> None:
        """Copy the tokenizer's code vectors ``(V, code_dim)``."""
        self.codes.data.copy_(codes.detach())

    def empty_state(self, rows: int) -> Tensor:
        """The state before any block, zeros ``(B, L, H, D, D)``."""
        first = cast(Layer, self.layers[0]).retention
        return first.empty_state(rows, len(self.layers))

    def embed(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Blocks ``(..., K + 1, W)`` from tokens ``(..., K)`` and actions ``(...)``."""
        observed = self.code_in(functional.embedding(tokens, self.codes))
        if self.places is not None:
            observed = observed + self.places
        return torch.cat([observed, self.action_embedding(actions)[..., None, :]], dim=-2)

    def revealed(self, known: Tensor) -> Tensor:
        """What is added to the prediction tokens where tokens ``(..., K)`` are known; zeros where they are -1."""
        vectors = self.code_in(functional.embedding(known.clamp(min=0), self.codes))
        return cast(Tensor, vectors * (known >= 0)[..., None])

    def forward(
        self,
        tokens: Tensor,
        actions: Tensor,
        state: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Predictions:
        """Training pass over T blocks: ``tokens`` int64 ``(B, T, K)``, ``actions`` int64 ``(B, T)``.

        ``known`` ``(B, T, K)`` as in :meth:`predict`; the memory of the real sequence never sees it.
        """
        state = self.empty_state(len(tokens)) if state is None else state
        real = self.embed(tokens, actions)  # (B, T, K + 1, W)
        ahead = self.prediction_tokens[
            None, None
        ]  # (1, 1, K, W): the same for all until they meet a state
        if known is not None:
            ahead = ahead + self.revealed(known)
        for i, module in enumerate(self.layers):
            layer = cast(Layer, module)
            real, states = layer.blocks(real, state[:, i])
            ahead, _ = layer.chunk(ahead, states[:, :-1], keep_state=False)
        acted = real[:, :, -1]  # (B, T, W), the action token's output
        return Predictions(self.token_head(ahead), self.reward_head(acted), self.end_head(acted))

    def read(self, state: Tensor, tokens: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take in one block: the state after it, and reward and end logits ``(B, .)``."""
        x, following = self.embed(tokens, actions), []
        for i, module in enumerate(self.layers):
            layer, last = cast(Layer, module), i == len(self.layers) - 1
            x, after = (
                layer.closing(x, state[:, i])
                if last
                else layer.chunk(x, state[:, i], keep_state=True)
            )
            following.append(after)
        acted = x[:, -1]
        return (
            torch.stack(cast(list[Tensor], following), 1),
            self.reward_head(acted),
            self.end_head(acted),
        )

    def predict(self, state: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits of the next frame's tokens ``(B, K, V)`` from the state after the last block.

        ``known`` int64 ``(B, K)`` reveals tokens that are fixed already (-1 where open): joint refinement.
        """
        x = self.prediction_tokens[
            None
        ]  # (1, K, W): the same for all rows until they meet their states
        if known is not None:
            x = x + self.revealed(known)
        for i, module in enumerate(self.layers):
            x, _ = cast(Layer, module).chunk(x, state[:, i], keep_state=False)
        return cast(Tensor, self.token_head(x))

    def draw_frame(
        self, state: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """Sample the next frame's tokens ``(B, K)`` from the state after the last block."""
        return self.settle(self.predict(state), state, generator, temperature)

    def settle(
        self,
        logits: Tensor,
        state: Tensor,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> Tensor:
        """:meth:`draw_frame` from the logits that :meth:`predict` gave: all tokens independently, then ``refinement_passes``
        times the less certain half anew given the rest (after Chang et al. 2022, arXiv 2202.04200), so that tokens can agree.
        """
        tokens = categorical(logits, generator, temperature)
        for _ in range(self.config.refinement_passes):
            sure = (
                logits.float().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
            )  # (B, K)
            keep = sure >= sure.median(dim=-1, keepdim=True).values
            logits = self.predict(state, torch.where(keep, tokens, -1))
            tokens = torch.where(keep, tokens, categorical(logits, generator, temperature))
        return tokens
