"""The forward pass of the ONNX form: the scores of all choices in one pass, as the engine over torch gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.vlm.local.checkpoint_folder import read_object
from atari_vlm.vlm.local.choices import ChoiceTree, with_choices
from atari_vlm.vlm.local.encoder import Encoder
from atari_vlm.vlm.local.engine import ScoreRequest
from atari_vlm.vlm.local.loading import Loaded, ends_of
from atari_vlm.vlm.local.onnx.feed import Look, feed
from atari_vlm.vlm.local.onnx.files import (
    PatchLayout,
    PatchSettings,
    PlainTokenizer,
    grid_positions,
    read_template,
)
from atari_vlm.vlm.local.onnx.session import FILE, LOGITS, session
from atari_vlm.vlm.local.prompt import check_fits, pad_left


class OnnxEngine:
    """Scores requests with ``run`` (ONNX Runtime's session); ``stop_ids`` end an answer, ``pad_id`` fills rows."""

    def __init__(self, run: Any, look: Look, stop_ids: Sequence[int], pad_id: int, context: int):
        self._run, self._look = run, look
        self._stop_ids, self._pad_id, self._context = tuple(stop_ids), pad_id, context

    def score(self, requests: Sequence[ScoreRequest]) -> list[np.ndarray]:
        """Log-probability of each choice as the complete answer (its tokens, then the end), float64 ``(n,)`` per request."""
        prompts = [request.prompt for request in requests]
        check_fits(prompts, [1 + max(map(len, r.choices)) for r in requests], self._context)
        trees = [ChoiceTree.of(request.choices) for request in requests]
        padded = pad_left(prompts, 0, self._pad_id)
        block, mask = with_choices(padded, prompts, trees)
        read = np.arange(padded.ids.shape[1] - 1, block.ids.shape[1])
        (logits,) = self._run.run([LOGITS], feed(block, mask, read, prompts, self._look))
        return [
            tree.array_scores(row, self._stop_ids) for tree, row in zip(trees, logits, strict=True)
        ]


def load_onnx(folder: Path) -> Loaded:
    """The engine of ``model.onnx`` in ``folder`` with what stands beside it; the folder is the package's own."""
    config, generation = (
        read_object(folder / f"{name}.json") for name in ("config", "generation_config")
    )
    text, eyes = config["text_config"], config["vision_config"]
    settings, tokenizer = PatchSettings.read(folder), PlainTokenizer(folder)
    token_id, merge = int(config["image_token_id"]), settings.merge_size
    layout = PatchLayout(settings, tokenizer.token_of(token_id), token_id)
    width = eyes["in_channels"] * eyes["temporal_patch_size"] * eyes["patch_size"] ** 2
    engine = OnnxEngine(
        session((folder / FILE).read_bytes()),
        Look(merge, int(eyes["num_position_embeddings"] ** 0.5), width),
        ends_of(generation.get("eos_token_id"), tokenizer.eos_token_id),
        tokenizer.pad_token_id or 0,
        int(text["max_position_embeddings"]),
    )
    encoder = Encoder(tokenizer, layout, read_template(folder), grid_positions(merge))
    return Loaded(engine, encoder, str(config["model_type"]), "onnx")
