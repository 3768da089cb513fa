"""REM's three learners: one update of each network from the replay, and their exact state for a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from atari_vlm.errors import CheckpointError
from atari_vlm.experience.replay import Replay, Segments
from atari_vlm.world_models.learned.actor_critic import PolicyGradient, ReturnScale, actor_critic_loss
from atari_vlm.world_models.learned.arrays import _array, under
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.imagination import imagine
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.learned.optimizers import optimizer_for
from atari_vlm.world_models.learned.perceptual import Lpips, MultiScaleLoss
from atari_vlm.world_models.learned.random_streams import pack_streams, restore_streams
from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.losses import Blocks, revealed_tokens, world_model_loss
from atari_vlm.world_models.rem.networks import Moments, Networks
from atari_vlm.world_models.rem.settings import RemSettings
from atari_vlm.world_models.rem.stepper import Stepper
from atari_vlm.world_models.rem.token_cache import TokenCache
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel


def make_networks(settings: RemSettings, seed: int) -> Networks:
    """Freshly drawn networks; the world model embeds observations with the tokenizer's codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = settings.networks
        networks = Networks(Tokenizer(config.tokenizer), TokenWorldModel(config), ActorCritic(config))
    networks.world_model.use_codes(networks.tokenizer.codes.weight)
    return networks


