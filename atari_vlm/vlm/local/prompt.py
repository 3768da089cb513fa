"""A request as a model reads it: token ids, positions, and pictures ready for the vision tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atari_vlm.errors import RequestError, VLMError

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Piece:
    """One picture (or one video) after preprocessing.

    ``tensors`` are the model's inputs for it alone, ``text`` is what stands for it in the prompt, and ``digest`` (hex)
    tells it from any other.
    """

    tensors: Tensors
    text: str
    digest: str

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take."""
        return sum(array.nbytes for array in self.tensors.values())


@dataclass(frozen=True, eq=False)
class Prompt:
    """One request.

    ``ids`` int64 ``(S,)``. ``keys`` int64 ``(S,)`` say what stands at each place: the token id for text, a negative number
    made from the picture for its tokens, so that equal keys mean equal content. ``positions`` int64 ``(S,)`` or, for
    models with time, height and width positions, ``(3, S)``. ``spans`` hold the first and one past the last token of each
    of the ``pieces``.
    """

    ids: np.ndarray
    keys: np.ndarray
    positions: np.ndarray
    pieces: tuple[Piece, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def next_position(self) -> int:
        """The position of the first token of the answer."""
        return int(self.positions.max()) + 1

    def shared_with(self, keys: np.ndarray) -> int:
        """How many tokens at the start equal those of ``keys``, cut back so that no picture is torn."""
        n = min(len(self.keys), len(keys))
        differs = np.flatnonzero(self.keys[:n] != keys[:n])
        length = int(differs[0]) if len(differs) else n
        for start, stop in self.spans:
            if start < length < stop:
                return start
        return length

    def pieces_after(self, length: int) -> tuple[Piece, ...]:
        """The pictures that begin at or after token ``length``."""
        return tuple(
            piece
            for piece, (start, _) in zip(self.pieces, self.spans, strict=True)
            if start >= length
        )

    def first(self, length: int) -> Prompt:
        """The first ``length`` tokens, which tear no picture."""
        count = sum(stop <= length for _, stop in self.spans)
        return Prompt(
            ids=self.ids[:length],
            keys=self.keys[:length],
            positions=self.positions[..., :length],
            pieces=self.pieces[:count],
            spans=self.spans[:count],
        )

    def extended(self, tokens: Sequence[int]) -> Prompt:
        """The prompt with text tokens behind it."""
        ids = np.asarray(tokens, dtype=np.int64)
        positions = np.broadcast_to(
            self.next_position + np.arange(len(ids)), (*self.positions.shape[:-1], len(ids))
        )
        return Prompt(
            ids=np.concatenate([self.ids, ids]),
            keys=np.concatenate([self.keys, ids]),
            positions=np.concatenate([self.positions, positions], axis=-1),
            pieces=self.pieces,
            spans=self.spans,
        )


@dataclass(frozen=True, eq=False)
class Padded:
    """Rows of different length, padded on the left.

    ``ids`` int64 ``(B, W)``, ``mask`` bool ``(B, L + W)`` (``True`` for real tokens, the ``L`` shared ones included),
    ``positions`` int64 ``(B, W)`` or ``(3, B, W)``, ``pads`` int64 ``(B,)``: padding tokens in each row.
    """

    ids: np.ndarray
    mask: np.ndarray
    positions: np.ndarray
    pads: np.ndarray


def pad_left(prompts: Sequence[Prompt], shared: int, pad_id: int) -> Padded:
    """Lay the tokens behind the first ``shared`` ones of each prompt into rows that all end in their last real token."""
    width = max(len(prompt) for prompt in prompts) - shared
    rows = len(prompts)
    ids = np.full((rows, width), pad_id, dtype=np.int64)
    mask = np.zeros((rows, shared + width), dtype=bool)
    mask[:, :shared] = True
    positions = np.zeros((*prompts[0].positions.shape[:-1], rows, width), dtype=np.int64)
    pads = np.array([width - (len(prompt) - shared) for prompt in prompts])
    for row, (prompt, pad) in enumerate(zip(prompts, pads, strict=True)):
        ids[row, pad:] = prompt.ids[shared:]
        mask[row, shared + pad :] = True
        positions[..., row, pad:] = prompt.positions[..., shared:]
    check_left_padded(mask)
    return Padded(ids, mask, positions, pads)


def check_fits(prompts: Sequence[Prompt], room: Sequence[int], context: int | None) -> None:
    """Raise ``RequestError`` unless prompts and ``room`` further tokens fit the context (``None``: any do)."""
    for prompt, extra in zip(prompts, room, strict=True):
        if context is not None and len(prompt) + extra > context:
            raise RequestError(
                f"the request has {len(prompt)} tokens and up to {extra} new ones; the model's context is {context}: "
                "send fewer examples or pictures, or lower max_tokens"
            )


def check_left_padded(mask: np.ndarray) -> None:
    """Raise unless the last place of every row of ``mask`` ``(B, W)`` is a real token: scores would silently be wrong."""
    if not mask[:, -1].all():
        raise VLMError(
            "rows must be padded on the left: the last place of every row must be a real token"
        )
