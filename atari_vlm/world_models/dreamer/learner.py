"""A Dreamer's learner: one update of everything from replayed sequences and from what is imagined after them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atari_vlm.conditions import free_memory
from atari_vlm.errors import DivergedError, MismatchError, RunError
from atari_vlm.experience.columns import Column
from atari_vlm.experience.online import OnlineQueue
from atari_vlm.experience.replay import Replay
from atari_vlm.settings import flat
from atari_vlm.space_json import space_to_json
from atari_vlm.world_models.dreamer.actor import DreamerPolicy
from atari_vlm.world_models.dreamer.batches import (
    Batch,
    latent_columns,
    read_batch,
    write_latents,
)
from atari_vlm.world_models.dreamer.config import as_dict
from atari_vlm.world_models.dreamer.keys import by_name, keys_of
from atari_vlm.world_models.dreamer.learning import (
    dreamed,
    player_losses,
    read,
    replayed_value_loss,
    world_model_losses,
)
from atari_vlm.world_models.dreamer.loading import NETWORKS
from atari_vlm.world_models.dreamer.model import DreamerWorldModel
from atari_vlm.world_models.dreamer.networks import Networks, seeded_networks
from atari_vlm.world_models.dreamer.optimizing import Optimizers
from atari_vlm.world_models.dreamer.rssm import Reading
from atari_vlm.world_models.dreamer.settings import DreamerSettings
from atari_vlm.world_models.learned.actor_critic import ReturnScale
from atari_vlm.world_models.learned.arrays import load_weights, subtree, weights_of
from atari_vlm.world_models.learned.device import enough_memory
from atari_vlm.world_models.learned.learner import GameFacts, Metrics, Stage, Workplace
from atari_vlm.world_models.learned.model import LearnedOptions, ModelFacts
from atari_vlm.world_models.learned.random_streams import Streams
from atari_vlm.world_models.learned.schedule import ReplayRatio

_STREAM = 0x445633
_BYTES_TRAINED = 16  # of a weight: itself, its gradient and two means
_LARGE = 2048  # sizes above may not fit into memory
_LOWER = "lower networks.deter, hidden or units, or take a smaller preset"


def make_learner(
    settings: DreamerSettings, facts: GameFacts, workplace: Workplace
) -> DreamerLearner:
    """A learner for a game."""
    return DreamerLearner(settings, facts, workplace)


def _networks(settings: DreamerSettings, facts: GameFacts, workplace: Workplace) -> Networks:
    """Those of a game, on the device; ``RunError`` where there is no room to train them."""
    made_of = (settings.networks, facts.inputs, facts.action_space, workplace.seed, facts.texts)
    sizes = [size for size in flat(as_dict(settings.networks)).values() if isinstance(size, int)]
    if max(sizes) > _LARGE:
        _check_room(made_of)
    with enough_memory(f"the networks; {_LOWER}"):
        return seeded_networks(*made_of).to(workplace.device.name)


def _check_room(made_of: tuple[Any, ...]) -> None:
    with torch.device("meta"):  # shapes alone
        numbers = sum(weight.numel() for weight in seeded_networks(*made_of).parameters())
    needed, free = _BYTES_TRAINED * numbers, free_memory()
    if free is not None and needed > free:
        raise RunError(
            f"out of memory: networks of {numbers / 1e6:,.0f} million weights take {needed / 1e9:,.1f} GB to train, "
            f"{free / 1e9:.1f} GB are free; {_LOWER}"
        )


class DreamerLearner:
    """A :class:`~atari_vlm.world_models.learned.learner.Learner` with one stage, in which world model and player learn at once.

    With a team each rank draws its part of every batch; all have the same replay and keep the same weights.
    """

    kind = "dreamer"

    def __init__(self, settings: DreamerSettings, facts: GameFacts, workplace: Workplace):
        keys_of(settings.networks, facts.inputs, facts.game, facts.texts, facts.aliases)
        networks = by_name(settings.networks, facts.aliases)
        settings = dataclasses.replace(settings, networks=networks)
        self.settings, self.facts, self.device = settings, facts, workplace.device
        self.team = workplace.team
        self.rows = self.team.share(settings.learning.batch)
        self.networks = _networks(settings, facts, workplace)
        self.replay = workplace.open_replay(self._columns(), arrivals=True)
        self.fresh = OnlineQueue(self.replay, settings.learning.rows, overlap=1)
        learning, play = settings.learning, settings.play
        idle = round(learning.ratio * play.steps)
        self.stages = [Stage("dreamer", ReplayRatio(learning.ratio, learning.prefill, idle))]
        self.optimizers = Optimizers(self.networks, learning)
        self.streams = Streams(workplace.seed, self.team.rank, self.device.name, _STREAM)
        self.scale = ReturnScale()

    def _columns(self) -> dict[str, Column]:
        space = self.facts.action_space
        action = Column(space.shape or (), "float32" if not self.networks.code.choices else "int64")
        latents = latent_columns(self.networks, self.settings.learning.context)
        return {**self.networks.keys.columns, "action": action, **latents}

    def update(self, stage: str) -> Metrics:
        """One update of everything; ``DivergedError`` with the batch for a loss that is no finite number, ``RunError`` where the
        memory is too small.
        """
        with enough_memory(self._amounts()):
            return self._update()

    def _amounts(self) -> str:
        learning, steps = self.settings.learning, self.settings.behaviour.steps
        return (
            f"an update of {self.rows} x {learning.length} observations that imagines {steps} steps from "
            f"{self.rows * self.settings.starts} of them; lower learning.batch, learning.length or behaviour.imag_last "
            "(from so many last observations of each sequence; 0 is all)"
        )

    def _update(self) -> Metrics:
        fresh = self.fresh.take(self.rows, self.team.rank, self.team.size)
        batch = self._batch(self.replay, self.rows, self.streams.rng, fresh)
        with self.device.autocast():
            total, parts, reading = self.losses(batch)
        metrics = {name: float(value.detach()) for name, value in {"loss": total, **parts}.items()}
        metrics = {
            name: value / self.team.size for name, value in self.team.sum_values(metrics).items()
        }
        if wrong := {name: value for name, value in metrics.items() if not np.isfinite(value)}:
            raise DivergedError(f"a loss is no finite number: {wrong}", batch.arrays())
        (total / self.team.size).backward()
        metrics["grad_norm"] = self.optimizers.apply(self.team)
        self.networks.follow(self.settings.behaviour.slow_rate)
        self._keep(batch, reading)
        return metrics

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Reading]:
        """The weighed sum of all losses, each of them and what else is told, and the batch as it was read."""
        settings, networks, generator = self.settings, self.networks, self.streams.generator
        weights, behaviour, starts = settings.losses, settings.behaviour, settings.starts
        reading = read(networks, batch, generator, starts)
        parts = world_model_losses(networks, batch, reading, weights.free_nats)
        dream = dreamed(networks, batch, reading.kept, behaviour.steps, generator)
        learned, returns = player_losses(networks, dream, behaviour, self.scale, self.team.gather)
        if weights.replay_value:
            first = returns[:, 0].view(-1, starts)
            learned["replay_value"] = replayed_value_loss(
                networks, batch, reading, first, behaviour
            )
        parts |= learned
        total = sum(
            (
                getattr(weights, name) * loss
                for name, loss in parts.items()
                if hasattr(weights, name)
            ),
            returns.new_zeros(()),
        )
        told = (dream.rewards * dream.weights[:, :-1]).sum(1).mean()
        return total, {**parts, "imagined_return": told}, reading

    def _batch(
        self,
        replay: Replay,
        rows: int,
        rng: np.random.Generator,
        fresh: Sequence[int] | np.ndarray = (),
    ) -> Batch:
        """Fresh sequences, and drawn ones for the rest of ``rows``."""
        length = min(self.settings.learning.length, max(replay.written_by_env) - 1) + 1
        segments = replay.segments(
            rows, length, rng, least=length, across_episodes=True, begins=fresh
        )
        return read_batch(replay, segments, self.networks, self.device.name)

    def _keep(self, batch: Batch, reading: Reading) -> None:
        """Keep the latents that were read with the replay of every rank."""
        gather, device = self.team.gather, self.device.name
        slots = gather(torch.from_numpy(batch.slots).to(device)).cpu().numpy()
        h, z = gather(reading.h.detach()), gather(reading.z.detach())
        write_latents(self.replay, slots, h, z, self.settings.networks.groups)

    def policy(self) -> DreamerPolicy:
        """The player with the present weights."""
        return DreamerPolicy(self.networks, self.device.name)

    def world_model(self, temperature: float = 1.0) -> DreamerWorldModel:
        """The world model with the present weights."""
        return DreamerWorldModel(self.networks, self._facts(), self._options(temperature))

    def _facts(self) -> ModelFacts:
        first = int(getattr(self.facts.action_space, "start", 0)) if self.facts.action_names else 0
        names, skip = self.facts.action_names, self.facts.frame_skip
        return ModelFacts(names, skip, "none", first_action=first)

    def _options(self, temperature: float) -> LearnedOptions:
        return LearnedOptions(self.device.name, self.device.precision, temperature)

    def dreams(self, epoch: int) -> bool:
        """Whether the world model has begun to learn."""
        return self.replay.written > self.settings.learning.prefill

    @torch.no_grad()
    def held_out(self, replay: Replay, epoch: int) -> Metrics:
        """The world model's losses on play that it never learned from."""
        if max(replay.written_by_env) < 2:
            return {}
        generator = torch.Generator(self.device.name).manual_seed(epoch)
        batch = self._batch(replay, self.settings.learning.batch, np.random.default_rng(epoch))
        with self.device.autocast():
            reading = read(self.networks, batch, generator, 1)
            free_nats = self.settings.losses.free_nats
            losses = world_model_losses(self.networks, batch, reading, free_nats)
        return {name: float(loss) for name, loss in losses.items()}

    def remarks(self) -> Iterator[str]:
        """What is learned from and how much at once, to be told before training."""
        keys, settings = self.networks.keys, self.settings
        kinds = {"cnn_keys": keys.pictures, "mlp_keys": keys.vectors, "text_keys": keys.texts}
        told = [f"{kind} {', '.join(part)}" for kind, part in kinds.items() if part]
        yield f"keys: {'; '.join(told)}; shown again: {', '.join(keys.shown) or 'none'}"
        starts, steps = settings.learning.batch * settings.starts, settings.behaviour.steps
        floats = starts * (steps + 1) * settings.networks.features
        yield (
            f"an update reads {settings.learning.batch} x {settings.learning.length} observations and imagines {steps} steps "
            f"from {starts} of them ({4 * floats / 1e6:.1f} MB of latents)"
        )

    def config(self) -> dict[str, Any]:
        """The networks' sizes, inputs and actions."""
        columns = self.networks.keys.columns
        facts = self._facts()
        return {
            "reward_transform": facts.reward_transform,
            **({"first_action": facts.first_action} if facts.first_action else {}),
            "networks": self.networks.described(),
            "inputs": {name: [column.dtype, *column.shape] for name, column in columns.items()},
            "texts": list(self.networks.keys.texts),
            "action_space": space_to_json(self.facts.action_space),
        }

    def weights(self) -> dict[str, np.ndarray]:
        """The networks' weights as ``dreamer.<name>``."""
        return weights_of({NETWORKS: self.networks})

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, optimizers, random numbers and the returns' range: everything that goes on from here."""
        streams = {f"learner.{name}": state for name, state in self.streams.arrays().items()}
        scale = {"learner.return_range": np.array([float(self.scale.range)], np.float32)}
        fresh = {f"learner.{name}": value for name, value in self.fresh.arrays().items()}
        return {**self.weights(), **self.optimizers.arrays(), **streams, **scale, **fresh}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        load_weights({NETWORKS: self.networks}, arrays)
        self.optimizers.restore(arrays)
        own = subtree(arrays, "learner")
        self.streams.restore(own)
        self.fresh.restore(own)
        self.scale.range = torch.tensor(float(own["return_range"][0]))

    def warm_start(self, arrays: Mapping[str, np.ndarray], parts: Sequence[str]) -> None:
        """Begin with some networks of another's (``encoder``, ``rssm``, ``actor`` ...), all where none is named."""
        networks = dict(self.networks.named_children())
        load_weights(networks, subtree(arrays, NETWORKS), parts or None)

    def check_warm_start(self, config: Mapping[str, Any]) -> None:
        """``MismatchError`` for networks that read other tokens: their table says what another tokenizer's numbers mean."""
        theirs, ours = (
            made["networks"]["language"]["described"] for made in (config, self.config())
        )
        if theirs != ours and theirs and ours:
            told = [f"{made!r:.200}" for made in (theirs, ours)]
            raise MismatchError(f"the checkpoint's tokenizer is {told[0]}, the run's {told[1]}")
