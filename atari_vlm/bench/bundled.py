"""The small model that ships: how long until it is there, and decisions, on ONNX Runtime and on torch."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from atari_vlm import prompts
from atari_vlm.bench.measure import Case
from atari_vlm.description import Facts
from atari_vlm.types import Image, Message
from atari_vlm.vlm.local.engine import score_request
from atari_vlm.vlm.local.loading import load_folder
from atari_vlm.vlm.local.onnx.engine import load_onnx
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny import bundled

_ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
_DISTINCT = 24
_LOADING = """
import time
begun = time.perf_counter()
from atari_vlm.vlm import load_vlm
vlm = load_vlm("tiny", backend={backend!r}, device="cpu")
print(time.perf_counter() - begun)
vlm.close()
"""


def cases_of_bundled() -> list[Case]:
    """Loading, and decisions one by one and eight at once; none where no model is bundled."""
    if not bundled.is_here():
        return []
    return [_loading(), *(_decisions(batch) for batch in (1, 8))]


def _loading() -> Case:
    return Case(
        name="--vlm tiny, from a fresh process to the loaded model, ONNX Runtime",
        peer_name="the same on torch and transformers",
        ours=lambda: _seconds("onnx"),
        peer=lambda: _seconds("torch"),
        goal=None,
        most=1e6,
        clock="wall",
        told=True,
        note="every import after Python's own start included; at most a second on ONNX Runtime is the goal.",
    )


def _seconds(backend: str) -> float:
    line = [sys.executable, "-c", _LOADING.format(backend=backend)]
    return float(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def _decisions(batch: int) -> Case:
    folder, options = bundled.folder(), LocalOptions(device="cpu", dtype="float32")
    onnx, torch = load_onnx(folder), load_folder("tiny", folder, options)
    frames = bundled.taught().frames
    return Case(
        name=f"decisions of --vlm tiny, batch {batch}, ONNX Runtime",
        peer_name="the same on torch, prefix cache and all",
        ours=_deciding(onnx, frames, batch),
        peer=_deciding(torch, frames, batch),
        goal=None,
        count=2 * batch,
        note=f"messages of Pong in the style of its training, {frames} pictures of 224 x 224, one of them new, 6 actions; a "
        "decision from its messages to its scores. A million over the microseconds is decisions per second.",
    )


def _deciding(loaded: Any, frames: int, batch: int) -> Callable[[], object]:
    following = itertools.cycle(_questions(frames))

    def decide() -> object:
        asked = [
            [score_request(loaded.encoder, next(following), _ACTIONS) for _ in range(batch)]
            for _ in range(2)
        ]
        return [loaded.engine.score(requests) for requests in asked]

    return decide


def _questions(frames: int) -> list[Sequence[Message]]:
    """Moments in a row: each shows the last ``frames`` pictures."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (_DISTINCT + frames, 14, 14, 3), dtype=np.uint8)
    shown = [Image(block.repeat(16, 0).repeat(16, 1)) for block in blocks]
    style = bundled.taught().prompt_type
    told = Message.of("system", prompts.instructions(style, "Pong", _ACTIONS, answer="choice"))
    return [
        [
            told,
            Message.of(
                "user", *shown[at : at + frames], Facts("Pong", at, "NOOP", 0.0, 0.0).to_text()
            ),
        ]
        for at in range(_DISTINCT)
    ]
