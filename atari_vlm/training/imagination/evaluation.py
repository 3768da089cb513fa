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

from atari_vlm.experience.episodes import IMAGE, Episode, as_replay, newest_episodes
from atari_vlm.training.imagination.media import (
    MediaConfig,
    keep_newest,
    save_episodes,
    write_reconstructions,
)
from atari_vlm.trees import map_leaves
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
    inputs = {
        name: np.stack([episode.inputs[name][:length] for episode in games])
        for name in policy.inputs
    }
    actions = np.stack([episode.actions[:length] for episode in games])
    return Contexts(inputs, actions, np.ones(actions.shape, np.bool_))


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
        inputs = {name: replay.read(name, history.slots) for name in policy.inputs}
        contexts = Contexts(inputs, replay.read("action", history.slots), history.mask)
        generator = torch.Generator(model.place.name).manual_seed(self.epoch)
        config = DreamConfig(min(self.config.steps, DreamConfig().steps), self.temperature)
        shown: list[Any] = []
        dreams = dream(
            policy,
            model,
            contexts,
            config,
            generator,
            lambda state: shown.append(model.decode(state)),
        )
        frames = map_leaves(lambda *leaves: np.stack(leaves, 1), *shown)
        names = tuple(policy.inputs)
        return as_episodes(dreams, frames if len(names) > 1 else {names[0]: frames})

    def _reconstructions(self, learner: Learner, model: LearnedWorldModel[Any]) -> None:
        """Eight pictures of the replay beside what the model makes of them."""
        names, rng = tuple(learner.policy().inputs), np.random.default_rng(self.epoch)
        slots = learner.replay.any_slots(8, rng)
        shown = {name: learner.replay.read(name, slots) for name in names}
        if IMAGE not in shown or shown[IMAGE].shape[-1] != 3:
            return
        context = {name: values[:, None] for name, values in shown.items()}
        none = learner.replay.read("action", slots[:, None])[:, :0]
        state = model.init(context if len(names) > 1 else context[IMAGE], none, rng=rng)
        made = model.decode(state)
        path = self.folder / "reconstructions" / f"epoch-{self.epoch:06d}.png"
        write_reconstructions(path, shown[IMAGE], made[IMAGE] if len(names) > 1 else made)


def as_episodes(dreams: Imagination, shown: dict[str, np.ndarray]) -> list[Episode]:
    """Dreams whose states look like ``shown``, ``(B, N + 1, ...)`` by name, each up to its end; one that did
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
        inputs = {name: values[row, : length + 1] for name, values in shown.items()}
        episodes.append(Episode(inputs, actions, rewards, terminated, truncated))
    return episodes
