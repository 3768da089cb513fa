"""Speed and memory of one-pass PPO (``tune rl``) on a CPU core beside TRL's GRPO, which generates (``--peer trl=P/bin/python``).

Both train all weights of the small Qwen3-VL that ``tune --model new`` begins with. How the two are held beside each other is in
:mod:`~atari_vlm.bench.pairs`. In ``turns`` both decide and learn from the same prompts of recorded play, a turn each, which is
the least work that GRPO can do, or with the tokens of a short thought before TRL's answers; in ``games`` each plays Pong as it
does: ours side by side, TRL with its tool loop, the whole episode in one context.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from atari_vlm.bench.measure import NO_PEER, Case, Unit
from atari_vlm.bench.pairs import Pair, Peer
from atari_vlm.bench.worker import HERE
from atari_vlm.errors import UnknownNameError

TRL = Peer("trl", "TRL", "1.16.0", ("torch", "transformers"), ("atari-vlm",))
SIDES = {"ours": HERE / "tune_ours.py", "trl": HERE / "tune_trl.py"}
GOAL = 10.0
GROUP = 2  # answers to one prompt: the fewest that GRPO takes
Form = Literal["turns", "games"]
_PEAK = "of the whole process by the end of its updates"
_SAME = (
    "{rows} rows of two pictures and about 205 tokens from play of AtariVLM/Pong-v5; tokens, pixels and numbers of parameters "
    "equal on both sides (checked), weights too, float32. TRL: two answers to a prompt, the fewest that GRPO takes (its default "
    "is 8), each counted as a decision; no more tokens than the longest legal answer and its end; transformers' generate, no "
    "reference model, no gradient checkpointing; its loop around a step (data loader, log) is left out. Ours also computes the "
    "value head, and meets new pictures each time"
)
_THOUGHTS = (
    "as above, but TRL's answers have {thought} tokens more, as those of a model that thinks before it answers; ours decides "
    "without a thought"
)
_DECIDED = "ours scores all legal answers and draws one, TRL draws token by token and may say what is no action"
_GAMES = (
    "{episodes} episodes of {steps} decisions of AtariVLM/Pong-v5, emulator included, then an update on all of them. Ours: every "
    "decision a request of two pictures. TRL: `integrations.trl.environment_factory`, a picture a turn, the episode one "
    "conversation. An untrained model writes no tool calls, so TRL generates as many tokens as the shortest call has with this "
    "model's tokenizer (50; a large model's has about half), and the call is put in their place"
)


@dataclass(frozen=True)
class Tuning:
    """What both sides do: ``rows`` decisions in a step; in ``games`` those of ``rows / steps`` episodes of ``steps`` decisions.

    ``thought`` tokens stand before an answer of TRL's where it thinks.
    """

    form: Form
    rows: int = 8
    steps: int = 4
    thought: int = 64
    group: int = GROUP


def cases(peers: dict[str, str]) -> list[Case]:
    """Decisions, updates, both, and memory, of given prompts and of whole games."""
    for name in peers:
        if name != TRL.word:
            raise UnknownNameError("peer of bench tune", name, (TRL.word,))
    python = peers.get(TRL.word)
    if python is not None:
        TRL.check(python)
    games = [Tuning("games", rows=2 * steps, steps=steps) for steps in (4, 16, 64)]
    each = (Tuning("turns"), *games)
    return [case for tuning in each for case in rows_of(TuningPair(tuning, python))]


class TuningPair(Pair):
    """Both sides of one form. Our side puts model and prompts into a folder, from which the peer reads them."""

    def __init__(self, tuning: Tuning, python: str | None, sides: Mapping[str, Path] = SIDES):
        super().__init__(TRL, asdict(tuning), python, sides)
        self.tuning = tuning

    def __enter__(self) -> Pair:
        self._folder = tempfile.TemporaryDirectory(prefix="atari-vlm-bench-tune-")
        self.spec = {**asdict(self.tuning), "folder": self._folder.name}
        try:
            return super().__enter__()
        except BaseException:
            self._folder.cleanup()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()


def _case(
    pair: TuningPair, what: str, amount: Callable[[str], float], note: str, **options: Any
) -> Case:
    peer: Unit = functools.partial(amount, TRL.word)
    given = pair.python is not None
    return Case(
        what,
        f"TRL {TRL.version}, GRPO" if given else NO_PEER,
        functools.partial(amount, "ours"),
        peer if given else None,
        note=note,
        told=True,
        scope=pair,
        **options,
    )


def rows_of(pair: TuningPair) -> list[Case]:
    """The cases of a pair."""
    return games(pair) if pair.tuning.form == "games" else turns(pair)


def turns(pair: TuningPair) -> list[Case]:
    """The same prompts on both sides, a turn each."""
    rows = pair.tuning.rows
    same = _SAME.format(rows=rows)
    return [
        _case(pair, "given prompts: a decision", lambda side: pair.seconds(side, "decide"), f"{same}; {_DECIDED}", goal=GOAL,
              count=rows),
        _case(pair, f"given prompts: an update on {rows} decisions", lambda side: pair.seconds(side, "update"), same, goal=GOAL),
        _case(pair, f"given prompts: {rows} decisions and an update on them", lambda side: pair.seconds(side, "step"), same,
              goal=GOAL),
        _case(pair, f"given prompts: {rows} decisions and an update, TRL's with thoughts",
              lambda side: pair.seconds(side, "think"), _THOUGHTS.format(thought=pair.tuning.thought), goal=GOAL),
        _case(pair, f"given prompts: peak memory, {rows} rows", pair.peak, _PEAK, goal=None, better="lower", unit="MB"),
    ]  # fmt: skip


def games(pair: TuningPair) -> list[Case]:
    """Each plays as it does."""
    tuning = pair.tuning
    note = _GAMES.format(episodes=tuning.rows // tuning.steps, steps=tuning.steps)
    what = f"games of {tuning.steps} decisions"
    return [
        _case(pair, f"{what}: a decision played and learned from", lambda side: pair.seconds(side, "update"), note, goal=GOAL,
              count=tuning.rows),
        _case(pair, f"{what}: peak memory", pair.peak, _PEAK, goal=None, better="lower", unit="MB"),
    ]  # fmt: skip
