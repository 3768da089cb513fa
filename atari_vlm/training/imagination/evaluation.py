"""What an evaluation measures and keeps besides the real return: held-out losses, imagined returns, media.

All of it is on games that were never trained on, with random streams of its own: neither the replay
nor what training goes on with notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.experience.episodes import Episode, as_replay, newest_episodes
from atari_vlm.training.imagination.media import (
    MediaConfig,
    keep_newest,
    save_episodes,
    write_reconstructions,
)
from atari_vlm.world_models.learned.imagination import Contexts, DreamConfig, Imagination, dream
from atari_vlm.world_models.learned.learner import Learner, Metrics, Policy
from atari_vlm.world_models.learned.model import LearnedWorldModel

GAMES, STEPS = 16, 500  # of an evaluation that are held in memory: at most 100 MB of 64 x 64 frames
HISTORY = 21  # steps of real play that a dream of the gallery goes on from


def imagined_returns(
    policy: Policy[Any],
    model: LearnedWorldModel[Any],
    played: Sequence[Episode],
    config: DreamConfig,
    generator: torch.Generator,
) -> Metrics:
    """The player's return in dreams from the first pictures of real games, beside the real return of
    the same games over as many steps at most, counted as the world model counts (by sign where it
    learned signs). Empty where every game is shorter than the model's context.
    """
    length = model.context_length
    games = [episode for episode in played if len(episode) >= length]
    if not games:
        return {}
    dreams = dream(policy, model, beginnings(policy, games, length), config, generator)
    real = [episode.rewards[length - 1 : length - 1 + config.steps] for episode in games]
    if model.reward_transform == "sign":
        real = [np.sign(rewards) for rewards in real]
    return {
        "imagined_return": float(dreams.returns.mean()),
        "imagined_length": float(dreams.lengths.float().mean()),
        "matched_return": float(np.mean([rewards.sum() for rewards in real])),
        "matched_length": float(np.mean([len(rewards) for rewards in real])),
    }


def beginnings(policy: Policy[Any], games: Sequence[Episode], length: int) -> Contexts:
    """The first ``length`` steps of each game, which are so many at least."""
    (name,) = policy.inputs
    frames = np.stack([episode.pictures[:length] for episode in games])
    actions = np.stack([episode.actions[:length] for episode in games])
    return Contexts({name: frames}, actions, np.ones(actions.shape, np.bool_))


def measure(learner: Learner, played: Sequence[Episode], temperature: float, epoch: int) -> Metrics:
    """Held-out losses and, where the world model has begun to learn, imagined returns at the player's
    ``temperature``.
    """
    replay = as_replay(played, arrivals=learner.replay.arrivals)
    held_out = learner.held_out(replay, epoch)
    metrics = {f"held_out/{name}": value for name, value in held_out.items()}
    if learner.dreams(epoch):
        model, config = learner.world_model(), DreamConfig(temperature=temperature)
        generator = torch.Generator(model.place.name).manual_seed(epoch)
        dreamed = imagined_returns(learner.policy(), model, played, config, generator)
        metrics |= {f"evaluation/{name}": value for name, value in dreamed.items()}
    return metrics


@dataclass(frozen=True)
class Gallery:
    """Where the media of one evaluation go: the run's ``folder``; ``temperature`` is the dreaming
    player's.
    """

    folder: Path
    epoch: int
    action_names: Sequence[str]
    temperature: float
    config: MediaConfig

    def save(self, learner: Learner, played: Sequence[Episode]) -> None:
        """Write reconstructions and episodes; kinds of which there is nothing yet are left out."""
        if not len(learner.replay):
            return
        model = learner.world_model()
        self._reconstructions(learner, model)
        count, steps = self.config.episodes, self.config.steps
        kinds = {
            "train": newest_episodes(learner.replay, count, steps),
            "test": [episode.first(steps) for episode in played[:count]],
            "imagination": self._dreams(learner, model) if count else [],
        }
        for kind, episodes in kinds.items():
            if episodes:
                save_episodes(self.folder / "media", kind, self.epoch, episodes, self.action_names)
        keep_newest(self.folder / "media", self.config.kept)

    def _dreams(self, learner: Learner, model: LearnedWorldModel[Any]) -> list[Episode]:
        """The player in its dream, from histories of the replay."""
        replay, policy = learner.replay, learner.policy()
        if not (replay.lengths >= model.context_length).any():
            return []
        rng = np.random.default_rng([self.epoch, 1])
        history = replay.histories(self.config.episodes, HISTORY, rng)
        (name,) = policy.inputs
        inputs = {name: replay.read("image", history.slots)}
        contexts = Contexts(inputs, replay.read("action", history.slots), history.mask)
        generator = torch.Generator(model.place.name).manual_seed(self.epoch)
        config = DreamConfig(min(self.config.steps, DreamConfig().steps), self.temperature)
        frames: list[np.ndarray] = []
        dreams = dream(
            policy,
            model,
            contexts,
            config,
            generator,
            lambda state: frames.append(model.decode(state)),
        )
        return as_episodes(dreams, np.stack(frames, 1))

    def _reconstructions(self, learner: Learner, model: LearnedWorldModel[Any]) -> None:
        """Eight frames of the replay beside what the model makes of them."""
        rng = np.random.default_rng(self.epoch)
        frames = learner.replay.read("image", learner.replay.any_slots(8, rng))
        state = model.init(frames[:, None], np.zeros((len(frames), 0), np.int64), rng=rng)
        path = self.folder / "reconstructions" / f"epoch-{self.epoch:06d}.png"
        write_reconstructions(path, frames, model.decode(state))


def as_episodes(dreams: Imagination, frames: np.ndarray) -> list[Episode]:
    """Dreams whose states look like ``shown`` ``(B, N + 1, H, W, 3)``, each up to its end; one that did
    not end counts as truncated.
    """
    episodes = []
    for row, length in enumerate(dreams.lengths.tolist()):
        actions, rewards, terminated = (
            leaf[row, :length].cpu().numpy()
            for leaf in (dreams.actions, dreams.rewards, dreams.ends)
        )
        truncated = np.zeros(length, np.bool_)
        truncated[-1] = not terminated[-1]
        inputs = {"image": frames[row, : length + 1]}
        episodes.append(Episode(inputs, actions, rewards, terminated, truncated))
    return episodes
