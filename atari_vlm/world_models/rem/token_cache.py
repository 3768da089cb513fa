"""Frames of the replay as tokens, each encoded once per version of the tokenizer."""

from __future__ import annotations

import numpy as np
import torch

from atari_vlm.experience.replay import Replay
from atari_vlm.world_models.rem.tokenizer import Tokenizer

ENCODE_BATCH = 256


class TokenCache:
    """Tokens of replay slots: every frame is encoded once per tokenizer version, when first asked for."""

    def __init__(self, replay: Replay, num_tokens: int):
        self._replay = replay
        self.tokens = np.zeros((replay.num_slots, num_tokens), np.int16)
        self.made_for = np.full(
            (replay.num_slots, 2), -1, np.int64
        )  # (serial of the step, tokenizer version)

    def read(
        self, slots: np.ndarray, tokenizer: Tokenizer, version: int, device: str
    ) -> np.ndarray:
        """Tokens int64 ``(*slots.shape, K)``."""
        wanted = np.unique(slots)
        fresh = (self.made_for[wanted, 0] == self._replay.serial[wanted]) & (
            self.made_for[wanted, 1] == version
        )
        stale = wanted[~fresh]
        for begin in range(0, len(stale), ENCODE_BATCH):
            some = stale[begin : begin + ENCODE_BATCH]
            frames = torch.from_numpy(self._replay.read("image", some)).to(device)
            self.tokens[some] = tokenizer.encode(frames).cpu().numpy()
        self.made_for[stale, 0], self.made_for[stale, 1] = self._replay.serial[stale], version
        return self.tokens[slots].astype(np.int64)
