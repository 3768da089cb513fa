"""How each architecture takes its pictures: preprocessing, the text that stands for a picture, and batching the tensors.

One layout per way of packing pixels, not one per model: flat patches (Qwen-VL, GLM-V), tiles (LLaVA-NeXT, LLaVA-OneVision),
sub-images (Idefics2, Idefics3, SmolVLM) and a clip of frames (Video-LLaVA).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from atari_vlm.types import Image
from atari_vlm.vlm.local.images import clip_video, fast_processor
from atari_vlm.vlm.local.piece_cache import PieceCache
from atari_vlm.vlm.local.prompt import Piece, Tensors

Rows = Sequence[Sequence[Piece]]


class Layout:
    """Base: a picture is one piece; tensors of a batch are joined along the first axis.

    ``content_type`` is what the chat template calls a picture, ``placeholder`` what it writes for one, ``token_id`` the
    token that picture features replace, ``tensor_names`` what the model takes. ``prefix_reusable`` says whether the start of
    a prompt may be computed apart from its end. ``processor`` is the family's own processor, ``fast`` allows own
    preprocessing.
    """

    content_type = "image"
    prefix_reusable = True
    tensor_names: tuple[str, ...] = ("pixel_values", "image_grid_thw", "image_sizes")

    def __init__(self, processor: Any, config: Any, *, fast: bool = True):
        self.processor, self.config = processor, config
        self.placeholder: str = processor.image_token
        self.token_id: int = processor.image_token_id
        self._fast = fast_processor(processor.image_processor) if fast else None
        self._cache = PieceCache()

    def pieces(self, images: Sequence[Image], total: int) -> list[Piece]:
        """The pieces for the pictures of one message; ``total`` pictures are in the whole request."""
        return [self._cache.get(image.digest, partial(self._piece, image)) for image in images]

    def tidy(self, text: str) -> str:
        """Last corrections to the text after all pictures are placed."""
        return text

    def collate(self, rows: Rows) -> dict[str, np.ndarray]:
        """The model's picture inputs for a batch; empty without pictures."""
        pieces = [piece.tensors for row in rows for piece in row]
        return {
            name: np.concatenate([tensors[name] for tensors in pieces])
            for name in (pieces[0] if pieces else ())
        }

    def _piece(self, image: Image) -> Piece:
        tensors = self._tensors(image.pixels)
        return Piece(
            {name: tensors[name] for name in tensors if name in self.tensor_names},
            self._text(tensors),
            image.digest,
        )

    def _text(self, tensors: Tensors) -> str:
        """What stands for one picture in the prompt."""
        return str(self.processor.replace_image_token(tensors, 0))

    def _tensors(self, pixels: np.ndarray) -> Tensors:
        if self._fast is not None:
            return self._fast(pixels)
        return dict(
            self.processor.image_processor(
                pixels, return_tensors="np", input_data_format="channels_last"
            )
        )


class TileLayout(Layout):
    """LLaVA-NeXT: an overview and tiles. Pictures with fewer tiles get empty ones, which the model skips."""

    def collate(self, rows: Rows) -> dict[str, np.ndarray]:
        """``pixel_values`` ``(N, tiles, 3, H, W)`` and ``image_sizes`` ``(N, 2)``."""
        pieces = [piece.tensors for row in rows for piece in row]
        if not pieces:
            return {}
        sizes = np.concatenate([tensors["image_sizes"] for tensors in pieces])
        return {
            "pixel_values": stack_padded([t["pixel_values"][0] for t in pieces]),
            "image_sizes": sizes,
        }


class OneVisionLayout(TileLayout):
    """LLaVA-OneVision: a lone picture is tiled, several are not, so all pictures of a request stay in one pass."""

    prefix_reusable = False

    def pieces(self, images: Sequence[Image], total: int) -> list[Piece]:
        """As above; a picture looks different alone and among others."""
        alone = total == 1
        return [
            self._cache.get(f"{image.digest}{alone}", partial(self._tiled, image, alone))
            for image in images
        ]

    def _tiled(self, image: Image, alone: bool) -> Piece:
        count = 1 if alone else 2  # two of the same picture stand for any number above one
        tensors = dict(
            self.processor.image_processor(
                [[image.pixels] * count], return_tensors="np", input_data_format="channels_last"
            )
        )
        text = self.processor.replace_image_token(tensors, 0)
        kept = {
            "pixel_values": tensors["pixel_values"][:1],
            "image_sizes": tensors["image_sizes"][:1],
        }
        return Piece(kept, text, image.digest)

    def collate(self, rows: Rows) -> dict[str, np.ndarray]:
        """As LLaVA-NeXT, with ``batch_num_images`` ``(rows with pictures,)``."""
        tensors = super().collate(rows)
        return (
            {**tensors, "batch_num_images": np.array([len(row) for row in rows if row])}
            if tensors
            else {}
        )


