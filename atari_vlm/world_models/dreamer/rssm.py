"""The recurrent state-space model: a sequence core, and the latent z that it foretells (prior) and that is seen (posterior)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.trees import map_leaves
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.cores import SequenceCore
from atari_vlm.world_models.dreamer.cores.base import State, VectorCore
from atari_vlm.world_models.dreamer.cores.layers import linear
from atari_vlm.world_models.dreamer.heads import perceptron
from atari_vlm.world_models.dreamer.losses import drawn, unimix
from atari_vlm.world_models.dreamer.slots import core_of
from atari_vlm.world_models.dreamer.words import Words
from atari_vlm.world_models.learned.heads import categorical


@dataclass(frozen=True)
class Latent:
    """Where a world model is: the core's state, its output ``h`` ``(B, deter)``, ``z`` ``(B, latent)``, groups of one-hot, and
    where it reads texts the state of its :class:`~atari_vlm.world_models.dreamer.words.Words`.
    """

    core: State
    h: Tensor
    z: Tensor
    language: State = field(default_factory=dict)

    @property
    def features(self) -> Tensor:
        """What heads see, ``(B, features)``."""
        return torch.cat([self.z, self.h], -1)


@dataclass(frozen=True)
class Reading:
    """What a real sequence was read as: features ``(B, T, .)``, log-probabilities ``(B, T, groups, classes)``, and the latents of
    the steps that were to be kept, ``(B, K, ...)``.
    """

    h: Tensor
    z: Tensor
    posterior: Tensor
    prior: Tensor
    kept: Latent


@dataclass(frozen=True)
class Observed:
    """T observations ``(B, T, embedding)`` and what led to each: an action ``(B, T, A)``, and where ``reset`` ``(B, T)`` is true
    nothing, because an episode begins. ``ids`` ``(B, T, K)`` are what is said at the steps, where texts are read.
    """

    embedding: Tensor
    actions: Tensor
    reset: Tensor
    ids: Tensor | None = None

    def said(self, t: int | Tensor) -> State:
        """What a latent keeps of the texts of step ``t``."""
        return {} if self.ids is None else {"ids": self.ids[:, t]}

    def said_before(self, latent: Latent) -> Tensor | None:
        """What was said one step before each step, ``(B, T, K)``, the first time in ``latent``."""
        if self.ids is None:
            return None
        return torch.cat([latent.language["ids"][:, None], self.ids[:, :-1]], 1)


class Rssm(nn.Module):
    """``embedding`` floats are what the encoder makes of an observation, ``action`` floats stand for an action; ``words`` where
    texts are read. The core reads z, the language token and the action of the step before.
    """

    def __init__(
        self, config: DreamerConfig, embedding: int, action: int, words: Words | None = None
    ):
        super().__init__()
        self.config, self.words = config, words
        language = () if words is None else (words.outputs,)
        self.core = core_of(config, (config.latent, *language, action))
        seen = embedding + (config.deter if config.posterior == "coupled" else 0)
        layers = 2 if config.generation == "nature" else 1
        self.prior = self._logits(config.deter, config.hidden, layers)
        self.posterior = self._logits(seen, config.posterior_hidden or config.hidden, 1)

    def _logits(self, inputs: int, hidden: int, layers: int) -> nn.Sequential:
        body = perceptron(self.config, inputs, [hidden] * layers)
        return nn.Sequential(*body, linear(hidden, self.config.latent))

    @property
    def sequence(self) -> SequenceCore:
        """The core."""
        return cast(SequenceCore, self.core)

    def begin(self, rows: int) -> Latent:
        """Before anything was seen: the core's first state, and no z (2023: the likeliest one after that state)."""
        core = self.sequence.init(rows)
        like = next(self.parameters())
        h = (
            core["h"]
            if isinstance(self.core, VectorCore)
            else like.new_zeros(rows, self.config.deter)
        )
        z = like.new_zeros(rows, self.config.latent)
        if self.config.generation == "2023":
            z = self.draw(self.foretold(h), None, temperature=0.0)
        return Latent(core, h, z, {} if self.words is None else self.words.begin(rows))

    def advance(
        self, latent: Latent, action: Tensor, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The core's output after an action ``(B, A)``, and its state; rows of ``reset`` begin anew, from the first z."""
        x = self._joined(latent.z, latent.language.get("ids"), action)
        if reset is None:
            reset = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        else:
            x = self._begun_anew(x, reset)
        return self.sequence.step(x, latent.core, reset)

    def _begun_anew(self, x: Tensor, reset: Tensor) -> Tensor:
        """What the core reads ``(..., D)``; where ``reset`` ``(...)`` it is the first z alone, without action and words."""
        x = x.masked_fill(reset[..., None], 0.0)
        if self.config.generation != "2023":
            return x
        first = functional.pad(self.begin(1).z, (0, x.shape[-1] - self.config.latent))
        return x + reset[..., None] * first

    def _joined(self, z: Tensor, ids: Tensor | None, action: Tensor) -> Tensor:
        """What the core reads, ``(..., D)``."""
        if self.words is None or ids is None:
            return torch.cat([z, action], -1)
        return torch.cat([z, self.words.vectors(ids), action], -1)

    def imagine(
        self,
        latent: Latent,
        action: Tensor,
        generator: torch.Generator,
        temperature: float = 1.0,
    ) -> Latent:
        """The latent after an action ``(B, A)``: z drawn from the prior, and what is said from its head."""
        h, core = self.advance(latent, action)
        z, language = self.draw(self.foretold(h), generator, temperature), latent.language
        if self.words is not None:
            language = self.words.foretell(h, z, language, generator, temperature)
        return Latent(core, h, z, language)

    def foretold(self, h: Tensor) -> Tensor:
        """The prior's log-probabilities ``(..., groups, classes)``."""
        return self._mixed(self.prior(h))

    def seen(self, h: Tensor, embedding: Tensor) -> Tensor:
        """The posterior's log-probabilities ``(..., groups, classes)``."""
        coupled = self.config.posterior == "coupled"
        return self._mixed(self.posterior(torch.cat([h, embedding], -1) if coupled else embedding))

    def _mixed(self, logits: Tensor) -> Tensor:
        grouped = logits.unflatten(-1, (self.config.groups, self.config.classes))
        return unimix(grouped, self.config.unimix)

    def draw(
        self, likely: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """A z ``(..., latent)`` from log-probabilities; gradients pass straight through to these."""
        if temperature == 1:
            hot = drawn(likely.detach(), generator)
        else:
            classes = categorical(likely.detach(), generator, temperature)
            hot = functional.one_hot(classes, self.config.classes).to(likely.dtype)
        if likely.requires_grad:
            probabilities = likely.exp()
            hot = hot + probabilities - probabilities.detach()
        return hot.flatten(-2)

    def read(
        self,
        observed: Observed,
        latent: Latent,
        generator: torch.Generator | None,
        keep: Sequence[int],
    ) -> Reading:
        """Read T observations from ``latent`` on; the latents of the steps ``keep`` are given back."""
        coupled = self.config.posterior == "coupled"
        return (self._stepped if coupled else self._scanned)(observed, latent, generator, keep)

    def _stepped(
        self,
        observed: Observed,
        latent: Latent,
        generator: torch.Generator | None,
        keep: Sequence[int],
    ) -> Reading:
        latents, posteriors = [], []
        for t in range(observed.embedding.shape[1]):
            h, core = self.advance(latent, observed.actions[:, t], observed.reset[:, t])
            likely = self.seen(h, observed.embedding[:, t])
            latent = Latent(core, h, self.draw(likely, generator), observed.said(t))
            latents.append(latent)
            posteriors.append(likely)
        h, z = (torch.stack([getattr(one, name) for one in latents], 1) for name in ("h", "z"))
        kept = _stacked([latents[t] for t in keep])
        return Reading(h, z, torch.stack(posteriors, 1), self.foretold(h), kept)

    def _scanned(
        self,
        observed: Observed,
        latent: Latent,
        generator: torch.Generator | None,
        keep: Sequence[int],
    ) -> Reading:
        posterior, reset = self.seen(observed.embedding, observed.embedding), observed.reset
        z = self.draw(posterior, generator)
        before = torch.cat([latent.z[:, None], z[:, :-1]], 1)
        x = self._joined(before, observed.said_before(latent), observed.actions)
        x = self._begun_anew(x, reset)
        core, outputs, latents, begin = latent.core, [], [], 0
        for stop in [*(t + 1 for t in self._cuts(keep)), x.shape[1]]:
            if stop > begin:
                y, core = self.sequence.scan(x[:, begin:stop], core, reset[:, begin:stop])
                outputs.append(y)
                latents.append(Latent(core, y[:, -1], z[:, stop - 1], observed.said(stop - 1)))
            begin = stop
        h = torch.cat(outputs, 1)
        if isinstance(self.core, VectorCore):
            index = torch.as_tensor(keep, device=h.device)
            kept = Latent({"h": h[:, index]}, h[:, index], z[:, index], observed.said(index))
        else:
            kept = _stacked(latents[: len(keep)])
        return Reading(h, z, posterior, self.foretold(h), kept)

    def _cuts(self, keep: Sequence[int]) -> Sequence[int]:
        """Where a scan is cut to have the core's state; one whose output is its state is never cut."""
        return () if isinstance(self.core, VectorCore) else keep


def _stacked(latents: Sequence[Latent]) -> Latent:
    """Latents of K steps as one, ``(B, K, ...)``."""
    stacked: Latent = map_leaves(lambda *leaves: torch.stack(leaves, 1), *latents)
    return stacked
