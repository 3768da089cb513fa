"""Training on several processes (``torchrun``): each draws a part of every batch, gradients are summed, weights stay equal.

Rank 0 alone plays, evaluates and writes the run's folder; it sends the steps that it played to the others, which keep them in
memory. So that nothing hangs on bit-equal play: with every rank playing by itself, one different rounding of one device would
make replays differ unseen. A checkpoint is that of a single process and the random streams of the other ranks; a run may go on
with another number of processes (then with fresh streams for those).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, distributed, nn

from atari_vlm.errors import ConfigError, MismatchError, RunError

_GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited")  # gloo, NCCL
PATIENCE = datetime.timedelta(hours=24)  # the others wait while rank 0 evaluates


class Team:
    """The ranks of a run; this one is alone, so everything it does is nothing."""

    rank, size = 0, 1

    def share(self, batch: int) -> int:
        """How many rows of a batch are this rank's; ``ConfigError`` for a batch that cannot be shared evenly."""
        if batch % self.size:
            raise ConfigError(f"{self.size} processes cannot share a batch of {batch} evenly")
        return batch // self.size

    def part(self, rows: int) -> slice:
        """Which of so many rows are this rank's: neighbours, as even as it goes, none where there are fewer rows than ranks."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, element by element."""
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """All ranks' rows ``(n, ...)`` one after the other, in the order of the ranks; n may differ."""
        return tensor

    def from_first(self, tensor: Tensor) -> Tensor:
        """Rank 0's tensor; the others give one of the same shape and type."""
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return bool(self.sum(torch.tensor([int(flag)])).item())

    def sum_values(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum over the ranks of each value."""
        if self.size == 1:
            return dict(values)
        total = self.sum(torch.tensor(list(values.values()), dtype=torch.float64))
        return dict(zip(values, total.tolist(), strict=True))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their sum over the ranks: losses are parts of the whole batch's."""
        if self.size > 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            total = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = total.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def check_equal(self, arrays: Mapping[str, np.ndarray], what: str = "the weights") -> None:
        """Raise ``MismatchError``, which names ``what`` they are, on every rank unless all have the same arrays."""
        if self.size > 1:
            sha = hashlib.sha256()
            for name in sorted(arrays):
                sha.update(np.ascontiguousarray(arrays[name]).tobytes())
            gathered = self.gather(
                torch.frombuffer(bytearray(sha.digest()), dtype=torch.uint8)[None]
            )
            if len(gathered.unique(dim=0)) > 1:
                words = [bytes(row.tolist()).hex()[:8] for row in gathered]
                raise MismatchError(
                    f"{what} differ between the processes of the run (SHA-256 {', '.join(words)})"
                )


class Ranks(Team):
    """The processes that ``torchrun`` started, joined already."""

    def __init__(self) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def sum(self, tensor: Tensor) -> Tensor:
        """As :meth:`Team.sum`; collective: every rank calls it, as all below."""
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        """As :meth:`Team.gather`."""
        counts = [torch.zeros(1, dtype=torch.int64, device=tensor.device) for _ in range(self.size)]
        distributed.all_gather(counts, torch.tensor([len(tensor)], device=tensor.device))
        rows = [int(count) for count in counts]
        padded = torch.zeros(
            (max(rows), *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device
        )
        padded[: len(tensor)] = tensor
        gathered = [torch.empty_like(padded) for _ in rows]
        distributed.all_gather(gathered, padded)
        return torch.cat([part[:n] for part, n in zip(gathered, rows, strict=True)])

    def from_first(self, tensor: Tensor) -> Tensor:
        """As :meth:`Team.from_first`."""
        given = tensor.clone()
        distributed.broadcast(given, 0)
        return given


@contextlib.contextmanager
def open_team() -> Iterator[Team]:
    """The ranks that ``torchrun`` started this process among; alone where it did not.

    Tensors on the CPU go through gloo, those on CUDA devices through NCCL.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Ranks()
    except RuntimeError as error:
        if not any(words in str(error) for words in _GONE):
            raise
        raise RunError(
            "another process of the run has ended, so this one does; what it said tells why"
        ) from error
    distributed.barrier()  # leave together; not after an error: the others may never come to it
    distributed.destroy_process_group()


def device_of_rank(name: str) -> str:
    """``cuda``, and ``auto`` where that is CUDA, is each rank's own device, for the processes of one machine."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return name
    own = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{os.environ['LOCAL_RANK']}" if own else name


def processes_on(device: str) -> int:
    """How many processes of a run compute on this one's device: those of one machine share its CPU."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device == "cpu" else 1


def text_from_first(team: Team, text: str) -> str:
    """Rank 0's text."""
    raw = np.frombuffer(text.encode(), np.uint8) if team.rank == 0 else np.zeros(0, np.uint8)
    return bytes(team.gather(torch.from_numpy(raw.copy())).tolist()).decode()
