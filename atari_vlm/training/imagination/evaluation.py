"""What an evaluation of REM measures and keeps besides the real return: losses on held-out games, imagined returns, media.

All of it is on games that were never trained on, with random streams of its own: neither the replay nor what training goes on
with notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from atari_vlm.experience.episodes import RemEpisode, first_steps, newest_episodes
from atari_vlm.training.imagination.media import MediaConfig, keep_newest, save_episodes, write_reconstructions
from atari_vlm.world_models.learned.dreams import DreamConfig, as_episodes, dream
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.rem.held_out import held_out_losses
from atari_vlm.world_models.rem.learner import RemLearner
from atari_vlm.world_models.rem.networks import Networks, beginnings, moments_at

GAMES, STEPS = 16, 500  # of an evaluation that are held in memory: at most 100 MB of 64 x 64 frames


def imagined_returns(
    networks: Networks, played: Sequence[RemEpisode], config: DreamConfig, generator: torch.Generator
) -> Metrics:
    """The player's return in dreams from the second picture of real games, beside the real return of the same games over as
    many steps at most, counted as the world model counts (by sign where it learned signs). Empty for games of one step.
    """
    games = [episode for episode in played if len(episode) >= 2]
    if not games:
        return {}
    dreams = dream(networks, beginnings(networks, games), config, generator)
    real = [episode.rewards[1 : 1 + config.steps] for episode in games]
    if networks.world_model.config.reward == "sign":
        real = [np.sign(rewards) for rewards in real]
    return {
        "imagined_return": float(dreams.returns.mean()),
        "imagined_length": float(dreams.lengths.float().mean()),
        "matched_return": float(np.mean([rewards.sum() for rewards in real])),
        "matched_length": float(np.mean([len(rewards) for rewards in real])),
    }


def measure(learner: RemLearner, played: Sequence[RemEpisode], temperature: float, epoch: int) -> Metrics:
    """Held-out losses and, where the world model has begun to learn, imagined returns at the player's ``temperature``."""
    found = held_out_losses(learner, played, epoch)
    if epoch >= learner.settings.world_model.updates.first_epoch:
        generator = torch.Generator(learner.device.name).manual_seed(epoch)
        config = DreamConfig(temperature=temperature)
        dreamed = imagined_returns(learner.networks, played, config, generator)
        found |= {f"evaluation/{name}": value for name, value in dreamed.items()}
    return found


@dataclass(frozen=True)
class Gallery:
    """Where the media of one evaluation go: the run's ``folder``; ``temperature`` is the dreaming player's."""

    folder: Path
    epoch: int
    action_names: Sequence[str]
    temperature: float
    config: MediaConfig

    def save(self, learner: RemLearner, played: Sequence[RemEpisode]) -> None:
        """Write reconstructions and episodes; kinds of which there is nothing yet are left out."""
        if not len(learner.replay):
            return
        self._reconstructions(learner)
        count, steps = self.config.episodes, self.config.steps
        kinds = {
            "train": newest_episodes(learner.replay, count, steps),
            "test": [first_steps(episode, steps) for episode in played[:count]],
            "imagination": self._dreams(learner) if count else [],
        }
        for kind, episodes in kinds.items():
            if episodes:
                save_episodes(self.folder / "media", kind, self.epoch, episodes, self.action_names)
        keep_newest(self.folder / "media", self.config.kept)

    def _dreams(self, learner: RemLearner) -> list[RemEpisode]:
        """The player in its dream, from moments of the replay."""
        replay = learner.replay
        if not (replay.lengths >= 2).any():
            return []
        rng, before = np.random.default_rng([self.epoch, 1]), learner.settings.actor_critic.burn_in + 1
        history = replay.histories(self.config.episodes, before, rng)
        frames, actions = replay.read("image", history.slots), replay.read("action", history.slots)
        moments = moments_at(learner.networks, frames, actions, history.mask)
        generator = torch.Generator(learner.device.name).manual_seed(self.epoch)
        config = DreamConfig(min(self.config.steps, DreamConfig().steps), self.temperature)
        return as_episodes(learner.networks, dream(learner.networks, moments, config, generator))

    def _reconstructions(self, learner: RemLearner) -> None:
        """Eight frames of the replay beside what the tokenizer makes of them."""
        slots = learner.replay.any_slots(8, np.random.default_rng(self.epoch))
        frames, tokenizer = learner.replay.read("image", slots), learner.networks.tokenizer
        tokens = tokenizer.encode(torch.from_numpy(frames).to(learner.device.name))
        path = self.folder / "reconstructions" / f"epoch-{self.epoch:06d}.png"
        write_reconstructions(path, frames, tokenizer.decode(tokens).cpu().numpy())
