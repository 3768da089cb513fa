"""Sequences of the replay as a Dreamer reads them: on arrival, with the action, reward and end that led there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from atari_vlm.experience.columns import Column
from atari_vlm.experience.replay import Replay
from atari_vlm.experience.segments import Segments
from atari_vlm.world_models.dreamer.cores.base import VectorCore
from atari_vlm.world_models.dreamer.networks import Networks
from atari_vlm.world_models.dreamer.rssm import Latent

_H, _Z = "latent_h", "latent_z"


@dataclass(frozen=True)
class Batch:
    """B sequences of T observations, which may cross the ends of episodes.

    ``inputs`` ``(B, T, ...)`` by name; before each the code of the action ``actions`` ``(B, T, A)`` and ``rewards`` ``(B, T)``.
    Bool ``(B, T)``: ``reset``, an episode begins here (or the sequence, where nothing is known of the step before);
    ``terminal`` and ``last``, it ends here, on arrival, or is cut. ``latent`` is where the sequence goes on from. ``ids``
    ``(B, T, K)`` is what is said, where texts are read; these are not among the inputs.
    """

    inputs: dict[str, Tensor]
    actions: Tensor
    rewards: Tensor
    reset: Tensor
    terminal: Tensor
    last: Tensor
    latent: Latent
    slots: np.ndarray
    ids: Tensor | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, to be looked at."""
        names = ("actions", "rewards", "reset", "terminal", "last", "ids")
        named = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        kept = {**{f"inputs/{name}": values for name, values in self.inputs.items()}, **named}
        return {
            "slots": self.slots,
            **{name: values.cpu().numpy() for name, values in kept.items()},
        }


def latent_columns(networks: Networks, context: int) -> dict[str, Column]:
    """What is kept of the latent of every step: h in half precision, and 1 + the class of each group of z (0: not known).

    Nothing without a context, or where the core's state is more than its output: a sequence then begins from nothing.
    """
    config = networks.config
    if not context or not isinstance(networks.rssm.core, VectorCore):
        return {}
    classes = "uint8" if config.classes < 256 else "int16"
    return {
        _H: Column((config.deter,), "float16", on_disk=True, written_back=True),
        _Z: Column((config.groups,), classes, written_back=True),
    }


def read_batch(replay: Replay, segments: Segments, networks: Networks, device: str) -> Batch:
    """Sequences of T + 1 rows, of which the first one only says what led to the second."""
    before, now = segments.slots[:, :-1], segments.slots[:, 1:]

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    reset = tensor(segments.is_first[:, 1:])
    latent, known = _kept_latent(replay, before[:, 0], networks, device)
    ids = _ids(replay, segments, networks)
    if ids is not None:
        latent = replace(latent, language={"ids": ids[:, 0]})
    reset[:, 0] |= ~known
    played = networks.code.from_zero(replay.read("action", before))
    rewards = tensor(replay.read("reward", before)).masked_fill(reset, 0.0)
    terminal = tensor(replay.read("terminated", now))
    return Batch(
        {name: tensor(replay.read(name, now)) for name in networks.keys.seen},
        networks.code.encode(tensor(played)),
        rewards,
        reset,
        terminal,
        terminal | tensor(replay.read("truncated", now)),
        latent,
        now,
        None if ids is None else ids[:, 1:],
    )


def _ids(replay: Replay, segments: Segments, networks: Networks) -> Tensor | None:
    """What is said at every row of sequences, ``(B, T + 1, K)``; what was begun before them goes on in them."""
    words, names = networks.words, networks.keys.texts
    if words is None:
        return None
    texts = {name: replay.read(name, segments.slots) for name in names}
    if words.at_once:
        return words.read(texts, segments.is_first)
    earlier = [
        {name: replay.read(name, slots) for name in names}
        for slots in replay.earlier(segments.slots[:, 0])
    ]
    return words.read(texts, segments.is_first, words.recall(earlier))


def _kept_latent(
    replay: Replay, slots: np.ndarray, networks: Networks, device: str
) -> tuple[Latent, Tensor]:
    """What is kept of the latents of steps ``(B,)``, and which of them are known."""
    if _H not in replay.columns:
        return networks.rssm.begin(len(slots)), torch.zeros(
            len(slots), dtype=torch.bool, device=device
        )
    h = torch.from_numpy(replay.read(_H, slots)).to(device).float()
    counted = torch.from_numpy(replay.read(_Z, slots)).to(device).long()
    known = counted[:, 0] > 0
    z = functional.one_hot((counted - 1).clamp(min=0), networks.config.classes).float().flatten(1)
    return Latent({"h": h}, h, z), known


def write_latents(replay: Replay, slots: np.ndarray, h: Tensor, z: Tensor, groups: int) -> None:
    """Keep the latents ``(B, T, .)`` of steps with them, where the replay has room for it."""
    if _H not in replay.columns:
        return
    classes = z.detach().unflatten(-1, (groups, -1)).argmax(-1) + 1
    kind = np.dtype(replay.columns[_Z].dtype)
    replay.write(_H, slots, h.detach().to(torch.float16).cpu().numpy())
    replay.write(_Z, slots, classes.cpu().numpy().astype(kind))
