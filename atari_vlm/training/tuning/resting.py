"""Eyes that rest: while what sees does not learn, every picture is looked at once, and what was seen of it is kept.

A decision shows pictures that the decision before it showed too, and is learned from several times; with eyes at rest a pass
costs what reading costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from atari_vlm.training.tuning.bases import Base
from atari_vlm.vlm.local.engine import ScoreRequest
from atari_vlm.vlm.local.prompt import Piece

_AT_ONCE = 64  # pictures


class RestingEyes:
    """Runs the passes of a base of the Qwen family whose vision transformer stays as it is.

    A picture's tokens are kept under its digest, float32 ``(tokens, D)``, behind one another those of the last layer and of the
    earlier ones that the language model reads too.
    """

    def __init__(self, base: Base):
        self._base = base
        self._seen: dict[str, Piece] = {}

    def states(self, requests: Sequence[ScoreRequest]) -> tuple[list[Any], Any]:
        """What the engine's ``states`` gives; no gradient reaches what sees."""
        self._look([piece for request in requests for piece in request.prompt.pieces])
        with self._closed():
            return self._base.engine.states([self._remembered(request) for request in requests])

    def _remembered(self, request: ScoreRequest) -> ScoreRequest:
        pieces = tuple(self._seen[piece.digest] for piece in request.prompt.pieces)
        return ScoreRequest(dataclasses.replace(request.prompt, pieces=pieces), request.choices)

    def _look(self, pieces: Sequence[Piece]) -> None:
        """Keep what is seen of the pictures that are new."""
        new = list({p.digest: p for p in pieces if p.digest not in self._seen}.values())
        for at in range(0, len(new), _AT_ONCE):
            part = new[at : at + _AT_ONCE]
            tensors = {
                name: torch.from_numpy(np.concatenate([piece.tensors[name] for piece in part]))
                for name in part[0].tensors
            }
            with torch.no_grad():
                seen = self._base.network.get_image_features(**tensors)
            for piece, *layers in zip(
                part, seen.pooler_output, *seen.deepstack_features, strict=True
            ):
                kept = {**piece.tensors, "pixel_values": torch.cat(layers, -1).numpy()}
                self._seen[piece.digest] = dataclasses.replace(piece, tensors=kept)

    @contextmanager
    def _closed(self) -> Iterator[None]:
        """In the block tokens stand where the model expects pixels."""
        model = self._base.network.model
        merge = self._base.network.config.vision_config.spatial_merge_size
        width = self._base.network.config.text_config.hidden_size

        def remembered(pixel_values: Any, image_grid_thw: Any, **_: Any) -> Any:
            from transformers.models.qwen3_vl.modeling_qwen3_vl import (
                BaseModelOutputWithDeepstackFeatures,
            )

            sizes = (image_grid_thw.prod(-1) // merge**2).tolist()
            last, *earlier = (part.split(sizes) for part in pixel_values.split(width, -1))
            return BaseModelOutputWithDeepstackFeatures(
                pooler_output=last, deepstack_features=earlier
            )

        model.get_image_features = remembered
        try:
            yield
        finally:
            del model.get_image_features
