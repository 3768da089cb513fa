"""Retention (Sun et al. 2023, arXiv 2307.08621) in its three forms, with one carried state.

For one head with decay g, output n is ``sum over m <= n of g**(n - m) (q_n . R(n - m) k_m) v_m``, where R rotates pairs of
channels by an angle per position (the paper's equation 3). The state that summarises the past is a matrix ``(D, D)`` per head:
keys, rotated and decayed **relative to the next position**, times values. Being relative, it carries no position counter: rows
of a batch may begin at different times and be reset one by one.

The group norm that follows a head makes the paper's scaling of q k and of the decay matrix immaterial, so it is left out.
Shapes: B rows, T tokens, H heads, D channels of a head.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def token_decays(num_heads: int) -> Tensor:
    """REM's decay per head and token: ``1 - exp(linspace(log 1/32, log 1/512, H))``, float64 ``(H,)``."""
    ends = torch.log(torch.tensor([1 / 32, 1 / 512], dtype=torch.float64))
    return 1 - torch.exp(
        torch.linspace(float(ends[0]), float(ends[1]), num_heads, dtype=torch.float64)
    )


def block_decays(num_heads: int, block_tokens: int, blocks: tuple[float, float]) -> Tensor:
    """Decay per head and token such that head 0 keeps 1/e over ``blocks[0]`` blocks and the last over ``blocks[1]``."""
    spans = torch.linspace(blocks[0], blocks[1], num_heads, dtype=torch.float64)
    return torch.exp(-1 / (spans * block_tokens))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn channel pairs of ``x`` ``(..., T, D)`` by the angles of ``cos``/``sin`` ``(T, D)``."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return x * cos + turned * sin


