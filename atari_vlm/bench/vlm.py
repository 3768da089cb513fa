"""Local models: one-pass action scoring, the prefix cache, image preprocessing. Random weights, built on the spot."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.bench.bundled import cases_of_bundled
from atari_vlm.bench.measure import Case
from atari_vlm.types import Image, Message
from atari_vlm.vlm.local.engine import Engine, ScoreRequest
from atari_vlm.vlm.local.images import PatchProcessor
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.prompt import Prompt
from atari_vlm.vlm.local.tiny import build_tiny

_ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
_SMALL = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
}
_NEW_TOKENS = 32
_DISTINCT, _REPEATS = 12, 2


def cases(peers: dict[str, str]) -> list[Case]:
    """Every comparison of this subject; the peers are transformers itself, and our own code without the prefix cache."""
    torch = require("torch", "local")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="atari_vlm_bench_") as root:
        tiny = build_tiny("qwen2-vl", Path(root, "tiny"))
        small = build_tiny("qwen2-vl", Path(root, "small"), **_SMALL)
        return [
            _scoring("tiny", tiny),
            _scoring("small", small),
            *(_prefix("small", small, batch) for batch in (1, 8)),
            *(_preprocessing(height, width) for height, width in ((210, 160), (224, 224))),
            *cases_of_bundled(),
        ]


def _load(folder: Path, *, prefix_cache: bool) -> Any:
    from atari_vlm.vlm.local.loading import load_folder

    return load_folder(
        str(folder), folder, LocalOptions(device="cpu", dtype="float32", prefix_cache=prefix_cache)
    )


def _messages(seed: int, words: int) -> list[Message]:
    """A constant system message of ``words`` tokens, then one picture and the facts of the step."""
    pixels = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    return [
        Message.of("system", " play" * words),
        Message.of("user", Image(pixels), f"Step {seed:05d}"),
    ]


def _score_request(loaded: Any, prompt: Prompt) -> ScoreRequest:
    return ScoreRequest(
        prompt, tuple(tuple(loaded.encoder.choice_ids(action)) for action in _ACTIONS)
    )


def _size(engine: Engine) -> str:
    return f"{sum(p.numel() for p in engine.model.parameters()) / 1e6:.1f} M parameters"


def _scoring(size: str, folder: Path) -> Case:
    torch = require("torch", "local")
    loaded = _load(folder, prefix_cache=False)
    prompt = loaded.encoder.encode(_messages(0, 40))
    request = _score_request(loaded, prompt)
    ids = torch.from_numpy(prompt.ids)[None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == loaded.engine.model.config.image_token_id).int(),
        **{name: torch.from_numpy(array) for name, array in prompt.pieces[0].tensors.items()},
    }

    def generate() -> object:
        limits = {"max_new_tokens": _NEW_TOKENS, "min_new_tokens": _NEW_TOKENS, "do_sample": False}
        return loaded.engine.model.generate(**inputs, **limits)

    return Case(
        name=f"scores of 6 actions in one pass, {size}, batch 1",
        peer_name=f"transformers generate({_NEW_TOKENS})",
        ours=lambda: loaded.engine.score([request]),
        peer=generate,
        goal=2.5,
        note=f"Qwen2-VL shape, {_size(loaded.engine)}, {len(prompt)} prompt tokens with one 224 x 224 picture, no prefix cache.",
    )


def _prefix(size: str, folder: Path, batch: int) -> Case:
    kept, plain = _load(folder, prefix_cache=True), _load(folder, prefix_cache=False)
    prompts = [kept.encoder.encode(_messages(seed, 500)) for seed in range(_DISTINCT * batch)]
    constant = prompts[0].shared_with(prompts[1].keys)
    requests = [_score_request(kept, prompt) for prompt in prompts]
    batches = [requests[start : start + batch] for start in range(0, len(requests), batch)]
    for meeting in batches[:2]:  # a prefix is learnt when it is met for the second time
        kept.engine.score(meeting)

    def score(loaded: Any) -> Callable[[], object]:
        following = itertools.cycle(batches)  # a new picture in every request, as in a game
        return lambda: [loaded.engine.score(next(following)) for _ in range(_REPEATS)]

    return Case(
        name=f"prefix cache, {constant} constant tokens, {size}, batch {batch}",
        peer_name="the same without the cache",
        ours=score(kept),
        peer=score(plain),
        goal=3.0,
        count=batch * _REPEATS,
        note=f"scoring 6 actions, {_size(kept.engine)}, {len(prompts[0]) - constant} new tokens with one new picture, whose "
        "vision pass is part of both sides. (With 0.2 M parameters fixed costs rule: 1.8x at batch 1, 2.3x at batch 8.)",
    )


def _preprocessing(height: int, width: int) -> Case:
    from transformers import Qwen2VLImageProcessorPil

    stock = Qwen2VLImageProcessorPil()
    ours = PatchProcessor(stock)
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    count = 50
    return Case(
        name=f"picture to patches, {height} x {width}",
        peer_name="stock Qwen2-VL processor (PIL)",
        ours=lambda: [ours(frame) for _ in range(count)],
        peer=lambda: [stock(frame, return_tensors="np") for _ in range(count)],
        goal=2.0,
        count=count,
        note="equal to 1e-5"
        if (height, width) == (224, 224)
        else "resized by OpenCV instead of PIL",
    )
