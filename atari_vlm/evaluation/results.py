"""What an evaluation gave: scores per game and over games, and what a reader must know beside them.

A *run* is one seed of one agent on one game; its score is the mean return of its episodes. Runs are what intervals are drawn
over. The share of fallbacks (decisions that the model did not make) stands beside every score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.games import game as known_game
from atari_vlm.games import game_names
from atari_vlm.scores.statistics import (
    Estimate,
    aggregate,
    aggregates,
    few_runs_note,
    human_normalise,
)


@dataclass(frozen=True)
class Run:
    """What one agent reached on one game with one seed; ``cost_usd`` and counts of tokens are ``None`` when unknown.

    ``cut`` of its episodes ended at a limit of steps before the game was over. Calls, tokens, dollars and ``latency_s`` (mean
    seconds of a reply) are those of the evaluation and of the training episodes before it. ``model_served``: what the replies
    say. ``factor`` and ``condition`` are of an ablation. ``normalises``: its protocol has references.
    """

    game: str
    agent: str
    seed: int
    returns: tuple[float, ...]
    steps: int
    fallbacks: float
    cost_usd: float | None
    cut: int = 0
    model: str = ""
    model_served: str = ""
    base_url: str = ""
    calls: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    latency_s: float = 0.0
    factor: str = ""
    condition: Any = None
    normalises: bool = True

    def __post_init__(self) -> None:
        if not self.returns:
            raise ConfigError(
                f"the run of {self.agent} on {self.game} with seed {self.seed} holds no episode"
            )

    @property
    def score(self) -> float:
        """Mean return of the episodes."""
        return float(np.mean(self.returns))

    @property
    def normalised(self) -> float | None:
        """The human-normalised score; ``None`` outside the Atari-57 reference, whose games are whole, and for cut episodes."""
        return (
            float(human_normalise(self.game, self.score))
            if self.normalises and has_reference(self.game) and not self.cut
            else None
        )

    def as_row(self) -> dict[str, Any]:
        """The run under the columns of results.csv; an ablation's with its factor and condition besides."""
        row = {
            "game": self.game,
            "agent": self.agent,
            "model": self.model,
            "model_served": self.model_served,
            "base_url": self.base_url,
            "seed": self.seed,
            "episodes": len(self.returns),
            "score": self.score,
            "human_normalised": self.normalised,
            "truncated": self.cut,
            "steps": self.steps,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "fallback_rate": fallback_rate([self]),
            "cost_usd": self.cost_usd,
        }
        ablated = {"factor": self.factor, "condition": self.condition} if self.factor else {}
        return {**row, **ablated}


@dataclass(frozen=True)
class Results:
    """Runs with the conditions they were made under; ``command`` repeats them.

    ``ablation`` holds the runs under an ablation's conditions, ``bases`` the study's own value of each factor, by agent.
    ``protocol`` and ``agent_facts`` are plain data, as results.json has them.
    """

    runs: tuple[Run, ...]
    conditions: tuple[tuple[str, str], ...] = ()
    command: str = ""
    notes: tuple[str, ...] = field(default=())
    ablation: tuple[Run, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    agent_facts: tuple[Mapping[str, Any], ...] = ()
    bases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def games(self) -> list[str]:
        """The games in order of appearance."""
        return list(dict.fromkeys(run.game for run in self.runs))

    @property
    def agents(self) -> list[str]:
        """The agents in order of appearance."""
        return list(dict.fromkeys(run.agent for run in self.runs))

    def of(self, game: str, agent: str) -> list[Run]:
        """The runs of one agent on one game."""
        return [run for run in self.runs if (run.game, run.agent) == (game, agent)]


@dataclass(frozen=True)
class GameScore:
    """One line of the table per game. ``normalised`` is ``None`` outside the Atari-57 reference and for cut episodes."""

    game: str
    agent: str
    score: Estimate
    normalised: Estimate | None
    runs: int
    episodes: int
    fallback_rate: float
    cost_usd: float | None


@dataclass(frozen=True)
class AgentScore:
    """One line of the table over games: human-normalised aggregates over ``games``."""

    agent: str
    games: tuple[str, ...]
    aggregates: dict[str, Estimate]
    fallback_rate: float
    cost_usd: float | None


def game_scores(results: Results) -> list[GameScore]:
    """Every agent on every game it has runs of."""
    return [
        _game_score(game, agent, results.of(game, agent))
        for game in results.games
        for agent in results.agents
        if results.of(game, agent)
    ]


def agent_scores(results: Results) -> list[AgentScore]:
    """Every agent over the games that are in the reference and that all agents have runs of; empty if there are none."""
    shared = [
        game
        for game in results.games
        if has_reference(game)
        and game not in cut_games(results)
        and all(run.normalises for run in results.runs)
        and all(results.of(game, a) for a in results.agents)
    ]
    if not shared:
        return []
    lines = []
    for agent in results.agents:
        runs = [run for game in shared for run in results.of(game, agent)]
        scores = {
            game: [float(human_normalise(game, run.score)) for run in results.of(game, agent)]
            for game in shared
        }
        lines.append(
            AgentScore(agent, tuple(shared), aggregates(scores), fallback_rate(runs), _cost(runs))
        )
    return lines


def cut_games(results: Results) -> list[str]:
    """The games of which an agent has cut episodes: no human-normalised number is made of them."""
    return [
        game for game in results.games if any(run.cut for run in results.runs if run.game == game)
    ]


def all_notes(results: Results) -> list[str]:
    """What a reader must know beside the numbers."""
    notes = list(results.notes)
    outside = [game for game in results.games if not has_reference(game)]
    if any(not run.normalises for run in results.runs):
        notes.append("The protocol has no human reference, so raw scores only.")
    elif outside:
        notes.append(
            f"Not in the Atari-57 human reference, so raw scores only: {', '.join(outside)}."
        )
    cut = cut_games(results)
    if cut:
        notes.append(
            f"Cut episodes have no human-normalised score, the reference's are whole: {', '.join(cut)}."
        )
    incomplete = [
        game
        for game in results.games
        if any(not results.of(game, agent) for agent in results.agents)
    ]
    if incomplete:
        notes.append(
            f"Not played by every agent yet, so left out over games: {', '.join(incomplete)}."
        )
    if results.runs:
        lines = {
            f"{s.game} {s.agent}": [r.score for r in results.of(s.game, s.agent)]
            for s in game_scores(results)
        }
        notes.append(few_runs_note(lines))
    return [note for note in notes if note]


def _game_score(game: str, agent: str, runs: list[Run]) -> GameScore:
    scores = np.array([[run.score] for run in runs])  # (runs, 1)
    whole = all(run.normalised is not None for run in runs)
    return GameScore(
        game=game,
        agent=agent,
        score=aggregate(scores, "mean"),
        normalised=aggregate(human_normalise(game, scores), "mean") if whole else None,
        runs=len(runs),
        episodes=sum(len(run.returns) for run in runs),
        fallback_rate=fallback_rate(runs),
        cost_usd=_cost(runs),
    )


def has_reference(game: str) -> bool:
    """Whether human-normalised scores of a game can be made."""
    return game in game_names() and known_game(game).human_score is not None


def fallback_rate(runs: Sequence[Run]) -> float:
    """The share of the runs' decisions that the model did not make."""
    return sum(run.fallbacks for run in runs) / max(1, sum(run.steps for run in runs))


def _cost(runs: Sequence[Run]) -> float | None:
    costs = [run.cost_usd for run in runs]
    return None if None in costs else float(sum(cost for cost in costs if cost is not None))
