"""The language of a Dreamer: what its texts are told as, what tokens are read as, and which it foretells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atari_vlm.trees import texts
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.cores.base import State
from atari_vlm.world_models.dreamer.cores.pretrained import embeddings_of
from atari_vlm.world_models.dreamer.language.networks import LanguageHead, TokenEmbedding
from atari_vlm.world_models.dreamer.language.telling import Telling, Told
from atari_vlm.world_models.dreamer.language.tokenizers import (
    Tokenizer,
    make_tokenizer,
    tokenizer_from,
)
from atari_vlm.world_models.inputs import texts_of

_IDS = "ids"


class Words(nn.Module):
    """Reads the texts ``names`` of an observation as one, told ``K`` tokens a step, and foretells these where ``shown``.

    The state of B rows, a part of the latent: ``ids`` ``(B, K)``, what was said at the step, and what is still to be told.
    """

    def __init__(self, config: DreamerConfig, names: Sequence[str], *, shown: bool):
        super().__init__()
        language, tokenizer = config.language, _tokenizer(config)
        self.names, self.at_once = tuple(names), language.at_once
        self.telling = Telling(
            tokenizer, language.tokens, longest=language.longest, at_once=language.at_once
        )
        weights = _pretrained_table(config)
        width = language.width if weights is None else weights.shape[1]
        self.table = TokenEmbedding(tokenizer.size, width, tokenizer.pad, weights)
        self.tokens = self.telling.tokens
        self.outputs = width if self.at_once else self.tokens * width
        self.beside_core = width == config.deter
        self.head = self._head(config) if shown else None

    def _head(self, config: DreamerConfig) -> LanguageHead:
        return LanguageHead(
            self.table, config.features, config.units, self.tokens, beside_core=self.beside_core
        )

    def vectors(self, ids: Tensor) -> Tensor:
        """What ids ``(..., K)`` are read as, ``(..., outputs)``."""
        return self.table.pooled(ids) if self.at_once else self.table(ids).flatten(-2)

    def begin(self, rows: int) -> State:
        """The state before anything was said."""
        told = self.telling.begin(rows)
        ids = np.full((rows, self.tokens), self.table.pad, np.int64)
        return self._tensors({_IDS: ids, **told})

    def hear(self, inputs: Mapping[str, Any], state: State) -> State:
        """The state after the texts of one step ``(B,)``, strings or their bytes ``(B, n)``."""
        told = {name: value.cpu().numpy() for name, value in state.items() if name != _IDS}
        said = self._texts(inputs)
        ids, told = self.telling.step(list(said), told, np.zeros(len(said), bool))
        return self._tensors({_IDS: ids, **told})

    def read(
        self, inputs: Mapping[str, Any], reset: np.ndarray, told: Told | None = None
    ) -> Tensor:
        """The ids of sequences ``(B, T)`` of texts in which episodes begin at ``reset``, ``(B, T, K)``; ``told`` is how far the
        texts shown before were told (:meth:`recall`).
        """
        said = self._texts(inputs)
        ids, _ = self.telling.scan(said, told or self.telling.begin(len(said)), reset)
        return self._tensors({_IDS: ids})[_IDS]

    def recall(self, earlier: Sequence[Mapping[str, np.ndarray]]) -> Told:
        """How far texts were told in B episodes, of each of which all steps until now have shown texts as bytes ``(L, n)``."""
        told = [self.telling.recall(self._changes(inputs)) for inputs in earlier]
        texts_told, places = zip(*told, strict=True)
        return {"text": np.stack(texts_told), "place": np.array(places, np.int64)}

    def _changes(self, inputs: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """Where a text came that was another one than the last: steps ago, and what it says."""
        shown = np.concatenate([inputs[name] for name in self.names], 1)
        spoken = np.flatnonzero(shown.any(1))
        is_new = np.ones(len(spoken), np.bool_)
        is_new[1:] = (shown[spoken[1:]] != shown[spoken[:-1]]).any(1)
        at = spoken[is_new]
        said = self._texts({name: inputs[name][at] for name in self.names})
        return list(zip((len(shown) - at).tolist(), said.tolist(), strict=True))

    def loss(self, h: Tensor, z: Tensor, ids: Tensor) -> Tensor:
        """The head's cross-entropy of the ids ``(N, K)`` of a step, ``(N,)``."""
        assert self.head is not None
        return self.head.loss(torch.cat([z, h], -1), ids, h if self.beside_core else None)

    def foretell(
        self, h: Tensor, z: Tensor, state: State, generator: torch.Generator, temperature: float
    ) -> State:
        """The state after an imagined step: drawn ids, or silence where there is no head."""
        if self.head is None:
            return {**state, _IDS: torch.full_like(state[_IDS], self.table.pad)}
        beside = h if self.beside_core else None
        return {
            **state,
            _IDS: self.head.sample(torch.cat([z, h], -1), generator, temperature, beside),
        }

    def said(self, state: State) -> list[str]:
        """What was said at the step, a text for each row."""
        return self.telling.said(state[_IDS].cpu().numpy())

    def _texts(self, inputs: Mapping[str, Any]) -> np.ndarray:
        """One text for each place: those of all names, where they say something, one after the other."""
        parts = [_strings(inputs[name]) for name in self.names]
        if len(parts) == 1:
            return parts[0]
        joined = [" ".join(filter(None, row)) for row in zip(*map(np.ravel, parts), strict=True)]
        return texts(joined).reshape(parts[0].shape)

    def _tensors(self, arrays: Mapping[str, np.ndarray]) -> State:
        place = self.table.table.weight.device
        return {name: torch.from_numpy(values).to(place) for name, values in arrays.items()}


def _strings(values: Any) -> np.ndarray:
    values = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return texts_of(values) if values.dtype == np.uint8 else values


def _tokenizer(config: DreamerConfig) -> Tokenizer:
    language = config.language
    if language.described:
        return tokenizer_from(language.described)
    return make_tokenizer(language.tokenizer, language.words)


def _pretrained_table(config: DreamerConfig) -> Tensor | None:
    """The embeddings of the core's language model, where the tokens are that model's."""
    source = config.core.sizes.get("from_pretrained")
    own = config.language.tokenizer in ("bytes", "words") or bool(config.language.described)
    return None if source is None or own else embeddings_of(source)
