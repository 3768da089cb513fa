"""Numbers that the teacher names are read off the model's states by linear layers that are thrown away afterwards.

An answer is a bit or two, and it tells little about where to look. The teacher's words hold the numbers that it decided by:
``Ball at x=40, y=162; paddle at x=16``. Two linear layers predict them, and whether they are named at all: one from the mean of
the newest picture's tokens alone, and one from the state behind the whole prompt, which the answer is read from too (auxiliary
losses near what is to be learned: Lee et al. 2015, arXiv 1409.5185). What the mean of a picture's tokens tells, a head that
attends to that picture at all hands on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import TuningLearner
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.types import Message
from atari_vlm.world_models.learned.arrays import optimizer_arrays, restore_optimizers

_NUMBER = re.compile(r"-?\d+")
_CLAUSES = re.compile(r"[;,:.]")
_FIRST = "|0"  # ends the name of a clause's first number
_MOST = 256  # columns: two for each kind of number, the second in use for a clause's first
_CLOSE = 0.1  # spreads: from here on an error counts by its size, and nearer by its square
_LEAST_SPREAD = {"number": 1.0, "presence": 0.5}


def named_numbers(decision: TaughtDecision) -> dict[str, float]:
    """The numbers in the teacher's words; each is called by the game's instructions and the clause that it stands in."""
    found: dict[str, float] = {}
    seen = Counter[str]()
    for clause in _CLAUSES.split(decision.reasoning):
        words = _NUMBER.sub("#", clause.strip())
        for number in _NUMBER.findall(clause):
            found[f"{decision.messages[0].text}|{words}|{seen[words]}"] = float(number)
            seen[words] += 1
    return found


class Places:
    """The two layers, their optimizer, and the mean and spread of every kind of number so far.

    For every clause of its game with numbers a decision has another one: 1 where the clause is said and 0 where it is not.
    :meth:`note` must hear all decisions in the order of play.
    """

    def __init__(self, base: Base, seed: int):
        width = base.network.config.text_config.hidden_size
        self._base = base
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._layers = nn.ModuleDict(
                {name: nn.Linear(width, _MOST) for name in ("state", "picture")}
            )
        self._optimizer = torch.optim.AdamW(self._layers.parameters(), weight_decay=0.0, fused=True)
        self._columns: dict[str, int] = {}
        self._kinds: dict[str, list[str]] = {}  # of each game's instructions
        self._sums = np.zeros((_MOST, 3))  # how many, their sum, the sum of their squares
        self._least = np.ones(_MOST)  # spread

    def note(self, decisions: Sequence[TaughtDecision]) -> None:
        """Take the numbers of new decisions into the means and spreads."""
        for decision in decisions:
            for name in named_numbers(decision):
                self._know(decision.messages[0].text, name)
            for column, value in self._wanted(decision):
                self._sums[column] += (1.0, value, value * value)

    def _know(self, game: str, name: str) -> None:
        if name in self._columns or len(self._columns) + 2 > _MOST:
            return
        self._kinds.setdefault(game, []).append(name)
        for key, least in (
            (name, _LEAST_SPREAD["number"]),
            (f"{name}?", _LEAST_SPREAD["presence"]),
        ):
            self._columns[key] = len(self._columns)
            self._least[self._columns[key]] = least

    def _wanted(self, decision: TaughtDecision) -> Iterator[tuple[int, float]]:
        """Columns and what is to be told there."""
        named = named_numbers(decision)
        for name in self._kinds.get(decision.messages[0].text, ()):
            if name.endswith(_FIRST):
                yield self._columns[f"{name}?"], float(name in named)
            if name in named:
                yield self._columns[name], named[name]

    def look(self, learner: TuningLearner, batch: Sequence[TaughtDecision]) -> dict[str, float]:
        """One update of what sees: the numbers from the newest picture of each decision, by itself."""
        rate = learner.begin()
        shown = [Message("user", (d.messages[-1].images[-1],)) for d in batch]
        pieces = [piece for message in shown for piece in self._base.encoder.pieces([message])]
        tensors = {
            name: torch.from_numpy(np.concatenate([piece.tensors[name] for piece in pieces]))
            for name in pieces[0].tensors
        }
        seen = self._base.network.get_image_features(**tensors).pooler_output
        loss = self._loss("picture", torch.stack([part.mean(0) for part in seen]), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = learner.step(float(loss.detach()))
        self._step(rate)
        return {"look": float(loss.detach()), "norm": norm}

    def answer(
        self, learner: TuningLearner, batch: Sequence[TaughtDecision], *, joined: bool
    ) -> dict[str, float]:
        """One update: the answer, and the numbers from the state it is read from.

        Unless ``joined``, what sees stays as it is, and the rest learns to read it. The decisions are of one game, so that they
        are read in one pass.
        """
        rate = learner.begin()
        with _eyes(learner, learn=joined):
            scores, states = learner.states(batch)
        taken = [-torch.log_softmax(row, 0)[d.action] for row, d in zip(scores, batch, strict=True)]
        chosen, placed = torch.stack(taken).mean(), self._loss("state", states, batch)
        total = chosen + placed
        total.backward()  # type: ignore[no-untyped-call]
        norm = learner.step(float(total.detach()))
        self._step(rate)
        right = np.mean([int(r.argmax()) == d.action for r, d in zip(scores, batch, strict=True)])
        return {
            "loss": float(chosen.detach()),
            "accuracy": float(right),
            "places": float(placed.detach()),
            "norm": norm,
            "learning_rate": rate,
        }

    def _loss(self, layer: str, read: Tensor, batch: Sequence[TaughtDecision]) -> Tensor:
        """Mean Huber loss over the numbers of a batch, each in units of its spread; ``read`` is ``(B, D)``."""
        found = [
            (row, column, value)
            for row, decision in enumerate(batch)
            for column, value in self._wanted(decision)
        ]
        if not found:
            return read.sum() * 0
        rows, columns, values = (np.array(part) for part in zip(*found, strict=True))
        count, total, squares = self._sums[columns].T
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, self._least[columns] ** 2))
        wanted = torch.from_numpy((values - mean) / spread).to(read)
        told = self._layers[layer](read)[torch.from_numpy(rows), torch.from_numpy(columns)]
        return functional.smooth_l1_loss(told, wanted, beta=_CLOSE)

    def _step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def arrays(self) -> dict[str, np.ndarray]:
        """The layers and their optimizer, for a checkpoint; means and spreads come from the decisions again."""
        kept = {f"places.{name}": p.detach().numpy() for name, p in self._layers.named_parameters()}
        return {**kept, **optimizer_arrays({"places": self._optimizer})}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """The inverse of :meth:`arrays`."""
        with torch.no_grad():
            for name, weight in self._layers.named_parameters():
                weight.copy_(torch.from_numpy(arrays[f"places.{name}"]))
        restore_optimizers({"places": self._optimizer}, arrays)


@contextmanager
def _eyes(learner: TuningLearner, *, learn: bool) -> Iterator[None]:
    """What is computed within the block has gradients in the vision transformer only to ``learn``."""
    eyes = [weight for name, weight in learner.weights.items() if ".visual." in name]
    for weight in eyes:
        weight.requires_grad_(learn)
    try:
        yield
    finally:
        for weight in eyes:
            weight.requires_grad_(True)
