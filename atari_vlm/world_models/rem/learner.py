"""REM's three learners: one update of each network from the replay, and their exact state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atari_vlm.errors import MismatchError
from atari_vlm.experience.replay import Replay, picture_columns
from atari_vlm.experience.segments import Segments
from atari_vlm.world_models.learned.actor_critic import ReturnScale, actor_critic_loss
from atari_vlm.world_models.learned.arrays import (
    load_weights,
    optimizer_arrays,
    restore_optimizers,
    subtree,
    weights_of,
)
from atari_vlm.world_models.learned.imagination import Imagination, imagine
from atari_vlm.world_models.learned.learner import GameFacts, Metrics, Stage, Workplace
from atari_vlm.world_models.learned.model import LearnedOptions, ModelFacts
from atari_vlm.world_models.learned.optimizers import apply_gradients, optimizer_for
from atari_vlm.world_models.learned.perceptual import Lpips, MultiScaleLoss
from atari_vlm.world_models.learned.random_streams import Streams
from atari_vlm.world_models.rem.code_restarts import CodeRestarts
from atari_vlm.world_models.rem.held_out import Losses
from atari_vlm.world_models.rem.losses import Blocks, revealed_tokens, world_model_loss
from atari_vlm.world_models.rem.model import RemWorldModel
from atari_vlm.world_models.rem.networks import Networks, StartStates
from atari_vlm.world_models.rem.policy import RemPolicy, burned_in
from atari_vlm.world_models.rem.settings import RemSettings, TokenizerTraining, actions_of
from atari_vlm.world_models.rem.stepper import Stepper
from atari_vlm.world_models.rem.token_cache import TokenCache

_STREAM = 0x52454D


def make_learner(settings: RemSettings, facts: GameFacts, workplace: Workplace) -> RemLearner:
    """A learner for a game."""
    return RemLearner(settings, facts, workplace)


class RemLearner:
    """The networks and what is needed to improve them; a
    :class:`~atari_vlm.world_models.learned.learner.Learner`.

    With a team each rank draws its part of every batch; all have the same replay and keep the same
    weights.
    """

    kind = "rem"

    def __init__(self, settings: RemSettings, facts: GameFacts, workplace: Workplace):
        self.settings, self.facts, self.device = settings, facts, workplace.device
        self.team = workplace.team
        self.first_action = _first_action(facts, settings.networks.num_actions)
        px = settings.networks.tokenizer.frame_px
        self.replay = workplace.open_replay(picture_columns((px, px, 3)))
        self.networks = Networks.of(settings.networks, workplace.seed)
        for network in self.networks.named().values():
            network.to(self.device.name).eval()  # only the world model has dropout, in its updates
        self.training: dict[str, Any] = {
            "tokenizer": settings.tokenizer,
            "world_model": settings.world_model,
            "actor_critic": settings.actor_critic,
        }
        self.stages = [Stage(name, of.updates) for name, of in self.training.items()]
        for of in self.training.values():
            self.team.share(of.updates.batch)  # refuses what cannot be shared
        self.optimizers = {
            name: optimizer_for(network, self.training[name].updates)
            for name, network in self.networks.named().items()
        }
        self.perceptual = _perceptual(settings.tokenizer)
        if self.perceptual is not None:
            self.perceptual.to(self.device.name)
        self.streams = Streams(workplace.seed, self.team.rank, self.device.name, _STREAM)
        self.scale = ReturnScale() if settings.networks.actor_critic.scale_returns else None
        self.cache = TokenCache(self.replay, settings.networks.tokenizer.num_tokens)
        self.version = 0  # of the tokenizer: counts its updates
        self.restarts = CodeRestarts(self.networks.tokenizer, settings.tokenizer, self.team)

    def update(self, stage: str) -> Metrics:
        """One update of a network."""
        updates = {
            "tokenizer": self.improve_tokenizer,
            "world_model": self.improve_world_model,
            "actor_critic": self.improve_actor_critic,
        }
        return updates[stage]()

    def improve_tokenizer(self) -> Metrics:
        """One update on uniformly drawn frames."""
        training, tokenizer = self.settings.tokenizer, self.networks.tokenizer
        count, coded = self.team.share(training.updates.batch), self.version >= training.warm_up
        frames = self.replay.read("image", self.replay.any_slots(count, self.streams.rng))
        batch = torch.from_numpy(frames).to(self.device.name)
        metrics: Metrics = {}
        for part in batch.split(training.updates.micro_batch):
            with self.device.autocast():
                loss = tokenizer.loss(part, self.perceptual, coded=coded)
            share = len(part) / training.updates.batch
            (loss.total * share).backward()
            for name in ("total", "reconstruction", "commitment", "perceptual"):
                value = float(getattr(loss, name).detach()) * share
                metrics[name] = metrics.get(name, 0.0) + value
        metrics = self.team.sum_values(metrics)
        metrics["grad_norm"] = self._apply("tokenizer")
        self.version += 1
        if training.restart_unused and self.version >= training.warm_up:
            metrics["restarted_codes"] = self.restarts.after(batch, self.streams.generator)
        return metrics

    def improve_world_model(self) -> Metrics:
        """One update on segments of the replay, gradients summed over micro-batches."""
        training, network = self.settings.world_model, self.networks.world_model
        updates, batch = training.updates, self.team.share(training.updates.batch)
        least, favoured = training.context + 1, training.prioritised
        segments = self.replay.segments(
            batch, training.length, self.streams.rng, least=least, prioritised=favoured
        )
        blocks = self.blocks(segments)
        on_tokens, on_acts = blocks.scored(training.context)
        counts = self.team.sum(on_tokens.sum()), self.team.sum(on_acts.sum())
        network.train()
        metrics: Metrics = {}
        rows = []
        for begin in range(0, batch, updates.micro_batch):
            part = blocks.rows(begin, begin + updates.micro_batch)
            refines = network.config.refinement_passes
            known = revealed_tokens(part.tokens, self.streams.generator) if refines else None
            with self.device.autocast():
                loss = world_model_loss(network, part, training.context, counts, known)
            loss.total.backward()
            rows.append(loss.rows)
            for name in ("total", "tokens", "reward", "end", "accuracy"):
                metrics[name] = metrics.get(name, 0.0) + float(getattr(loss, name).detach())
        network.eval()
        if favoured:
            self._set_priority(segments, torch.cat(rows))
        metrics = self.team.sum_values(metrics)
        metrics["grad_norm"] = self._apply("world_model")
        return metrics

    def _set_priority(self, segments: Segments, rows: Tensor) -> None:
        """Priorities of all ranks' segments, so that replays stay equal."""
        slots = self.team.gather(torch.from_numpy(segments.slots[:, 0].copy())).numpy()
        self.replay.set_priority(slots, self.team.gather(rows.float().cpu()).numpy())

    def improve_actor_critic(
        self, rollouts: int | None = None, stepper: Stepper | None = None
    ) -> Metrics:
        """One update on imagined rollouts, as many as the settings say unless told otherwise;
        ``stepper`` steps the world model instead of one made for its present weights.
        """
        training, actor = self.settings.actor_critic, self.networks.actor
        starts = self.start_states(self.team.share(rollouts or training.updates.batch))
        with self.device.autocast():
            imagined = self.imagine(starts, stepper)
            loss = actor_critic_loss(imagined, actor.value, training, self.scale, self.team.gather)
        loss.total.backward()
        names = ("total", "policy", "value", "entropy", "imagined_return", "alive")
        metrics = {name: float(getattr(loss, name).detach()) for name in names}
        metrics = self.team.sum_values(metrics)
        for mean in ("imagined_return", "alive"):
            metrics[mean] /= self.team.size
        metrics["grad_norm"] = self._apply("actor_critic")
        return metrics

    def imagine(self, starts: StartStates, stepper: Stepper | None = None) -> Imagination:
        """Play on from ``starts``. The actor's memory is burned in on all steps before, each with its
        executed action, as in real play.
        """
        training, actor = self.settings.actor_critic, self.networks.actor
        tokens, actions, mask = starts.tokens, starts.actions, starts.mask
        model = self.world_model(training.imagine_temperature)
        model.stepper = stepper or model.stepper
        memory = burned_in(
            actor, self.networks.tokenizer, tokens[:, :-1], actions[:, :-1], mask[:, :-1]
        )
        length = model.context_length
        with torch.no_grad():
            state = model.read_tokens(tokens[:, -length:], actions[:, -length:-1])
        generator = self.streams.generator
        steps = training.horizon - 2
        return imagine(model, state, actor, memory, steps=steps, generator=generator)

    def blocks(self, segments: Segments) -> Blocks:
        """Segments of the replay as tokens and labels, code vectors up to date."""
        self.networks.share_codes()
        slots = segments.slots
        rewards, ends = (self.replay.read(name, slots) for name in ("reward", "terminated"))
        labels = (self._tensor(values) for values in (rewards, ends, segments.mask))
        return Blocks(self._tokens(slots), self._actions(slots), *labels)

    def start_states(self, count: int) -> StartStates:
        """Where imagined rollouts begin."""
        self.networks.share_codes()
        length = self.settings.actor_critic.burn_in + 1
        history = self.replay.histories(count, length, self.streams.rng)
        tokens, mask = self._tokens(history.slots), self._tensor(history.mask)
        return StartStates(tokens, self._actions(history.slots), mask)

    def _tokens(self, slots: np.ndarray) -> Tensor:
        tokenizer, device = self.networks.tokenizer, self.device.name
        return self._tensor(self.cache.read(slots, tokenizer, self.version, device))

    def _actions(self, slots: np.ndarray) -> Tensor:
        return self._tensor(self.replay.read("action", slots) - self.first_action)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device.name)

    def _apply(self, name: str) -> float:
        max_norm = self.training[name].updates.max_norm
        return apply_gradients(self.optimizers[name], max_norm, self.team)

    def policy(self) -> RemPolicy:
        """The player with the present weights."""
        networks, device = self.networks, self.device.name
        return RemPolicy(networks.tokenizer, networks.actor, device, self.first_action)

    def world_model(self, temperature: float = 1.0) -> RemWorldModel:
        """The world model with the present weights."""
        self.networks.share_codes()
        facts = ModelFacts(
            self.facts.action_names,
            self.facts.frame_skip,
            self._reward_transform,
            first_action=self.first_action,
        )
        options = LearnedOptions(self.device.name, self.device.precision, temperature)
        tokenizer, network = self.networks.tokenizer, self.networks.world_model
        return RemWorldModel(self.settings.networks, tokenizer, network, facts, options)

    def dreams(self, epoch: int) -> bool:
        """Whether the world model has begun to learn."""
        return epoch >= self.settings.world_model.updates.first_epoch

    def held_out(self, replay: Replay, epoch: int) -> Metrics:
        """The losses of training on play that it never learned from."""
        losses = Losses(self.networks, self.settings, self.device, self.perceptual)
        return losses.on(replay, epoch)

    def config(self) -> dict[str, Any]:
        """The networks' sizes."""
        first = {"first_action": self.first_action} if self.first_action else {}
        networks = self.settings.as_dict()["networks"]
        return {"reward_transform": self._reward_transform, **first, "networks": networks}

    @property
    def _reward_transform(self) -> str:
        return "sign" if self.settings.networks.world_model.reward == "sign" else "none"

    def weights(self) -> dict[str, np.ndarray]:
        """The networks' weights as ``<network>.<name>``."""
        return weights_of(self.networks.named())

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, optimizers, random numbers and caches: everything that goes on from here."""
        kept = self.weights() | optimizer_arrays(self.optimizers)
        kept |= {f"learner.{name}": state for name, state in self.streams.arrays().items()}
        kept["learner.version"] = np.array([self.version])
        kept["learner.unused"] = self.restarts.unused.cpu().numpy()
        scale = float(self.scale.range) if self.scale else 0.0
        kept["learner.return_range"] = np.array([scale], np.float32)
        return {
            **kept,
            "cache.tokens": self.cache.tokens,
            "cache.made_for": self.cache.made_for,
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        load_weights(self.networks.named(), arrays)
        restore_optimizers(self.optimizers, arrays)
        self.streams.restore(subtree(arrays, "learner"))
        self.version = int(arrays["learner.version"][0])
        self.restarts.unused = self._tensor(arrays["learner.unused"])
        if self.scale is not None:
            self.scale.range = torch.tensor(float(arrays["learner.return_range"][0]))
        self.cache.tokens[:] = arrays["cache.tokens"]
        self.cache.made_for[:] = arrays["cache.made_for"]

    def warm_start(self, arrays: Mapping[str, np.ndarray], parts: Sequence[str]) -> None:
        """Begin with some networks of another's, all where none is named."""
        load_weights(self.networks.named(), arrays, parts or None)


def _first_action(facts: GameFacts, num_actions: int) -> int:
    """The number of the game's first action, whose space must be the networks'."""
    space = actions_of(facts)
    if int(space.n) != num_actions:
        raise MismatchError(f"the networks have {num_actions} actions, {facts.game} has {space.n}")
    return int(space.start)


def _perceptual(training: TokenizerTraining) -> nn.Module | None:
    if training.perceptual == "lpips":
        assert training.lpips_weights is not None
        return Lpips(training.lpips_weights)
    return MultiScaleLoss(training.moving) if training.perceptual == "multi-scale" else None
