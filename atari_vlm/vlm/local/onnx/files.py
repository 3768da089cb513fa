"""A small Qwen3-VL's tokenizer, chat template and image processor read from their files, without transformers.

Each gives what transformers' gives, to the bit; ``tests/vlm/local/test_onnx.py`` compares them. Where a file asks for
something that is not read here, it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import NotSupportedError
from atari_vlm.vlm.local.checkpoint_folder import read_object
from atari_vlm.vlm.local.images import PatchProcessor, Size
from atari_vlm.vlm.local.layouts import Layout
from atari_vlm.vlm.local.onnx.session import EXTRA
from atari_vlm.vlm.local.piece_cache import PieceCache
from atari_vlm.vlm.local.prompt import Piece, Tensors
from atari_vlm.vlm.local.tiny.qwen import TEMPLATE

_MOST_UNEQUAL_SIDES = 200


class PlainTokenizer:
    """What :class:`~atari_vlm.vlm.local.encoder.Encoder` asks of a tokenizer, from ``tokenizer.json``."""

    def __init__(self, folder: Path):
        library = require("tokenizers", EXTRA)
        self._fast = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = read_object(folder / "tokenizer_config.json")
        self.bos_token: str | None = settings.get("bos_token")
        named = [settings.get(f"{name}_token") for name in ("bos", "eos", "pad", "unk")]
        self.all_special_tokens = [
            token for token in (*named, *settings.get("extra_special_tokens", ())) if token
        ]
        self.eos_token_id = self.id_of(settings.get("eos_token"))
        self.pad_token_id = self.id_of(settings.get("pad_token"))

    def id_of(self, token: str | None) -> int | None:
        """A token's number; ``None`` for one that is not there."""
        number: int | None = None if token is None else self._fast.token_to_id(token)
        return number

    def token_of(self, number: int) -> str:
        """The token with this number."""
        return str(self._fast.id_to_token(number))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The tokens of a text."""
        return list(self._fast.encode(text, add_special_tokens=add_special_tokens).ids)

    def apply_chat_template(
        self, chat: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, **given: Any
    ) -> str:
        """A chat as the one template that is known here (:data:`TEMPLATE`) writes it."""
        turns = [
            f"<|im_start|>{turn['role']}\n{''.join(map(_written, turn['content']))}<|im_end|>\n"
            for turn in chat
        ]
        return "".join([*turns, "<|im_start|>assistant\n" if add_generation_prompt else ""])


def read_template(folder: Path) -> str:
    """The chat template; ``NotSupportedError`` for another than that of the small models made here."""
    text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if text != TEMPLATE:
        raise NotSupportedError(
            f"{folder} has a chat template of its own, which needs transformers: use backend='torch'"
        )
    return text


def _written(part: Mapping[str, str]) -> str:
    return (
        "<|vision_start|><|image_pad|><|vision_end|>" if part["type"] == "image" else part["text"]
    )


@dataclass(frozen=True)
class PatchSettings:
    """Of a Qwen2-VL image processor: the sides of a patch and of what becomes one token, and the area of a picture."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    rescale_factor: float
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    least: int
    most: int

    @classmethod
    def read(cls, folder: Path) -> PatchSettings:
        """From ``preprocessor_config.json``."""
        found = read_object(folder / "preprocessor_config.json")
        steps = ("do_resize", "do_rescale", "do_normalize")
        if not all(found.get(step) for step in steps):
            raise NotSupportedError(f"{folder} prepares pictures in a way that is not read here")
        taken: dict[str, Any] = {
            name: found[name]
            for name in ("patch_size", "merge_size", "temporal_patch_size", "rescale_factor")
        }
        taken |= {name: tuple(found[name]) for name in ("image_mean", "image_std")}
        size = found["size"]
        return cls(**taken, least=size["shortest_edge"], most=size["longest_edge"])

    def grid(self, size: Size) -> Size:
        """Rows and columns of patches of a picture: whole tokens, nearly the same shape, its area within the limits.

        The rule of Qwen2-VL's processor (https://arxiv.org/abs/2409.12191, section 2.1). ``ValueError`` for a strip.
        """
        (height, width), unit = size, self.patch_size * self.merge_size
        if (sides := max(size) / min(size)) > _MOST_UNEQUAL_SIDES:
            raise ValueError(
                f"absolute aspect ratio must be smaller than {_MOST_UNEQUAL_SIDES}, got {sides}"
            )
        tall, wide = round(height / unit), round(width / unit)
        if tall * wide * unit**2 > self.most:
            shrink = math.sqrt(height * width / self.most)
            tall, wide = (max(1, math.floor(side / shrink / unit)) for side in size)
        elif tall * wide * unit**2 < self.least:
            grow = math.sqrt(self.least / (height * width))
            tall, wide = (math.ceil(side * grow / unit) for side in size)
        return tall * self.merge_size, wide * self.merge_size


class PatchLayout(Layout):
    """Pictures as flat patches, prepared by what :class:`PatchSettings` say."""

    def __init__(self, settings: PatchSettings, token: str, token_id: int):
        self.processor = SimpleNamespace(image_token=token, image_token_id=token_id)
        self.placeholder, self.token_id = token, token_id
        self._fast = PatchProcessor(settings, settings.grid)
        self._merge, self._cache = settings.merge_size, PieceCache()

    def _text(self, tensors: Tensors) -> str:
        return self.placeholder * int(tensors["image_grid_thw"].prod() // self._merge**2)


def grid_positions(merge: int) -> Any:
    """Time, height and width positions of Qwen3-VL for prompts with pictures: a rule for ``Encoder``, int64 ``(3, S)``.

    Text goes on by one; a picture's tokens share one time, and have their row and column on top of where it begins; text
    behind it goes on behind its longer side.
    """

    def rule(ids: np.ndarray, layout: Layout, pieces: Sequence[Piece]) -> np.ndarray:
        parts, begin, at = [], 0, 0
        starts = _starts(ids == layout.token_id, pieces, merge)
        for start, (_, rows, columns) in starts:
            parts.append(np.broadcast_to(at + np.arange(start - begin), (3, start - begin)))
            at += start - begin
            where = np.indices((1, rows // merge, columns // merge)).reshape(3, -1)
            parts.append(at + where)
            begin, at = start + where.shape[1], at + max(rows, columns) // merge
        rest = len(ids) - begin
        return np.concatenate([*parts, np.broadcast_to(at + np.arange(rest), (3, rest))], axis=1)

    return rule


def _starts(
    is_picture: np.ndarray, pieces: Sequence[Piece], merge: int
) -> list[tuple[int, tuple[int, int, int]]]:
    """Where each picture begins, and its grid."""
    places = np.flatnonzero(is_picture)
    grids = [tuple(int(n) for n in piece.tensors["image_grid_thw"][0]) for piece in pieces]
    counts = [math.prod(grid) // merge**2 for grid in grids]
    firsts = np.cumsum([0, *counts])[:-1]
    return [(int(places[first]), grid) for first, grid in zip(firsts, grids, strict=True)]  # type: ignore[misc]
