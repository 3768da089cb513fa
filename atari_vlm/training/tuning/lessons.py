"""What is kept of a teacher's episodes, however they come about: by play, from a run, from a data set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.settings import from_plain
from atari_vlm.training.tuning.teaching import TaughtAgent, TaughtDecision
from atari_vlm.types import Decision, Message

_LONGEST_REASONING = 600  # characters: its logits are kept beside those of the answers
Watch = Callable[[TaughtDecision], None]
Row = TypeVar("Row")
_WORDS = ("frames", "frame_layout", "turns", "turn_images", "feedback", "overlay", "scale")


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode of a teacher: its decisions in order, its game, whether it is held out, and its return."""

    game: str
    held_out: bool
    episode_return: float
    decisions: tuple[TaughtDecision, ...]


@dataclass(frozen=True)
class TeachingConfig:
    """How a source is turned into decisions.

    ``episodes`` and ``held_out`` count those of a teacher that plays, in each game; of recorded ones ``held_out`` of a hundred.
    ``best`` keeps that share of recorded episodes, those of the highest return in their game. ``explore``: share of
    random actions while a teacher plays. ``thin``: of this many decisions in a row one is kept.
    """

    prompt_type: str = "basic"
    frames: int = 2
    episodes: int = 64
    held_out: int = 16
    max_steps: int = 200
    explore: float = 0.2
    best: float = 1.0
    thin: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(episodes=self.episodes, held_out=self.held_out, max_steps=self.max_steps)
        check_count(thin=self.thin)
        if not 0 <= self.explore < 1:
            raise ConfigError(f"explore is a share from 0 to below 1, got {self.explore!r}")
        if not 0 < self.best <= 1:
            raise ConfigError(f"best is a share above 0, at most 1, got {self.best!r}")


class Lesson:
    """What is kept of one episode."""

    def __init__(
        self,
        config: TeachingConfig,
        options: VLMAgentOptions,
        watch: Watch,
        number: int,
        examples: Sequence[Message] = (),
    ):
        self._config, self._options, self._examples = config, options, examples
        self._watch, self._number, self._seen = watch, number, 0
        self.kept: list[TaughtDecision] = []

    def agent(self, teacher: Any, explore: float = 0.0) -> TaughtAgent:
        """The teacher, looked on."""
        return TaughtAgent(
            teacher,
            self._config.prompt_type,
            self._options,
            self._keep,
            examples=self._examples,
            explore=explore,
        )

    def _keep(
        self, messages: tuple[Message, ...], names: tuple[str, ...], decision: Decision
    ) -> None:
        self._seen += 1
        if (self._seen - 1) % self._config.thin:
            return
        said = "" if decision.proposal is None else decision.proposal.reasoning.strip()
        said = said[:_LONGEST_REASONING]
        taught = TaughtDecision(messages, names, int(decision.action), self._number, said)
        self._watch(taught)
        self.kept.append(taught)


def pupil_options(asked: Any, frames: int | None) -> VLMAgentOptions:
    """How the pupil is asked: as the run's agent was, where a run says so, but for scores."""
    given = {
        name: value
        for name, value in (asked if isinstance(asked, Mapping) else {}).items()
        if name in (*_WORDS, "decide_every")
    }
    if frames is not None:
        given["frames"] = frames
    options = from_plain(VLMAgentOptions, given, "the run's agent")
    if options.scale != 1 or options.overlay:
        raise ConfigError(
            "a run whose pictures were scaled or had axes cannot be learned from: its examples hold them already"
        )
    return dataclasses.replace(options, answer="scores")


def best_of(
    rows: Sequence[Row], share: float, game: Callable[[Row], str], total: Callable[[Row], float]
) -> list[Row]:
    """Of each game's episodes that share with the highest returns (the earlier of equal ones), in their order."""
    if share == 1:
        return list(rows)
    kept: set[int] = set()
    for name in {game(row) for row in rows}:
        own = [n for n, row in enumerate(rows) if game(row) == name]
        own.sort(key=lambda n: (-total(rows[n]), n))
        kept |= set(own[: max(1, round(share * len(own)))])
    return [row for n, row in enumerate(rows) if n in kept]


def held_out_of(names: Sequence[str], percent: int) -> list[bool]:
    """Whether episodes of games of these names are held out: of each game the last ``percent`` of a hundred, at least one."""
    counts, seen, found = Counter(names), Counter[str](), list[bool]()
    for name in names:
        seen[name] += 1
        found.append(seen[name] > counts[name] - max(1, round(counts[name] * percent / 100)))
    return found