class Retention(nn.Module):
    """Multi-head retention: q, k, v, gate and output projections with bias, group norm per head without affine.

    ``max_tokens`` bounds the length of one call of :meth:`parallel` and :meth:`chunk` (the masks are made once).
    """

    def __init__(self, width: int, decays: Tensor, max_tokens: int):
        super().__init__()
        num_heads = len(decays)
        self.num_heads, self.head_dim = num_heads, width // num_heads
        self.qkvg = nn.Linear(width, 4 * width)
        self.out = nn.Linear(width, width)
        self._make_tables(decays.double(), max_tokens)

    def _make_tables(self, decays: Tensor, n: int) -> None:
        """Constant masks, decays and rotations for up to ``n`` tokens, float32 buffers."""
        frequencies = 10000.0 ** -torch.linspace(0, 1, self.head_dim // 2, dtype=torch.float64)
        frequencies = frequencies.repeat_interleave(2)  # (D,)
        place = torch.arange(n + 1, dtype=torch.float64)
        angle = place[:, None] * frequencies  # (n + 1, D)
        gap = place[:n, None] - place[None, :n]
        mask = torch.where(gap >= 0, decays[:, None, None] ** gap.clamp(min=0), 0.0)  # (H, n, n)
        power = decays[:, None] ** place  # (H, n + 1), power[:, i] = decay ** i
        for name, value in (
            ("cos", angle.cos()),
            ("sin", angle.sin()),
            ("mask", mask),
            ("power", power),
        ):
            self.register_buffer(f"table_{name}", value.float(), persistent=False)

    def empty_state(self, *rows: int) -> Tensor:
        """The state before any token, zeros ``(*rows, H, D, D)``."""
        return self.out.weight.new_zeros(*rows, self.num_heads, self.head_dim, self.head_dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k, v ``(..., H, T, D)`` before rotation, and the gate ``(..., T, width)``; keys are scaled by ``D ** -0.5``."""
        q, k, v, gate = self.qkvg(x).chunk(4, dim=-1)
        heads = [
            y.unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2) for y in (q, k, v)
        ]
        return heads[0], heads[1] * self.head_dim**-0.5, heads[2], gate

    def finish(self, retained: Tensor, gate: Tensor) -> Tensor:
        """Normalise per head, gate, project: ``(..., H, T, D)`` to ``(..., T, width)``."""
        normed = (
            functional.layer_norm(retained, (self.head_dim,), eps=1e-6)
            .transpose(-3, -2)
            .flatten(-2)
        )
        return cast(Tensor, self.out(functional.silu(gate) * normed))

    def turned(self, q: Tensor, k: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Rotate q and k of tokens that stand ``first``, ``first + 1``, ... positions after the state's reference."""
        n = q.shape[-2]
        cos, sin = self.table_cos[first : first + n], self.table_sin[first : first + n]  # type: ignore[index]
        return rotate(q, cos, sin), rotate(k, cos, sin)

    def parallel(self, x: Tensor) -> Tensor:
        """All tokens at once from an empty past: ``(..., T, width)`` in and out."""
        return self.chunk(x, None)[0]

    def chunk(
        self, x: Tensor, state: Tensor | None, *, keep_state: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """The chunkwise form: T tokens after ``state`` ``(..., H, D, D)`` give outputs and the state after them."""
        q, k, v, gate = self.project(x)
        q, k = self.turned(q, k)
        retained = self.within(q, k, v)
        if state is not None:
            retained = retained + self.across(q, state)
        following = self.advance(state, k, v) if keep_state else None
        return self.finish(retained, gate), following

    def closing(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`chunk` for the last token's output ``(..., 1, width)`` only: queries and gates of the others are left out."""
        width, n, last = x.shape[-1], x.shape[-2], x[..., -1:, :]
        weight, bias = self.qkvg.weight, self.qkvg.bias
        keys_values = functional.linear(x, weight[width : 3 * width], bias[width : 3 * width])
        q = functional.linear(last, weight[:width], bias[:width])
        gate = functional.linear(last, weight[3 * width :], bias[3 * width :])
        k, v, q = (
            y.unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)
            for y in (*keys_values.chunk(2, -1), q)
        )
        k = rotate(k * self.head_dim**-0.5, self.table_cos[:n], self.table_sin[:n])  # type: ignore[index]
        q = rotate(q, self.table_cos[n - 1 : n], self.table_sin[n - 1 : n])  # type: ignore[index]
        retained = (q @ k.transpose(-1, -2) * self.table_mask[:, n - 1 : n, :n]) @ v  # type: ignore[index]
        retained = retained + (q @ state) * self.table_power[:, n - 1 : n, None]  # type: ignore[index]
        return self.finish(retained, gate), self.advance(state, k, v)

    def within(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What tokens of one chunk retain of one another: masked ``(q k^T) v``."""
        n = q.shape[-2]
        return (q @ k.transpose(-1, -2) * self.table_mask[:, :n, :n]) @ v  # type: ignore[index]

    def across(self, q: Tensor, state: Tensor) -> Tensor:
        """What tokens of a chunk retain of the past: token i sees the state decayed i more times."""
        n = q.shape[-2]
        return (q @ state) * self.table_power[:, :n, None]  # type: ignore[index]

    def gathered(self, k: Tensor, v: Tensor) -> Tensor:
        """The state that a chunk alone leaves behind, relative to the position after it: ``(..., H, D, D)``."""
        n = k.shape[-2]
        weights = self.table_power[:, 1 : n + 1].flip(-1)[..., None]  # type: ignore[index]
        return self.shifted(k.transpose(-1, -2) @ (v * weights), n)

    def shifted(self, state: Tensor, n: int) -> Tensor:
        """Move a state's reference position forward by ``n``: rotate its keys back by ``n`` steps (no decay)."""
        cos, sin = self.table_cos[n], -self.table_sin[n]  # type: ignore[index,operator]
        return rotate(state.transpose(-1, -2), cos, sin).transpose(-1, -2)

    def advance(self, state: Tensor | None, k: Tensor, v: Tensor) -> Tensor:
        """The state after a chunk that followed ``state``."""
        added = self.gathered(k, v)
        if state is None:
            return added
        n = k.shape[-2]
        return added + self.shifted(state, n) * self.table_power[:, n, None, None]  # type: ignore[index]

    def recurrent(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One token ``(..., width)`` after ``state``: output and next state."""
        out, following = self.chunk(x.unsqueeze(-2), state)
        assert following is not None
        return out.squeeze(-2), following

    def blocks(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """N blocks ``(B, N, T, width)`` after ``state`` ``(B, H, D, D)``, with the state at every block boundary.

        Returns outputs ``(B, N, T, width)`` and states ``(B, N + 1, H, D, D)``; states[:, i] is the one before block i.
        Everything inside blocks is parallel; only the scan over N states is not.
        """
        n = x.shape[-2]
        q, k, v, gate = self.project(x)
        q, k = self.turned(q, k)
        added = self.gathered(k, v)  # (B, N, H, D, D)
        decay = self.table_power[:, n, None, None]  # type: ignore[index]
        states = [state]
        for i in range(x.shape[1]):
            states.append(added[:, i] + self.shifted(states[-1], n) * decay)
        before = torch.stack(states, dim=1)
        retained = self.within(q, k, v) + self.across(q, before[:, :-1])
        return self.finish(retained, gate), before
