"""What an apprentice was asked and what its teacher would have done: pictures as small as the model sees them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from atari_vlm.errors import RunError, reading
from atari_vlm.files import atomic_write, read_real
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.types import Image, Message, Text
from atari_vlm.vlm.local.images import resized

_MOST_BYTES = 1 << 28  # of a round's file
_RECENT = 512  # pictures among which an equal one is looked for


class Shrinking:
    """Decisions with every picture at the size to which the model's processor brings it: what the model sees stays the same."""

    def __init__(self, base: Base):
        self._base = base
        self._sizes: dict[tuple[int, ...], tuple[int, int]] = {}
        self._recent: dict[str, Image] = {}

    def __call__(self, decision: TaughtDecision) -> TaughtDecision:
        """The decision with small pictures; equal pictures of decisions near one another are one object."""
        messages = tuple(
            Message(
                m.role,
                tuple(self._small(p) if isinstance(p, Image) else p for p in m.parts),
            )
            for m in decision.messages
        )
        return dataclasses.replace(decision, messages=messages)

    def _small(self, image: Image) -> Image:
        if image.digest not in self._recent:
            self._recent[image.digest] = Image(resized(image.pixels, self._size(image)))
            if len(self._recent) > _RECENT:
                self._recent.pop(next(iter(self._recent)))
        return self._recent[image.digest]

    def _size(self, image: Image) -> tuple[int, int]:
        shape = image.pixels.shape
        if shape not in self._sizes:
            prompt = self._base.encoder.encode([Message("user", (image, Text("?")))])
            _, rows, columns = prompt.pieces[0].tensors["image_grid_thw"][0]
            patch = self._base.network.config.vision_config.patch_size
            self._sizes[shape] = int(rows) * patch, int(columns) * patch
        return self._sizes[shape]


class Experience(Sequence[TaughtDecision]):
    """All decisions so far, in the order they were played; one file a round in ``folder``."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._decisions: list[TaughtDecision] = []

    def __len__(self) -> int:
        return len(self._decisions)

    @overload
    def __getitem__(self, number: int) -> TaughtDecision: ...
    @overload
    def __getitem__(self, number: slice) -> list[TaughtDecision]: ...
    def __getitem__(self, number: int | slice) -> TaughtDecision | list[TaughtDecision]:
        return self._decisions[number]

    def add(self, number: int, played: Sequence[TaughtDecision]) -> None:
        """Keep what round ``number`` brought."""
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path(number), packed(played))
        self._decisions += played

    def read(self, rounds: int) -> None:
        """Read the first ``rounds`` rounds from disk instead of what is here."""
        self._decisions = []
        for number in range(1, rounds + 1):
            path = self._path(number)
            with reading(path, RunError):
                self._decisions += unpacked(read_real(path, _MOST_BYTES))

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.npz"


def packed(decisions: Sequence[TaughtDecision]) -> bytes:
    """Decisions whose messages are instructions, then pictures and a text, as an ``.npz`` without pickle."""
    pictures: dict[str, int] = {}
    texts: dict[str, int] = {}
    pixels: list[np.ndarray] = []
    shown, said = [], []
    for decision in decisions:
        system, user = decision.messages
        row = []
        for image in user.images:
            if image.digest not in pictures:
                pictures[image.digest] = len(pixels)
                pixels.append(image.pixels)
            row.append(pictures[image.digest])
        shown.append(row)
        words = (system.text, user.text, "\n".join(decision.names), decision.reasoning)
        said.append([texts.setdefault(text, len(texts)) for text in words])
    most = max(len(row) for row in shown)  # an episode begins with fewer pictures
    out = io.BytesIO()
    np.savez_compressed(
        out,
        pixels=np.stack(pixels),
        shown=np.array([row + [-1] * (most - len(row)) for row in shown], np.int32),
        said=np.array(said, np.int32),
        texts=np.array(list(texts)),
        action=np.array([d.action for d in decisions], np.int16),
        episode=np.array([d.episode for d in decisions], np.int32),
    )
    return out.getvalue()


def unpacked(data: bytes) -> list[TaughtDecision]:
    """The inverse of :func:`packed`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    images = [Image(pixels) for pixels in arrays["pixels"]]
    texts = [str(text) for text in arrays["texts"]]
    found = []
    rows = zip(arrays["shown"], arrays["said"], arrays["action"], arrays["episode"], strict=True)
    for shown, (system, user, names, reasoning), action, episode in rows:
        parts = (*(images[n] for n in shown if n >= 0), Text(texts[user]))
        messages = (Message.of("system", texts[system]), Message("user", parts))
        found.append(
            TaughtDecision(
                messages,
                tuple(texts[names].split("\n")),
                int(action),
                int(episode),
                texts[reasoning],
            )
        )
    return found
