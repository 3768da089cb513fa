"""REM's losses on games that were never trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from atari_vlm.experience.replay import Replay
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.rem.losses import Blocks, world_model_loss
from atari_vlm.world_models.rem.networks import Networks
from atari_vlm.world_models.rem.settings import RemSettings

ROWS, FRAMES = 64, 256  # segments and frames that the losses are measured on
_AT_ONCE = 256  # frames encoded at once


@dataclass(frozen=True)
class Losses:
    """What REM's losses are made of; measuring them changes nothing."""

    networks: Networks
    settings: RemSettings
    device: Device
    perceptual: nn.Module | None

    @torch.no_grad()
    def on(self, replay: Replay, epoch: int) -> Metrics:
        """The losses of training on a replay: tokenizer, and world model if it has begun.

        Rows and frames are drawn by a stream of their own, which ``epoch`` decides.
        """
        rng = np.random.default_rng(epoch)
        slots = replay.any_slots(FRAMES, rng)
        frames = torch.from_numpy(replay.read("image", slots)).to(self.device.name)
        metrics: Metrics = {}
        for part in frames.split(64):
            with self.device.autocast():
                loss = self.networks.tokenizer.loss(part, self.perceptual)
            for name in ("reconstruction", "commitment", "perceptual"):
                share = float(getattr(loss, name)) * len(part) / len(frames)
                metrics[name] = metrics.get(name, 0.0) + share
        if epoch >= self.settings.world_model.updates.first_epoch:
            metrics |= self._of_world_model(replay, rng)
        return metrics

    def _of_world_model(self, replay: Replay, rng: np.random.Generator) -> Metrics:
        training = self.settings.world_model
        least, micro = training.context + 1, training.updates.micro_batch
        segments = replay.segments(ROWS, training.length, rng, least=least)
        self.networks.share_codes()
        blocks = self.blocks(replay, segments.slots, segments.mask)
        on_tokens, on_acts = (where.sum() for where in blocks.scored(training.context))
        metrics: Metrics = {}
        for begin in range(0, ROWS, micro):
            part = blocks.rows(begin, begin + micro)
            with self.device.autocast():
                loss = world_model_loss(
                    self.networks.world_model, part, training.context, (on_tokens, on_acts)
                )
            for name in ("tokens", "reward", "end", "accuracy"):
                metrics[name] = metrics.get(name, 0.0) + float(getattr(loss, name))
        return metrics

    def blocks(self, replay: Replay, slots: np.ndarray, mask: np.ndarray) -> Blocks:
        """Segments of a replay, its frames encoded now."""
        frames = replay.read("image", slots)
        flat = torch.from_numpy(np.ascontiguousarray(frames.reshape(-1, *frames.shape[2:])))
        encode, device = self.networks.tokenizer.encode, self.device.name
        tokens = torch.cat([encode(some.to(device)) for some in flat.split(_AT_ONCE)])
        columns = (replay.read(name, slots) for name in ("action", "reward", "terminated"))
        labels = (torch.from_numpy(values).to(device) for values in (*columns, mask))
        return Blocks(tokens.view(*slots.shape, -1), *labels)