class SubImageLayout(Layout):
    """Idefics3 and SmolVLM: a picture may be cut into sub-images in rows and columns, behind a global view."""

    tensor_names = ("pixel_values", "pixel_attention_mask")

    def collate(self, rows: Rows) -> dict[str, np.ndarray]:
        """``pixel_values`` ``(1, N, 3, H, W)`` and ``pixel_attention_mask`` ``(1, N, H, W)``: order decides, not rows."""
        pieces = [piece.tensors for row in rows for piece in row]
        names = self.tensor_names if pieces else ()
        return {
            name: stack_padded([part for t in pieces for part in t[name][0]])[None]
            for name in names
        }

    def _tensors(self, pixels: np.ndarray) -> Tensors:
        return dict(
            self.processor.image_processor(
                pixels,
                return_row_col_info=True,
                return_tensors="np",
                input_data_format="channels_last",
            )
        )


class Idefics2Layout(SubImageLayout):
    """Idefics2: a fixed number of tokens between two marks; neighbouring pictures share a mark."""

    def tidy(self, text: str) -> str:
        """One mark between neighbours, and a blank between a mark and a word, as the model was trained."""
        mark = self.processor.fake_image_token
        return re.sub(rf"{re.escape(mark)}(?=[^\s<])", f"{mark} ", text.replace(mark * 2, mark))

    def _piece(self, image: Image) -> Piece:
        processor = self.processor
        mark = processor.fake_image_token
        tokens = f"{mark}{processor.image_token * processor.image_seq_len}{mark}"
        parts = 5 if processor.image_processor.do_image_splitting else 1
        tensors = processor.image_processor(
            image.pixels, return_tensors="np", input_data_format="channels_last"
        )
        return Piece(
            {name: tensors[name] for name in self.tensor_names}, tokens * parts, image.digest
        )


class VideoLayout(Layout):
    """Video-LLaVA: the pictures of one message are the frames of one clip.

    ``processor`` needs only ``video_token``, ``video_token_id`` and ``edge``, ``mean``, ``std`` of its frames.
    """

    content_type = "video"
    frames = 8  # what the model was trained with

    def __init__(self, processor: Any, config: Any, *, fast: bool = True):
        self.processor, self.config = processor, config
        self.placeholder, self.token_id = processor.video_token, processor.video_token_id
        self._cache = PieceCache()

    def pieces(self, images: Sequence[Image], total: int) -> list[Piece]:
        """One piece: the clip; none without pictures."""
        if not images:
            return []
        digest = hashlib.sha256("".join(image.digest for image in images).encode()).hexdigest()
        return [self._cache.get(digest, lambda: self._clip(digest, images))]

    def _clip(self, digest: str, images: Sequence[Image]) -> Piece:
        p = self.processor
        video = clip_video([image.pixels for image in images], self.frames, p.edge, p.mean, p.std)
        per_frame = (
            p.edge // self.config.vision_config.patch_size
        ) ** 2 + 1  # the class token of each frame stays
        return Piece(
            {"pixel_values_videos": video[None]},
            self.placeholder * (self.frames * per_frame),
            digest,
        )


_LAYOUTS: dict[str, type[Layout]] = {
    "llava_next": TileLayout,
    "llava_onevision": OneVisionLayout,
    "idefics2": Idefics2Layout,
    "idefics3": SubImageLayout,
    "smolvlm": SubImageLayout,
    "video_llava": VideoLayout,
}

# Causal attention in every layer of the language model, so own masks work: all choices in one pass, a reusable prefix.
PLAIN_ATTENTION = frozenset(
    {*_LAYOUTS, "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "glm46v", "llava", "llama", "qwen2", "qwen3"}
)  # fmt: skip


def layout_for(model_type: str) -> type[Layout]:
    """The layout of an architecture; flat joining for all that are not named."""
    return _LAYOUTS.get(model_type, Layout)


def stack_padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays of one rank, each padded with zeros at the end of every axis to the largest: ``(N, ...)``."""
    shape = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True))
    out = np.zeros((len(arrays), *shape), dtype=arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[tuple(slice(0, size) for size in array.shape)] = array
    return out