class RemLearner:
    """The networks and what is needed to improve them. Everything random comes from ``rng`` and ``generator``.

    With a ``team`` each rank draws its part of every batch; all have the same replay and keep the same weights.
    """

    def __init__(
        self,
        settings: RemSettings,
        replay: Replay,
        seed: int,
        device: Device | None = None,
        team: Team | None = None,
    ):
        self.settings, self.replay, self.device = settings, replay, device or Device()
        self.team = team or Team()
        self.networks = make_networks(settings, seed)
        for network in self.networks.named().values():
            network.to(self.device.name).eval()  # only the world model has dropout, on during its updates
        updates = (settings.tokenizer.updates, settings.world_model.updates, settings.actor_critic.updates)
        for update in updates:
            self.team.share(update.batch)  # refuses what cannot be shared
        self.optimizers = {
            name: optimizer_for(network, update)
            for (name, network), update in zip(self.networks.named().items(), updates, strict=True)
        }
        self.perceptual = _perceptual(settings)
        if self.perceptual is not None:
            self.perceptual.to(self.device.name)
        rank = self.team.rank
        self.rng = np.random.default_rng(np.random.SeedSequence([seed, 0x52454D, *([rank] if rank else [])]))
        self.generator = torch.Generator(self.device.name).manual_seed(seed + 1_000_033 * rank)
        self.scale = ReturnScale() if settings.networks.actor_critic.scale_returns else None
        self.cache = TokenCache(replay, settings.networks.tokenizer.num_tokens)
        self.version = 0  # of the tokenizer: counts its updates
        begun = settings.tokenizer.restart_unused if settings.tokenizer.codes_from_batch else 0
        codes = settings.networks.tokenizer.num_codes
        self.unused = torch.full((codes,), begun, dtype=torch.int64, device=self.device.name)

    def improve_tokenizer(self) -> Metrics:
        """One update on uniformly drawn frames."""
        chosen, tokenizer = self.settings.tokenizer, self.networks.tokenizer
        frames = self.replay.read("image", self.replay.any_slots(self.team.share(chosen.updates.batch), self.rng))
        batch = torch.from_numpy(frames).to(self.device.name)
        found: Metrics = {}
        for part in batch.split(chosen.updates.micro_batch):
            with self.device.autocast():
                loss = tokenizer.loss(part, self.perceptual, coded=self.version >= chosen.warm_up)
            share = len(part) / chosen.updates.batch
            (loss.total * share).backward()
            for name in ("total", "reconstruction", "commitment", "perceptual"):
                found[name] = found.get(name, 0.0) + float(getattr(loss, name).detach()) * share
        found = self.team.sum_values(found)
        found["grad_norm"] = self._apply("tokenizer", chosen.updates)
        self.version += 1
        if chosen.restart_unused and self.version >= chosen.warm_up:
            found["restarted_codes"] = self._restart_codes(batch, chosen.restart_unused)
        return found

    @torch.no_grad()
    def _restart_codes(self, batch: Tensor, patience: int) -> float:
        """Put codes that no frame used for ``patience`` updates at vectors of the batch, the likelier the further they are from
        their code (k-means++, Arthur & Vassilvitskii 2007): rare things get codes of their own.
        """
        tokenizer = self.networks.tokenizer
        pictures = tokenizer.encoder(tokenizer.to_float(batch))
        tokens = tokenizer.nearest(pictures).flatten()
        z = pictures.permute(0, 2, 3, 1).flatten(0, 2)  # (N * K, code_dim)
        used = torch.zeros_like(self.unused).bool()
        used[tokens] = True
        used = self.team.sum(used.int()) > 0
        self.unused = torch.where(used, 0, self.unused + 1)
        dead = (self.unused >= patience).nonzero().squeeze(1)
        if len(dead):
            distance = (z - tokenizer.codes.weight[tokens]).pow(2).sum(1) + 1e-12
            drawn = torch.multinomial(distance, len(dead), generator=self.generator)
            tokenizer.codes.weight[dead] = self.team.from_first(z[drawn])
            self.unused[dead] = 0
        return float(len(dead))

    def improve_world_model(self) -> Metrics:
        """One update on segments of the replay, gradients summed over micro-batches."""
        chosen, network = self.settings.world_model, self.networks.world_model
        updates, batch = chosen.updates, self.team.share(chosen.updates.batch)
        segments = self.replay.segments(
            batch, chosen.length, self.rng, least=chosen.context + 1, prioritised=chosen.prioritised
        )
        blocks = self.blocks(segments)
        counts = tuple(self.team.sum(where.sum()) for where in blocks.scored(chosen.context))
        network.train()
        found: Metrics = {}
        rows = []
        for begin in range(0, batch, updates.micro_batch):
            part = blocks.rows(begin, begin + updates.micro_batch)
            known = revealed_tokens(part.tokens, self.generator) if network.config.refinement_passes else None
            with self.device.autocast():
                loss = world_model_loss(network, part, chosen.context, counts, known)  # type: ignore[arg-type]
            loss.total.backward()
            rows.append(loss.rows)
            for name in ("total", "tokens", "reward", "end", "accuracy"):
                found[name] = found.get(name, 0.0) + float(getattr(loss, name).detach())
        network.eval()
        if chosen.prioritised:
            self._set_priority(segments, torch.cat(rows))
        found = self.team.sum_values(found)
        found["grad_norm"] = self._apply("world_model", updates)
        return found

    def _set_priority(self, segments: Segments, rows: Tensor) -> None:
        """Priorities of all ranks' segments, so that replays stay equal."""
        slots = self.team.gather(torch.from_numpy(segments.slots[:, 0].copy())).numpy()
        self.replay.set_priority(slots, self.team.gather(rows.float().cpu()).numpy())

    def improve_actor_critic(self, rollouts: int | None = None, stepper: Stepper | None = None) -> Metrics:
        """One update on imagined rollouts, so many as the settings say unless told otherwise; ``stepper`` as in ``imagine``."""
        chosen, actor = self.settings.actor_critic, self.networks.actor
        moments = self.moments(self.team.share(rollouts or chosen.updates.batch))
        constants = PolicyGradient(chosen.discount, chosen.lam, chosen.entropy, chosen.normalise, chosen.value_weight)
        with self.device.autocast():
            heat, decisions = chosen.imagine_temperature, chosen.horizon - 1
            imagined = imagine(self.networks, moments, decisions, self.generator, stepper, temperature=heat)
            loss = actor_critic_loss(actor, imagined, constants, self.scale, self.team.gather)
        loss.total.backward()
        names = ("total", "policy", "value", "entropy", "imagined_return", "alive")
        found = self.team.sum_values({name: float(getattr(loss, name).detach()) for name in names})
        found |= {name: found[name] / self.team.size for name in ("imagined_return", "alive")}  # means over rows
        found["grad_norm"] = self._apply("actor_critic", chosen.updates)
        return found

    def blocks(self, segments: Segments) -> Blocks:
        """Segments of the replay as tokens and labels; the world model's code vectors are brought up to date."""
        self.networks.world_model.use_codes(self.networks.tokenizer.codes.weight)
        slots = segments.slots
        actions, rewards, ends = (
            self._tensor(self.replay.read(name, slots)) for name in ("action", "reward", "terminated")
        )
        return Blocks(self._tokens(slots), actions, rewards, ends, self._tensor(segments.mask))

    def moments(self, count: int) -> Moments:
        """Where imagined rollouts begin."""
        self.networks.world_model.use_codes(self.networks.tokenizer.codes.weight)
        history = self.replay.histories(count, self.settings.actor_critic.burn_in + 1, self.rng)
        actions = self.replay.read("action", history.slots)
        return Moments(self._tokens(history.slots), self._tensor(actions), self._tensor(history.mask))

    def _tokens(self, slots: np.ndarray) -> Tensor:
        return self._tensor(self.cache.read(slots, self.networks.tokenizer, self.version, self.device.name))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device.name)

    def _apply(self, name: str, updates: Updates) -> float:
        """Clip, step, and forget the gradients; the gradient's norm before clipping."""
        parameters = [p for group in self.optimizers[name].param_groups for p in group["params"]]
        self.team.sum_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, updates.max_norm)
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)
        return float(norm)

    def weights(self) -> dict[str, np.ndarray]:
        """The networks' weights as ``<network>.<name>``."""
        return {
            f"{name}.{key}": value.detach().cpu().numpy()
            for name, network in self.networks.named().items()
            for key, value in network.state_dict().items()
        }

    def streams(self) -> dict[str, np.ndarray]:
        """The states of this rank's random streams."""
        return pack_streams(self.rng, self.generator)

    def set_streams(self, states: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`streams`."""
        self.rng = restore_streams(states, self.generator)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, optimizers, random numbers and caches: everything that goes on from here."""
        kept = self.weights()
        for name, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                kept |= {f"optimizer.{name}.{index}.{key}": _array(value) for key, value in state.items()}
        kept |= {f"learner.{name}": state for name, state in self.streams().items()}
        kept["learner.version"] = np.array([self.version])
        kept["learner.unused"] = self.unused.cpu().numpy()
        kept["learner.return_range"] = np.array([float(self.scale.range) if self.scale else 0.0], np.float32)
        return {**kept, "cache.tokens": self.cache.tokens, "cache.made_for": self.cache.made_for}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        load_weights(self.networks, arrays)
        for name, optimizer in self.optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in under(arrays, f"optimizer.{name}").items():
                index, part = key.split(".")
                states.setdefault(int(index), {})[part] = torch.from_numpy(value)
            optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        self.set_streams(under(arrays, "learner"))
        self.version = int(arrays["learner.version"][0])
        self.unused = torch.from_numpy(arrays["learner.unused"]).to(self.device.name)
        if self.scale is not None:
            self.scale.range = torch.tensor(float(arrays["learner.return_range"][0]))
        self.cache.tokens[:], self.cache.made_for[:] = arrays["cache.tokens"], arrays["cache.made_for"]


def load_weights(networks: Networks, arrays: Mapping[str, np.ndarray], only: tuple[str, ...] | None = None) -> None:
    """Put ``<network>.<name>`` arrays into the networks (``only`` some of them); ``CheckpointError`` if they do not fit."""
    for name, network in networks.named().items():
        if only is None or name in only:
            weights = {key: torch.from_numpy(value) for key, value in under(arrays, name).items()}
            try:
                network.load_state_dict(weights)
            except RuntimeError as error:
                raise CheckpointError(f"the weights of {name} are of other sizes: {error}") from error


def _perceptual(settings: RemSettings) -> nn.Module | None:
    chosen = settings.tokenizer
    if chosen.perceptual == "lpips":
        assert chosen.lpips_weights is not None
        return Lpips(chosen.lpips_weights)
    return MultiScaleLoss(chosen.moving) if chosen.perceptual == "multi-scale" else None
