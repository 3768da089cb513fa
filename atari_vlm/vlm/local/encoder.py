"""Messages to token ids: the checkpoint's chat template, pictures in their places, positions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, RequestError
from atari_vlm.types import Image, Message, Text
from atari_vlm.vlm.local.layouts import Layout
from atari_vlm.vlm.local.prompt import Piece, Prompt

_PROBE = "atari vlm probe"
_LAYOUTS = 256  # of requests, whose positions are kept

PositionRule = Callable[[np.ndarray, Layout, Sequence[Piece]], np.ndarray]


class Encoder:
    """Turns requests into prompts. Thread-safe: threads encode side by side, tokenising one at a time.

    ``template`` is the checkpoint's chat template (Jinja); ``positions`` gives the positions of a prompt's tokens.
    """

    def __init__(
        self, tokenizer: Any, layout: Layout, template: str | None, positions: PositionRule
    ):
        if not template:
            raise ConfigError(
                "the checkpoint has no chat template; use the instruction-tuned version of the model"
            )
        self._tokenizer, self._layout, self._template, self._positions = (
            tokenizer,
            layout,
            template,
            positions,
        )
        self._lock = Lock()
        self._marks = sorted(
            {layout.placeholder, *tokenizer.all_special_tokens} - {""}, key=len, reverse=True
        )
        self._has_system = self._template_shows_system()

    def encode(self, messages: Sequence[Message]) -> Prompt:
        """The prompt for ``messages``, ending where the answer begins.

        Raises ``RequestError`` if the chat template refuses the order of the roles or the image processor a picture.
        """
        if not messages:
            raise ConfigError("a request needs at least one message")
        turns = messages if self._has_system else _system_into_user(messages)
        pieces = self.pieces(turns)
        with self._lock:
            ids = self._tokenize(self._place(self._render(turns), pieces))
        spans = self._spans(ids, pieces)
        keys = ids.copy()
        for (start, stop), piece in zip(spans, pieces, strict=True):
            keys[start:stop] = -1 - (int(piece.digest[:14], 16) + np.arange(stop - start))
        return Prompt(ids, keys, self._positions(ids, self._layout, pieces), tuple(pieces), spans)

    def pieces(self, messages: Sequence[Message]) -> list[Piece]:
        """The pictures of a request, ready for the model, in order; ``RequestError`` where its processor refuses one."""
        total = sum(len(message.images) for message in messages)
        try:
            return [
                piece
                for message in messages
                for piece in self._layout.pieces(message.images, total)
            ]
        except ValueError as error:
            raise RequestError(f"the model's image processor refused a picture: {error}") from error

    def choice_ids(self, choice: str) -> list[int]:
        """The tokens of an answer; special tokens inside lose their effect."""
        text = self._harmless(choice)
        with self._lock:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if not ids:
            raise ConfigError(f"the choice {choice!r} has no tokens")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, special tokens left out."""
        with self._lock:
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _render(self, turns: Sequence[Message]) -> str:
        chat = [{"role": turn.role, "content": self._content(turn)} for turn in turns]
        try:
            text: str = self._tokenizer.apply_chat_template(
                chat, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template raises its own errors, and any of Python's
            raise RequestError(
                f"the model's chat template refused the messages: {error}"
            ) from error
        return text

    def _content(self, message: Message) -> Any:
        """Template content; the frames of one message may be one clip. Special tokens inside text lose their effect."""
        content: list[dict[str, str]] = []
        for part in message.parts:
            if isinstance(part, Text):
                content.append({"type": "text", "text": self._harmless(part.text)})
            elif self._layout.content_type == "image" or {"type": "video"} not in content:
                content.append({"type": self._layout.content_type})
        return content

    def _harmless(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode(
            "utf-8"
        )  # lone surrogates cannot be tokenised
        for mark in self._marks:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def _place(self, text: str, pieces: Sequence[Piece]) -> str:
        gaps = text.split(self._layout.placeholder)
        if len(gaps) - 1 != len(pieces):
            raise RequestError(
                f"the chat template placed {len(gaps) - 1} pictures of {len(pieces)}"
            )
        placed = [
            part for gap, piece in zip(gaps, pieces, strict=False) for part in (gap, piece.text)
        ]
        return self._layout.tidy("".join([*placed, gaps[-1]]))

    def _tokenize(self, text: str) -> np.ndarray:
        bos = self._tokenizer.bos_token
        with_bos = not (bos and text.startswith(bos))
        return np.array(self._tokenizer.encode(text, add_special_tokens=with_bos), dtype=np.int64)

    def _spans(self, ids: np.ndarray, pieces: Sequence[Piece]) -> tuple[tuple[int, int], ...]:
        places = np.flatnonzero(ids == self._layout.token_id)
        counts = [piece.text.count(self._layout.placeholder) for piece in pieces]
        if sum(counts) != len(places):
            raise RequestError(
                f"{len(places)} picture tokens in the prompt where {sum(counts)} belong"
            )
        ends = np.cumsum(counts, dtype=int)
        return tuple(
            (int(places[end - count]), int(places[end - 1]) + 1)
            for end, count in zip(ends, counts, strict=True)
        )

    def _template_shows_system(self) -> bool:
        chat = (Message.of("system", _PROBE), Message.of("user", "?"))
        try:
            return _PROBE in self._render(chat)
        except RequestError:
            return False


def _system_into_user(messages: Sequence[Message]) -> list[Message]:
    """The messages with what the system says put before the first user turn, for templates without a system role."""
    system: list[Text | Image] = [
        part for message in messages if message.role == "system" for part in message.parts
    ]
    turns = [message for message in messages if message.role != "system"]
    if not system:
        return turns
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return [Message("user", tuple(system)), *turns]
    turns[first] = Message("user", (*system, *turns[first].parts))
    return turns


def plain_positions(ids: np.ndarray, layout: Layout, pieces: Sequence[Piece]) -> np.ndarray:
    """0, 1, 2, ...: int64 ``(S,)``."""
    return np.arange(len(ids), dtype=np.int64)


def grid_positions(inner_model: Any) -> PositionRule:
    """Time, height and width positions as the model's own ``get_rope_index`` gives them: int64 ``(3, S)``.

    They depend on where the pictures stand and how large they are, which requests of one game share; so they are kept.
    """
    import torch

    @functools.lru_cache(maxsize=_LAYOUTS)
    def positions(marks: bytes, sizes: bytes) -> np.ndarray:
        kinds = torch.frombuffer(bytearray(marks), dtype=torch.bool)[None].int()
        grids = torch.from_numpy(np.frombuffer(sizes, np.int64).reshape(-1, 3).copy())
        found, _ = inner_model.get_rope_index(
            torch.zeros(kinds.shape, dtype=torch.int64),
            mm_token_type_ids=kinds,
            image_grid_thw=grids,
        )
        kept = np.asarray(found[:, 0].numpy())
        kept.setflags(write=False)
        return kept

    def rule(ids: np.ndarray, layout: Layout, pieces: Sequence[Piece]) -> np.ndarray:
        if not pieces:
            return np.broadcast_to(np.arange(len(ids), dtype=np.int64), (3, len(ids)))
        grids = np.concatenate([piece.tensors["image_grid_thw"] for piece in pieces])
        return positions((ids == layout.token_id).tobytes(), grids.astype(np.int64).tobytes())

    return rule
