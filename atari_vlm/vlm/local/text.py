"""Language models without eyes: any chat model of ``AutoModelForCausalLM``, asked through the same engine.

A message is its text. Chat templates of such models want a turn's content as one string, and pictures are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import NotSupportedError, RequestError
from atari_vlm.types import Image, Message
from atari_vlm.vlm.local.checkpoint_folder import loading
from atari_vlm.vlm.local.encoder import Encoder, plain_positions
from atari_vlm.vlm.local.layouts import Layout, Rows
from atari_vlm.vlm.local.loading import (
    Loaded,
    chat_template,
    fitting_placement,
    load_model,
    load_tokenizer,
    make_engine,
    read_config,
)
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.prompt import Piece

_ASKED_WITH = ("attention_mask", "position_ids", "past_key_values", "logits_to_keep")


class TextLayout(Layout):
    """No pictures: none is taken, none is collated, and no mark stands for one."""

    content_type = "text"
    placeholder = ""
    token_id = -1  # no token

    def __init__(self) -> None:
        pass

    def pieces(self, images: Sequence[Image], total: int) -> list[Piece]:
        """None; ``RequestError`` for a message with pictures."""
        if images:
            raise RequestError(
                "a model of --vlm text reads no pictures; take an image-text family, such as qwen-vl"
            )
        return []

    def collate(self, rows: Rows) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}


class TextEncoder(Encoder):
    """Turns messages without pictures into prompts."""

    def _content(self, message: Message) -> str:
        return self._harmless(message.text)

    def _place(self, text: str, pieces: Sequence[Piece]) -> str:
        return text


def load_text(name: str, folder: Path, options: LocalOptions) -> Loaded:
    """Load the chat model in ``folder``; ``name`` is what the user called it.

    Raises ``ModelNotAvailableError`` when weights or memory are missing or loading fails otherwise, ``ConfigError`` when it is
    no language model or has no chat template, ``NotSupportedError`` when its architecture keeps no keys and values.
    """
    with loading(name, folder):
        return _load(name, folder, options)


def _load(name: str, folder: Path, options: LocalOptions) -> Loaded:
    transformers = require("transformers", "local")
    config = read_config(
        name, folder, options, "CAUSAL_LM", "writes no text; --vlm text takes a language model"
    )
    device, dtype = fitting_placement(name, folder, options)
    tokenizer, layout = load_tokenizer(folder, options), TextLayout()
    encoder = TextEncoder(tokenizer, layout, chat_template(None, tokenizer), plain_positions)
    model = load_model(transformers.AutoModelForCausalLM, folder, (device, dtype), options, None)
    lacking = {*_ASKED_WITH} - inspect.signature(model.forward).parameters.keys()
    if lacking:
        raise NotSupportedError(
            f"models of type {config.model_type!r} take no {min(lacking)}, so that they cannot be asked in process; "
            "use --base-url URL"
        )
    return Loaded(make_engine(model, layout, tokenizer, options), encoder, config.model_type, dtype)
