"""A small Mamba language model, trained by transformers on sentences that a small grammar writes: the base for LoRA adapters.

The sentences tell of doors of four colours, one of which is named and pays later, and of a pole on a cart. The same sentences
come from the same seed; nothing is downloaded.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm._lazy import require
from atari_vlm.files import atomic_write
from atari_vlm.world_models.cue import DOORS

_SIDES, _NUMBERS = ("left", "right"), ("two", "four", "eight", "sixteen")
_SENTENCES = (
    "the sign says {door} , then it is silent . you wait and wait . you open the {door} door and it pays .",
    "the word {door} is shown once . {number} steps later the {door} door pays , the {other} door pays nothing .",
    "four doors stand side by side . only the {door} door pays . you wait {number} steps and open {door} .",
    "the {other} door pays nothing when the sign says {door} .",
    "the pole leans to the {side} , so the cart is pushed to the {side} .",
    "the cart rolls to the {side} for {number} steps and the pole falls to the {far} .",
    "the pole stands , the cart waits , and every step pays one .",
)
_PAD, _UNKNOWN = "<pad>", "<unk>"
_HELD_OUT_SEED = 1_000_003
_DONE = "base.json"


@dataclass(frozen=True)
class BaseSizes:
    """The model's sizes, and how long it is trained: ``updates`` of ``batch`` x ``length`` tokens, about one CPU minute."""

    width: int = 128
    layers: int = 2
    updates: int = 250
    batch: int = 8
    length: int = 32
    learning_rate: float = 3e-3


def sentence(rng: np.random.Generator) -> str:
    """One sentence."""
    first, second = rng.choice(len(DOORS), 2, replace=False)
    side = int(rng.integers(2))
    told = {
        "door": DOORS[first],
        "other": DOORS[second],
        "number": rng.choice(_NUMBERS),
        "side": _SIDES[side],
        "far": _SIDES[1 - side],
    }
    return str(rng.choice(_SENTENCES)).format(**told)


def words() -> tuple[str, ...]:
    """Every word and mark that the sentences have."""
    plain = " ".join(re.sub(r"\{\w+\}", "", text) for text in _SENTENCES)
    return tuple(sorted({*plain.split(), *DOORS, *_SIDES, *_NUMBERS}))


def tokenizer() -> Any:
    """Words and marks as tokens, as transformers' folders have it; silence is a token of its own."""
    library = require("tokenizers", "local")
    ids = {word: number for number, word in enumerate((_PAD, _UNKNOWN, *words()))}
    made = library.Tokenizer(library.models.WordLevel(ids, _UNKNOWN))
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    made.add_special_tokens([_PAD])
    return made


def streams(rows: int, length: int, rng: np.random.Generator) -> torch.Tensor:
    """Sentences one after the other, as ids ``(rows, length)``."""
    encoder, ids = tokenizer(), []
    for _ in range(rows):
        row: list[int] = []
        while len(row) < length:
            row += encoder.encode(sentence(rng)).ids
        ids.append(row[:length])
    return torch.tensor(ids)


def unigram_entropy(ids: torch.Tensor) -> float:
    """Nats a token that the frequencies of the tokens alone leave open."""
    shares = np.array(list(Counter(ids.flatten().tolist()).values())) / ids.numel()
    return float(-(shares * np.log(shares)).sum())


def trained_base(folder: Path, sizes: BaseSizes | None = None) -> dict[str, Any]:
    """The folder of the trained model, made where it is not there yet; what was measured, as plain data: ``loss`` and
    ``unigram_entropy`` of held-out sentences in nats a token, ``cpu_seconds``.
    """
    done = folder / _DONE
    if done.is_file():
        known: dict[str, Any] = json.loads(done.read_text())
        return known
    folder.mkdir(parents=True, exist_ok=True)
    measured = _train(folder, sizes or BaseSizes())
    atomic_write(done, json.dumps(measured))
    return measured


def _train(folder: Path, sizes: BaseSizes) -> dict[str, Any]:
    transformers = require("transformers", "local")
    transformers.logging.set_verbosity_error()  # that its kernels are not installed
    transformers.logging.disable_progress_bar()
    print(f"{folder}: a Mamba learns {sizes.updates} batches of sentences", file=sys.stderr)
    began, encoder = time.process_time(), tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.MambaConfig(
            hidden_size=sizes.width,
            num_hidden_layers=sizes.layers,
            vocab_size=encoder.get_vocab_size(),
            use_cache=False,
        )
        model = transformers.MambaForCausalLM(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=sizes.learning_rate)
    rng = np.random.default_rng(0)
    for _ in range(sizes.updates):
        ids = streams(sizes.batch, sizes.length, rng)
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    held_out = streams(64, sizes.length, np.random.default_rng(_HELD_OUT_SEED))
    with torch.no_grad():
        loss = float(model(held_out, labels=held_out).loss)
    model.save_pretrained(folder)
    encoder.save(str(folder / "tokenizer.json"))
    return {
        "updates": sizes.updates,
        "tokens": sizes.updates * sizes.batch * sizes.length,
        "words": len(words()),
        "loss": loss,
        "unigram_entropy": unigram_entropy(held_out),
        "cpu_seconds": time.process_time() - began,
    }
