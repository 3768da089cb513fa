"""Keys stay out of everything a run writes, also when a model or a server says one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling
from atari_vlm.vlm.remote.keys import Secret


def known_keys(api_key: str | None = None) -> list[Secret]:
    """The key that was given and every key in the environment (variables whose names end in ``_API_KEY``)."""
    values = [value for name, value in os.environ.items() if name.endswith("_API_KEY") and value]
    return [Secret(value) for value in ([api_key] if api_key else []) + values]


def without_keys(text: str, keys: Sequence[Secret]) -> str:
    """``text`` without any of the keys, raw, url-encoded or base64."""
    for key in keys:
        text = key.scrub(text)
    return text


class KeylessVLM:
    """A VLM whose replies never hold a key. It stands inside cache and journal."""

    def __init__(self, vlm: VLM, keys: Sequence[Secret]):
        self._vlm, self._keys = vlm, tuple(keys)
        self.name, self.capabilities = vlm.name, vlm.capabilities

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The reply, with ``[key]`` wherever a key stood, as every file can hold it."""
        reply = self._vlm.complete(messages, sampling=sampling).legal()
        words = {field.name: getattr(reply, field.name) for field in dataclasses.fields(reply)}
        clean: dict[str, Any] = {
            name: without_keys(word, self._keys)
            for name, word in words.items()
            if isinstance(word, str)
        }
        return dataclasses.replace(reply, **clean)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The scores."""
        return self._vlm.score_choices(messages, choices)
