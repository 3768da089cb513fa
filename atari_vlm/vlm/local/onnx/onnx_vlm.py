"""The bundled small model without torch and transformers."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import NotSupportedError
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import Capability, Sampling
from atari_vlm.vlm.catalogue import BUNDLED, TINY
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.batching import Batcher
from atari_vlm.vlm.local.checkpoint_folder import loading, running
from atari_vlm.vlm.local.engine import score_request
from atari_vlm.vlm.local.onnx.engine import load_onnx
from atari_vlm.vlm.local.onnx.session import EXTRA
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.bundled import WRITES_NOTHING


class OnnxVLM:
    """Scores choices on one CPU thread, as the same model on torch does (within 1e-4). Thread-safe: requests are batched.

    ``folder`` is the package's own: what it holds is trusted. Raises ``MissingDependencyError`` without ONNX Runtime or
    tokenizers, and ``ModelNotAvailableError`` where files are damaged.
    """

    capabilities: frozenset[Capability] = frozenset({"scores", "only scores"})

    def __init__(self, folder: Path, *, options: LocalOptions = LocalOptions()):  # noqa: B008 - frozen
        for module in ("onnxruntime", "tokenizers"):
            require(module, EXTRA)
        self.model, self.options = BUNDLED, options
        with loading(f"--vlm {TINY}", folder):
            self._loaded = load_onnx(folder)
            self.name = f"local:{TINY}:{BUNDLED}:onnx-weights={weights.digest(folder)[:12]}"
        self._batcher = Batcher(
            {"score": self._loaded.engine.score},
            max_batch=options.max_batch,
            wait_s=options.batch_wait_ms / 1000,
        )
        weakref.finalize(self, self._batcher.close).atexit = False

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Refuse: the model was trained to be scored."""
        raise NotSupportedError(WRITES_NOTHING)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Log-probability of each choice as the complete answer, float64 ``(n,)``, in one forward pass."""
        self._batcher.check_process()
        request = score_request(self._loaded.encoder, messages, choices)
        with running(self.model):
            return np.asarray(self._batcher.submit("score", request))

    def close(self) -> None:
        """Finish what is waiting and end the worker thread; requests after that raise ``VLMError``."""
        self._batcher.close()
