"""What a search is made with: its method, the method's constants, what it may cost."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from atari_vlm.errors import (
    ConfigError,
    UnknownNameError,
    check_count,
    check_positive,
    check_temperature,
)
from atari_vlm.vlm.base import check_drawing
from atari_vlm.vlm.layers.cache import CacheMode

Method = Literal["gif-mcts", "worldcoder", "zero-shot", "best-of-n"]
Preset = Literal["paper", "code"]
Scorer = Literal["paper", "code", "tolerant"]
Feedback = Literal["first", "diverse"]
Prior = tuple[float, int]  # an average value, and how many results it counts as
EXECUTION = ("budget_usd", "max_calls", "max_tokens", "cache", "cache_mode", "unsafe_local_code")


@dataclass(frozen=True)
class SearchConfig:
    """How programs are searched for. Every constant is an option; the defaults are those of GIF-MCTS (arXiv 2405.15383).

    ``budget`` is simulations, each one call of the writer; ``parallel`` of them are in flight at once. ``preset`` decides three
    things alone: how the partial program grows (``paper``: ``node_lines`` lines a level; ``code``: an empty first line is
    counted, so 4, 7, 10 ... lines), what the learned priors are trained on (``paper``: the siblings before the new result;
    ``code``: the new child among them, as 0), and whether a dead node can be asked again (``code``).

    ``scorer`` names how a program's predictions are compared; ``held_out`` is the share (0 up to, not including, 1) of the
    transitions that no choice depends on and that the result is reported by. ``feedback`` chooses the mispredicted transition
    that the writer is shown: the ``first``, or ``diverse`` ones (each field and each reward in turn).

    ``exploration`` (C), ``eps`` and ``discount`` (gamma) are those of the tree's selection rule; ``fixes`` are tried on a program
    that raises, 0 switches them off, as ``allow_generate`` and ``allow_improve`` do for the other actions. A prior is the value
    of an action nobody has tried, and the number of results it counts as. ``beta`` (C) weighs scores in WorldCoder's Beta
    distributions; with ``select_sequential`` it always refines the newest program.

    ``replay_verify``: a program is accepted only if it replays every transition, the held-out ones too; ``simplify`` calls at
    most ask for a shorter program that is equal. ``start`` is a program to begin with (GIF-MCTS and WorldCoder); it is judged
    without a call and becomes the root, or the first program. ``description`` stands in for the environment's own in the prompts.
    ``reply_tokens``, ``temperature``, ``top_p`` and ``top_k`` go to the writer (``None``: its own default). The limits stop the
    search with ``BudgetExhaustedError``; ``cache`` is a reply cache shared between runs. ``unsafe_local_code`` runs programs in
    this process instead of the sandbox.
    """

    method: Method = "gif-mcts"
    budget: int = 50
    seed: int = 0
    parallel: int = 1
    preset: Preset = "paper"
    scorer: Scorer = "tolerant"
    held_out: float = 0.2
    feedback: Feedback = "first"
    exploration: float = 0.1
    discount: float = 1.0
    eps: float = 1.0
    node_lines: int = 2
    fixes: int = 3
    prior_generate: Prior = (0.5, 2)
    prior_fix: Prior = (0.5, 2)
    prior_improve: Prior = (0.55, 2)
    allow_generate: bool = True
    allow_improve: bool = True
    select_sequential: bool = False
    beta: float = 5.0
    reply_tokens: int = 4096
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    replay_verify: bool = False
    simplify: int = 0
    deadline_s: float = 2.0
    description: str | None = None
    start: str | None = None
    budget_usd: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    cache: Path | None = None
    cache_mode: CacheMode = "readwrite"
    unsafe_local_code: bool = False

    def __post_init__(self) -> None:
        """Raise ``ConfigError`` (``UnknownNameError`` for a word) for the first option that cannot be."""
        for name, kind in (
            *(("method", Method), ("preset", Preset), ("scorer", Scorer)),
            *(("feedback", Feedback), ("cache_mode", CacheMode)),
        ):
            if getattr(self, name) not in get_args(kind):
                raise UnknownNameError(name, getattr(self, name), get_args(kind))
        check_count(
            budget=self.budget,
            parallel=self.parallel,
            node_lines=self.node_lines,
            reply_tokens=self.reply_tokens,
        )
        check_positive(eps=self.eps, beta=self.beta, deadline_s=self.deadline_s)
        self._check_numbers()
        if not (self.allow_generate or self.allow_improve):
            raise ConfigError("a search needs generate or improve: do not switch both off")
        if self.start is not None and self.method not in ("gif-mcts", "worldcoder"):
            raise ConfigError(
                f"{self.method} begins with nothing: leave start out, or use gif-mcts or worldcoder"
            )

    def _check_numbers(self) -> None:
        for name in ("seed", "fixes", "simplify"):
            if (
                isinstance(value := getattr(self, name), bool)
                or not isinstance(value, int)
                or value < 0
            ):
                raise ConfigError(f"{name} must be a whole number of at least 0, got {value!r}")
        if self.seed >= 2**32:
            raise ConfigError(f"seed must be below 2**32, got {self.seed!r}")
        if not 0.0 <= self.held_out < 1.0:
            raise ConfigError(f"held_out is a share from 0 up to below 1, got {self.held_out!r}")
        for name in ("exploration", "discount"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} is 0 or a finite number above, got {getattr(self, name)!r}"
                )
        for name in ("prior_generate", "prior_fix", "prior_improve"):
            _check_prior(name, getattr(self, name))
        if self.temperature is not None:
            check_temperature(temperature=self.temperature)
        check_drawing(self.top_p, self.top_k)

    def settings(self) -> dict[str, Any]:
        """What the result depends on, as plain data; the program to begin with by the SHA-256 of its text."""
        values = dataclasses.asdict(self)
        if self.start is not None:
            values["start"] = hashlib.sha256(
                self.start.encode("utf-8", "surrogatepass")
            ).hexdigest()
        return {name: value for name, value in values.items() if name not in EXECUTION}

    def execution(self) -> dict[str, Any]:
        """What it does not depend on: limits and cache."""
        return {name: getattr(self, name) for name in EXECUTION}


def _check_prior(name: str, prior: Prior) -> None:
    if len(prior) != 2 or not 0.0 <= prior[0] <= 1.0 or isinstance(prior[1], bool) or prior[1] < 1:
        raise ConfigError(f"{name} is a value from 0 to 1 and a count of at least 1, got {prior!r}")
