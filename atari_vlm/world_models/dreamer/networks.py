"""A Dreamer's networks together: all that is trained, and the slow copy of the critic."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, cast

import gymnasium
import torch
from torch import Tensor, nn

from atari_vlm.experience.columns import Column
from atari_vlm.world_models.dreamer.actions import ActionCode
from atari_vlm.world_models.dreamer.config import DreamerConfig, as_dict
from atari_vlm.world_models.dreamer.heads import head, perceptron
from atari_vlm.world_models.dreamer.keys import Keys, keys_of
from atari_vlm.world_models.dreamer.pictures import PictureDecoder, PictureEncoder
from atari_vlm.world_models.dreamer.rssm import Latent, Rssm
from atari_vlm.world_models.dreamer.slots import sizes_of
from atari_vlm.world_models.dreamer.vectors import VectorDecoder, VectorEncoder
from atari_vlm.world_models.dreamer.words import Words
from atari_vlm.world_models.inputs import inputs_of, texts_among
from atari_vlm.world_models.learned.heads import SymexpTwoHot, SymlogTwoHot, symexp, symlog
from atari_vlm.world_models.learned.learner import ActionDistribution


class Encoder(nn.Module):
    """Named observations ``(N, ...)`` into one embedding ``(N, outputs)``; ``language`` floats stand for what is said."""

    def __init__(self, config: DreamerConfig, keys: Keys, language: int = 0):
        super().__init__()
        self.names = tuple(keys.pictures)
        self.parts = nn.ModuleDict()
        if keys.pictures:
            channels = sum(column.shape[-1] for column in keys.pictures.values())
            self.parts["pictures"] = PictureEncoder(config, channels)
        if keys.vectors:
            self.parts["vectors"] = VectorEncoder(config, keys.vectors)
        if language:
            self.parts["language"] = LanguageEncoder(config, language)
        self.outputs = sum(int(part.outputs) for part in self.parts.values())

    def forward(self, inputs: Mapping[str, Tensor], said: Tensor | None = None) -> Tensor:
        """See the class; ``said`` ``(N, language)``."""
        embedded = []
        if "pictures" in self.parts:
            pictures = torch.cat([inputs[name] for name in self.names], -1)
            embedded.append(self.parts["pictures"](pictures))
        if "vectors" in self.parts:
            embedded.append(self.parts["vectors"](inputs))
        if said is not None:
            embedded.append(self.parts["language"](said))
        return torch.cat(embedded, -1)


class LanguageEncoder(nn.Module):
    """What is said, floats ``(N, inputs)``, for the posterior: ``(N, outputs)``."""

    def __init__(self, config: DreamerConfig, inputs: int):
        super().__init__()
        self.outputs = config.units
        self.layers = perceptron(config, inputs, [config.units])

    def forward(self, said: Tensor) -> Tensor:
        """See the class."""
        encoded: Tensor = self.layers(said)
        return encoded


class Decoder(nn.Module):
    """Latents into what was seen: pictures as floats around [0, 1] and vectors as their symlog, by name."""

    def __init__(self, config: DreamerConfig, keys: Keys):
        super().__init__()
        self.pictures = {name: c for name, c in keys.pictures.items() if name in keys.shown}
        self.vectors = {name: c for name, c in keys.vectors.items() if name in keys.shown}
        self.parts = nn.ModuleDict()
        if self.pictures:
            self.channels = [column.shape[-1] for column in self.pictures.values()]
            self.parts["pictures"] = PictureDecoder(config, sum(self.channels))
        if self.vectors:
            self.parts["vectors"] = VectorDecoder(config, self.vectors)

    def forward(self, h: Tensor, z: Tensor) -> dict[str, Tensor]:
        """See the class; ``h`` and ``z`` are ``(N, .)``."""
        shown: dict[str, Tensor] = {}
        if "pictures" in self.parts:
            pictures = self.parts["pictures"](h, z).split(self.channels, -1)
            shown |= dict(zip(self.pictures, pictures, strict=True))
        if "vectors" in self.parts:
            shown |= self.parts["vectors"](torch.cat([z, h], -1))
        return shown

    def losses(
        self, shown: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Squared errors summed over each observation, ``(N,)`` by name: of pictures in [0, 1], of vectors in symlog."""
        losses = {}
        for name, values in shown.items():
            target = inputs[name].float()
            target = target / 255 if name in self.pictures else symlog(target)
            losses[name] = ((values.float() - target) ** 2).reshape(len(target), -1).sum(-1)
        return losses

    def observations(self, shown: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What was decoded, in the types of the observations."""
        made = {}
        for name, values in shown.items():
            if name in self.pictures:
                made[name] = (values.float() * 255).round().clamp(0, 255).to(torch.uint8)
            else:
                made[name] = _as_type(symexp(values.float()), self.vectors[name].dtype)
        return made


def _as_type(values: Tensor, dtype: str) -> Tensor:
    """Numbers of a column's type, rounded where these are whole and cut to what the type holds."""
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return values.to(kind)
    if kind == torch.bool:
        return values > 0.5
    info = torch.iinfo(kind)
    return values.double().round().clamp(info.min, info.max).to(kind)


class Networks(nn.Module):
    """Everything that is trained, and ``slow_critic``, which follows the critic."""

    def __init__(self, config: DreamerConfig, keys: Keys, action_space: gymnasium.Space[Any]):
        super().__init__()
        self.config, self.keys = config, keys
        self.code = ActionCode(action_space, config)
        words = (
            Words(config, tuple(keys.texts), shown=any(name in keys.shown for name in keys.texts))
            if keys.texts
            else None
        )
        self.encoder = Encoder(config, keys, 0 if words is None else words.outputs)
        self.rssm = Rssm(config, self.encoder.outputs, self.code.size, words)
        self.decoder = Decoder(config, keys)
        nature, width = config.generation == "nature", config.features
        self.scalar = SymexpTwoHot(config.bins) if nature else SymlogTwoHot(config.bins, 20.0)
        few = 1 if nature else config.layers
        self.reward = head(config, width, config.bins, layers=few, scale=0.0)
        self.goes_on = head(config, width, 1, layers=few)
        layers, bins = config.layers, config.bins
        self.actor = head(config, width, self.code.outputs, layers=layers, scale=0.01)
        self.critic = head(config, width, bins, layers=layers, scale=0.0)
        if isinstance(self.scalar, SymexpTwoHot):
            for scalars in (self.reward, self.critic):
                cast(nn.Linear, scalars[-1]).bias.data.copy_(self.scalar.start(config.fall_off))
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)

    @property
    def words(self) -> Words | None:
        """Where texts are read, what reads them."""
        return self.rssm.words

    def embed(self, inputs: Mapping[str, Tensor], ids: Tensor | None) -> Tensor:
        """Observations ``(N, ...)`` and what is said with them, ids ``(N, K)``, as the posterior sees them."""
        said = None if self.words is None or ids is None else self.words.vectors(ids)
        return self.encoder(inputs, said)

    def policy(self, features: Tensor) -> ActionDistribution:
        """What the actor does."""
        return self.code.distribution(self.actor(features))

    def value(self, features: Tensor) -> Tensor:
        """What the critic expects, ``(...)``."""
        return self.scalar.mean(self.critic(features))

    def chance_to_go_on(self, latent: Latent) -> Tensor:
        """Of not being at an end, ``(B,)``: without the discount that its head has learned with it."""
        learned = self.goes_on(latent.features).squeeze(-1).float().sigmoid()
        return (learned / self.config.goes_on).clamp(max=1.0)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the slow critic towards the critic."""
        slow, fast = list(self.slow_critic.parameters()), list(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, rate)

    def described(self) -> dict[str, Any]:
        """The config of which these networks can be made again, plain data: no folder of pretrained weights is needed for it."""
        plain = as_dict(self.config)
        sizes = plain["core"]["sizes"]
        if sizes.pop("from_pretrained", None) is not None:
            sizes |= sizes_of(self.rssm.core)
        if self.words is not None:
            tokenizer, width = self.words.telling.tokenizer, self.words.table.table.embedding_dim
            plain["language"] |= {"described": tokenizer.described(), "width": width}
        return plain

    def trained(self) -> list[nn.Parameter]:
        """All parameters but the slow critic's."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def build_networks(
    config: DreamerConfig,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
) -> Networks:
    """Freshly drawn networks for these spaces; a plain picture is called ``image``, a plain vector ``state``, entries by keys.

    Raises ``ConfigError`` for what cannot be learned from or acted with, ``UnknownNameError`` for a key that is not there.
    """
    inputs = inputs_of(observation_space, "the observation space", own_keys=True)
    columns = {name: part.column for name, part in inputs.items()}
    keys = keys_of(config, columns, "the observation space", texts_among(inputs))
    return Networks(config, keys, action_space)


def seeded_networks(
    config: DreamerConfig,
    columns: Mapping[str, Column],
    actions: gymnasium.Space[Any],
    seed: int,
    texts: Collection[str] = (),
) -> Networks:
    """Networks of these inputs, of which ``texts`` are bytes of texts, drawn by a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(config, keys_of(config, columns, "the game", texts), actions)
