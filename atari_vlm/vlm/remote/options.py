"""How a vendor is asked: the options of every remote VLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from atari_vlm.errors import ConfigError
from atari_vlm.vlm.remote.concurrency import ConcurrencyPolicy
from atari_vlm.vlm.remote.retry import SYSTEM_CLOCK, Clock, RetryPolicy

Structured = Literal["auto", "json_schema", "choice", "none"]
Scores = Literal["none", "prompt_logprobs", "systemone"]
Prices = Literal["auto", "list", "none"]
_ALLOWED = {
    "structured": ("auto", "json_schema", "choice", "none"),
    "scores": ("none", "prompt_logprobs", "systemone"),
    "token_parameter": ("auto", "max_tokens", "max_completion_tokens"),
    "image_detail": ("auto", "low", "medium", "high"),
    "prices": ("auto", "list", "none"),
}


@dataclass(frozen=True)
class RemoteOptions:
    """How a vendor is asked. A value that a vendor has no use for is a ``ConfigError`` of that vendor's class.

    ``structured``: how answers are constrained. ``json_schema`` sends ``Sampling.schema``; ``choice`` (OpenAI dialect, for
    vLLM) sends ``Sampling.choices`` as well; ``none`` sends neither. ``auto`` is ``json_schema`` until a server refuses a
    schema, in whatever words: one request without it tells. It is then asked without, with one warning, for the rest of this
    object's life, and the answer's form rests on the prompt alone.

    ``scores``: how choices are scored (``answer=scores``), where a server of one's own can; ``check`` tells. ``prompt_logprobs``
    (vLLM): the complete answer's log-probability, by one request for each choice and one more. ``systemone`` (``transformers
    serve``): the probability of each choice's letter in a list of them, by one request with at most four pictures.

    ``token_parameter``: the name of the output limit (OpenAI dialect). ``auto`` is ``max_completion_tokens`` at
    api.openai.com, where reasoning models insist on it, and ``max_tokens`` elsewhere, until a server refuses the one and
    takes the other. ``reasoning_effort``: for example
    ``"low"``; ``None`` is the model's default. ``reasoning_tokens``: room for thinking that is added to
    ``Sampling.max_tokens``, which counts thought as output.

    ``prices``: what a reply cost is what the server says, else the price list's amount for the tokens that it counts (``auto``);
    the price list alone (``list``), for a server that names wrong amounts; nobody's (``none``), for one that counts wrongly or
    serves another model than its name says: then nothing at a server of one's own, and elsewhere unknown.

    ``image_detail``: the vendor's image resolution setting. ``cache_prefix``: mark the constant start of a prompt for
    Anthropic's cache. ``blank_retries``: how often an answer without text, or refused or filtered, is asked for again
    before it is returned; its tokens are counted. ``extra_body``: JSON merged into every request, for settings of a server
    that have no option here.
    """

    structured: Structured = "auto"
    scores: Scores = "none"
    token_parameter: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    reasoning_effort: str | None = None
    reasoning_tokens: int = 0
    prices: Prices = "auto"
    image_detail: Literal["auto", "low", "medium", "high"] = "auto"
    cache_prefix: bool = True
    blank_retries: int = 0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    concurrency: ConcurrencyPolicy = field(default_factory=ConcurrencyPolicy)
    clock: Clock = field(default=SYSTEM_CLOCK, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        for name in ("reasoning_tokens", "blank_retries"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} must be a whole number, 0 or more, got {getattr(self, name)!r}"
                )
        if not isinstance(self.extra_body, Mapping):
            raise ConfigError(f"extra_body must be a mapping, got {type(self.extra_body).__name__}")


DEFAULT_OPTIONS = RemoteOptions()
