"""The language token's two ends: what a step's tokens are read as, and which tokens a state foretells."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from atari_vlm.errors import MismatchError, check_count
from atari_vlm.world_models.dreamer.cores.layers import dense, linear
from atari_vlm.world_models.learned.heads import categorical

_MOST_LOGITS = 1 << 22  # numbers at once: 16 MB


class TokenEmbedding(nn.Module):
    """Tokens as vectors of ``width``; a language model's table where ``weights`` ``(size, width)`` are given.

    ``pad`` is silence: a vector of zeros where nothing else is said.
    """

    def __init__(self, size: int, width: int, pad: int, weights: Tensor | None = None):
        super().__init__()
        check_count(size=size, width=width)
        self.pad = pad
        self.table = nn.Embedding(size, width)
        if weights is not None:
            self._take(weights)

    def _take(self, weights: Tensor) -> None:
        """A table may have more rows than the tokenizer has tokens, and lack one for a silence that the model never met."""
        rows, width = self.table.weight.shape
        met = rows - 1 if self.pad == rows - 1 else rows
        if weights.ndim != 2 or weights.shape[1] != width or len(weights) < met:
            raise MismatchError(
                f"the tokenizer has {met} tokens of width {width}, the model's embeddings are {tuple(weights.shape)}"
            )
        self.table.weight.data[: len(weights)] = weights[:rows]

    def forward(self, ids: Tensor) -> Tensor:
        """Ids int64 ``(..., K)`` to ``(..., K, width)``."""
        vectors = self.table(ids)
        return cast(Tensor, vectors * (ids != self.pad)[..., None])

    def pooled(self, ids: Tensor) -> Tensor:
        """The mean over what is said, ``(..., width)``; zeros in silence."""
        said = (ids != self.pad).sum(-1, keepdim=True).clamp(min=1)
        return cast(Tensor, self(ids).sum(-2) / said)


class LanguageHead(nn.Module):
    """Foretells the ``tokens`` ids of a step from features ``(..., features)``: a layer of ``units``, and as many logits as
    ``embedding`` has tokens, for each id.

    The last layer is the table of embeddings itself where ``tied``. With ``beside_core`` the methods are also given the core's
    output ``h`` of the table's width, to which the rest is added and is nothing at first: a pretrained core then foretells what
    its language model did. Where there are many tokens, positions are taken a few at a time and their logits are computed again
    on the way back, so that no more than 16 MB of them are there at once.
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        features: int,
        units: int,
        tokens: int,
        *,
        tied: bool = True,
        beside_core: bool = False,
    ):
        super().__init__()
        check_count(features=features, units=units, tokens=tokens)
        size, width = embedding.table.weight.shape
        self.tokens, self.size = tokens, size
        last = linear(units, tokens * width)
        self.body = nn.Sequential(dense(features, units), last)
        if beside_core:
            nn.init.zeros_(last.weight)
        self.out = nn.Linear(width, size)
        nn.init.zeros_(self.out.bias)
        if tied:
            self.out.weight = embedding.table.weight
        else:
            nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor, h: Tensor | None = None) -> Tensor:
        """Logits ``(..., tokens, size)``."""
        return cast(Tensor, self.out(self._places(features, h)))

    def _places(self, features: Tensor, h: Tensor | None) -> Tensor:
        places = self.body(features).unflatten(-1, (self.tokens, -1))
        return cast(Tensor, places if h is None else places + h[..., None, :])

    def loss(self, features: Tensor, ids: Tensor, h: Tensor | None = None) -> Tensor:
        """Cross-entropy in nats, summed over the tokens of a step: ids int64 ``(..., tokens)`` to ``(...)``."""
        places, target = self._places(features, h).flatten(0, -2), ids.flatten()
        at_once = max(1, _MOST_LOGITS // self.size)
        if len(target) <= at_once:
            losses = self._losses(places, target)
        else:
            parts = zip(places.split(at_once), target.split(at_once), strict=True)
            losses = torch.cat(
                [checkpoint(self._losses, *part, use_reentrant=False) for part in parts]
            )
        return losses.view(ids.shape).sum(-1)

    def _losses(self, places: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(self.out(places).float(), target, reduction="none")

    @torch.no_grad()
    def sample(
        self,
        features: Tensor,
        generator: torch.Generator | None,
        temperature: float = 1.0,
        h: Tensor | None = None,
    ) -> Tensor:
        """Drawn ids int64 ``(..., tokens)``; the likeliest at temperature 0."""
        places = self._places(features, h)
        flat = places.flatten(0, -2)
        parts = flat.split(max(1, _MOST_LOGITS // self.size))
        drawn = [categorical(self.out(part), generator, temperature) for part in parts]
        return torch.cat(drawn).view(places.shape[:-1])
