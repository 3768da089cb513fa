"""Codes of the tokenizer that no frame uses begin anew at what frames look like."""

from __future__ import annotations

import torch
from torch import Tensor

from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem.settings import TokenizerTraining
from atari_vlm.world_models.rem.tokenizer import Tokenizer


class CodeRestarts:
    """Counts for how many updates each code went ``unused`` int64 ``(V,)``, and replaces those that
    nobody used for ``restart_unused`` of them.
    """

    def __init__(self, tokenizer: Tokenizer, training: TokenizerTraining, team: Team):
        self.tokenizer, self.patience, self.team = tokenizer, training.restart_unused, team
        begun = self.patience if training.codes_from_batch else 0
        weight = tokenizer.codes.weight
        self.unused = torch.full((len(weight),), begun, dtype=torch.int64, device=weight.device)

    @torch.no_grad()
    def after(self, batch: Tensor, generator: torch.Generator) -> float:
        """Take in an update's frames uint8 ``(N, H, W, 3)``; how many codes begin anew.

        They become vectors of the batch, the likelier the further these are from their own code
        (k-means++, Arthur & Vassilvitskii 2007): rare things get codes of their own.
        """
        tokenizer = self.tokenizer
        pictures = tokenizer.encoder(tokenizer.to_float(batch))
        tokens = tokenizer.nearest(pictures).flatten()
        z = pictures.permute(0, 2, 3, 1).flatten(0, 2)  # (N * K, code_dim)
        used = torch.zeros_like(self.unused).bool()
        used[tokens] = True
        used = self.team.sum(used.int()) > 0
        self.unused = torch.where(used, 0, self.unused + 1)
        dead = (self.unused >= self.patience).nonzero().squeeze(1)
        if len(dead):
            distance = (z - tokenizer.codes.weight[tokens]).pow(2).sum(1) + 1e-12
            drawn = torch.multinomial(distance, len(dead), generator=generator)
            tokenizer.codes.weight[dead] = self.team.from_first(z[drawn])
            self.unused[dead] = 0
        return float(len(dead))
