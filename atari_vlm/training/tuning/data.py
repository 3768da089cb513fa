"""What is learned from: a teacher's decisions, as the model that learns would be asked for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atari_vlm.errors import StoppedError, check_count
from atari_vlm.runs.game_names import parse_games
from atari_vlm.training.tuning.bases import Base, open_base
from atari_vlm.training.tuning.lessons import TeachingConfig
from atari_vlm.training.tuning.sources import played_episodes
from atari_vlm.training.tuning.teaching import TaughtDecision

_EPISODES = 8  # of a teacher that plays, where nobody says how many


@dataclass(frozen=True)
class TuningDecision:
    """One decision as training sees it: ``token_ids`` of the prompt as played, ``action`` the index of the teacher's choice."""

    token_ids: tuple[int, ...]
    action: int
    episode: int = 0


def decisions(
    source: str | Path,
    *,
    base: str,
    model: str,
    game: str,
    prompt_type: str,
    limit: int | None = None,
) -> list[TuningDecision]:
    """The decisions of ``source`` in the order of the run, with the token ids that ``model``, of the family ``base``, reads.

    ``source`` is what ``--from`` takes: ``scripted``, ``mcts@emulator``, ``minari:ID``, a run folder; ``limit`` takes so many and
    no more. Pictures, facts, examples and history are laid out by the agent that plays, so the ids equal those of play. Raises
    ``ConfigError`` for a source that is none, an empty run, or another game than the run's.
    """
    if limit is not None:
        check_count(limit=limit)
    config = TeachingConfig(
        prompt_type=prompt_type, episodes=_EPISODES, held_out=1, explore=0.0, best=1.0
    )
    kept: list[TaughtDecision] = []
    try:
        for _ in played_episodes(source, parse_games(game), config, _until(limit, kept)):
            pass
    except StoppedError:  # enough
        pass
    with open_base(base, model, seed=0) as opened:
        return [tuning_decision(opened, decision) for decision in kept]


def tuning_decision(base: Base, decision: TaughtDecision) -> TuningDecision:
    """A decision with its prompt's tokens."""
    ids = tuple(base.encoder.encode(decision.messages).ids.tolist())
    return TuningDecision(ids, decision.action, decision.episode)


def _until(limit: int | None, kept: list[TaughtDecision]) -> Callable[[TaughtDecision], None]:
    def keep(decision: TaughtDecision) -> None:
        if len(kept) == limit:
            raise StoppedError("enough decisions")
        kept.append(decision)

    return keep
