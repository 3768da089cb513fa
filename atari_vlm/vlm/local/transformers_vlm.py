"""A vision-language model, or one of texts alone, in this process, through transformers."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import (
    ConfigError,
    NotSupportedError,
    UnknownNameError,
    check_positive,
)
from atari_vlm.types import Message, Reply, Usage
from atari_vlm.vlm.base import Capability, Sampling
from atari_vlm.vlm.catalogue import BUNDLED
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.adapter import Adapter, attach, check_base, key_of, read_adapter
from atari_vlm.vlm.local.batching import Batcher
from atari_vlm.vlm.local.checkpoint_folder import read_object, running
from atari_vlm.vlm.local.cogvlm2 import check_remote_code, is_foreign, load_foreign
from atari_vlm.vlm.local.engine import AnswerRequest, Generation, score_request
from atari_vlm.vlm.local.loading import Loaded, load_folder
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.sampling import TokenSampler
from atari_vlm.vlm.local.text import load_text
from atari_vlm.vlm.local.tiny.bundled import WRITES_NOTHING
from atari_vlm.vlm.local.tiny.bundled import folder as bundled_folder
from atari_vlm.vlm.local.tiny.player import FAMILY, NEW, new_player

FAMILIES = ("qwen-vl", "llava", "video-llava", "idefics2", "cogvlm2", "text", FAMILY)


class TransformersVLM:
    """Loads ``model`` (a folder or a hub id) and answers with it. Thread-safe: parallel requests are batched.

    ``family`` is one of ``FAMILIES``; the checkpoint itself decides the architecture, so any image-text-to-text model will
    do, and for ``text`` any chat model of texts. Raises ``MissingDependencyError`` without torch and transformers,
    ``ModelNotAvailableError`` when weights, memory or hardware are missing. ``Sampling.schema`` and ``Sampling.choices`` are
    ignored; :meth:`score_choices` is the constrained way.
    """

    capabilities: frozenset[Capability] = frozenset({"scores"})
    _tuned, _longest_thought = False, 0

    def __init__(self, family: str, model: str, *, options: LocalOptions = LocalOptions()):  # noqa: B008 - frozen
        if family not in FAMILIES:
            raise UnknownNameError("local VLM family", family, FAMILIES)
        check_remote_code(family, model, options)
        adapter = None if options.adapter is None else read_adapter(options.adapter)
        for module in ("torch", "transformers", "accelerate"):
            require(module, "local")
        with _found(family, model, adapter, options) as folder:
            loaded = _load(family, model, folder, adapter, options)
            tuned = _tuning(model, folder, adapter)
        self.model, self.options = model, options
        self._encoder, self._engine = loaded.encoder, loaded.engine
        if adapter is not None or (family, model) == (FAMILY, BUNDLED):
            self.capabilities, self._tuned = frozenset({"scores", "only scores"}), True
        if adapter is not None and (longest := adapter.card.thought_tokens):
            self.capabilities = frozenset({"scores", "only thoughts"})
            self._tuned, self._longest_thought = False, longest
        variant = "-".join(
            part for part in (loaded.dtype, options.load_in, *_drawing(options), tuned) if part
        )
        revision = f"@{options.revision}" if options.revision else ""
        self.name = f"local:{family}:{model}{revision}:{variant}"
        self._batcher = Batcher(
            {"answer": self._engine.answer, "score": self._engine.score},
            max_batch=options.max_batch,
            wait_s=options.batch_wait_ms / 1000,
        )
        weakref.finalize(
            self, self._batcher.close
        ).atexit = False  # a forgotten model gives its memory back

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer ``messages``; the latency counts from here to the answer, waiting for a batch included.

        An adapter that was trained to think writes no more than it did then.
        """
        check_positive(max_tokens=sampling.max_tokens)
        if self._tuned:
            raise NotSupportedError(
                WRITES_NOTHING
                if self.options.adapter is None
                else f"the adapter {self.options.adapter} was trained to be scored and writes no replies: "
                "it plays with answer=scores"
            )
        self._batcher.check_process()
        started = time.perf_counter()
        prompt = self._encoder.encode(messages)
        thinks = self._longest_thought > 0
        most = min(sampling.max_tokens, self._longest_thought) if thinks else sampling.max_tokens
        request = AnswerRequest(prompt, TokenSampler(sampling, self.options), most, thinks)
        answer: Generation = self._submit("answer", request)
        return Reply(
            text=self._encoder.decode(answer.ids),
            model=self.model,
            finish_reason="stop" if answer.stopped else "length",
            usage=Usage(
                input_tokens=len(prompt),
                output_tokens=answer.generated,
                cached_tokens=answer.cached,
            ),
            latency_s=time.perf_counter() - started,
            cost_usd=0.0,
        )

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Log-probability of each choice as the complete answer, float64 ``(n,)``, in one forward pass.

        The log-probabilities of a choice's tokens and of the end of the answer behind them are summed.
        """
        self._batcher.check_process()
        return np.asarray(self._submit("score", score_request(self._encoder, messages, choices)))

    def close(self) -> None:
        """Finish what is waiting and end the worker thread; requests after that raise ``VLMError``."""
        self._batcher.close()

    def _submit(self, kind: str, request: Any) -> Any:
        with running(self.model):
            return self._batcher.submit(kind, request)


def _drawing(options: LocalOptions) -> list[str]:
    """How replies are drawn where a request leaves it open, if not greedily: replies of one name are of one kind."""
    drawing = {"temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    return [f"{name}={value:g}" for name, value in drawing.items() if value]


def _tuning(model: str, folder: Path, adapter: Adapter | None) -> str | None:
    """What tells tuned weights from others of the same name: scores in a cache belong to them."""
    if adapter is not None:
        return f"adapter={key_of(adapter)}"
    return f"weights={weights.digest(folder)[:12]}" if model == BUNDLED else None


@contextmanager
def _found(
    family: str, model: str, adapter: Adapter | None, options: LocalOptions
) -> Iterator[Path]:
    """The folder of the weights; a small model that began from nothing is made again from its adapter's seed."""
    if (family, model) != (FAMILY, NEW):
        bundled = (family, model) == (FAMILY, BUNDLED)
        folder = bundled_folder() if bundled else weights.find_folder(model, options)
        weights.check_weights(model, folder)
        yield folder
        return
    if adapter is None:
        raise ConfigError(
            f"--vlm {FAMILY} --model {NEW} begins from nothing: it needs --adapter FOLDER of one that "
            f"`tune sft --base {FAMILY} --model {NEW}` trained"
        )
    with new_player(adapter.card.seed) as folder:
        yield folder


def _load(
    family: str, model: str, folder: Path, adapter: Adapter | None, options: LocalOptions
) -> Loaded:
    """The model, with its adapter if there is one."""
    if adapter is not None:
        model_type = str(read_object(folder / "config.json").get("model_type"))
        check_base(adapter, family, model, folder, model_type)
    loaded = _loader(family, model, folder)(model, folder, options)
    if adapter is not None:
        attach(adapter, loaded.engine.model, merge=options.load_in is None)
    return loaded


def _loader(family: str, model: str, folder: Path) -> Callable[[str, Path, LocalOptions], Loaded]:
    if is_foreign(model, folder):
        return load_foreign
    return load_text if family == "text" else load_folder
