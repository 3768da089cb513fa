"""REM's losses on games that were never trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atari_vlm.experience.episodes import RemEpisode, as_replay
from atari_vlm.experience.replay import Replay
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.rem.learner import RemLearner
from atari_vlm.world_models.rem.losses import Blocks, world_model_loss
from atari_vlm.world_models.rem.networks import moments_at

ROWS, FRAMES = 64, 256  # segments and frames that the losses are measured on


@torch.no_grad()
def held_out_losses(learner: RemLearner, played: Sequence[RemEpisode], epoch: int) -> Metrics:
    """The losses of training, ``held_out/...``, on games that were just played: tokenizer, and world model if it has begun.

    A lost life is an end, as in training; rows and frames are drawn by a stream of its own.
    """
    replay, rng = as_replay(played), np.random.default_rng(epoch)
    networks, device = learner.networks, learner.device
    frames = torch.from_numpy(replay.read("image", replay.any_slots(FRAMES, rng))).to(device.name)
    found: Metrics = {}
    for part in frames.split(64):
        with device.autocast():
            loss = networks.tokenizer.loss(part, learner.perceptual)
        for name in ("reconstruction", "commitment", "perceptual"):
            found[name] = found.get(name, 0.0) + float(getattr(loss, name)) * len(part) / len(frames)
    if epoch >= learner.settings.world_model.updates.first_epoch:
        found |= _world_model_losses(learner, replay, rng)
    return {f"held_out/{name}": value for name, value in found.items()}


def _world_model_losses(learner: RemLearner, replay: Replay, rng: np.random.Generator) -> Metrics:
    chosen, networks = learner.settings.world_model, learner.networks
    segments = replay.segments(ROWS, chosen.length, rng, least=chosen.context + 1)
    actions, rewards, ends = (replay.read(name, segments.slots) for name in ("action", "reward", "terminated"))
    moments = moments_at(networks, replay.read("image", segments.slots), actions, segments.mask)
    scored, over = (torch.from_numpy(values).to(learner.device.name) for values in (rewards, ends))
    blocks = Blocks(moments.tokens, moments.actions, scored, over, moments.mask)
    on_tokens, on_acts = (where.sum() for where in blocks.scored(chosen.context))
    found: Metrics = {}
    for begin in range(0, ROWS, chosen.updates.micro_batch):
        part = blocks.rows(begin, begin + chosen.updates.micro_batch)
        with learner.device.autocast():
            loss = world_model_loss(networks.world_model, part, chosen.context, (on_tokens, on_acts))
        for name in ("tokens", "reward", "end", "accuracy"):
            found[name] = found.get(name, 0.0) + float(getattr(loss, name))
    return found
