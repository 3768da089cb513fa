"""Atari 100k: published methods and own runs under one set of statistics.

Definitions as in :mod:`atari_vlm.scores.statistics` and :mod:`atari_vlm.scores.comparisons`; intervals only where single
runs are known. Pages and pictures are made elsewhere (:mod:`~atari_vlm.reporting.atari100k.page`,
:mod:`~atari_vlm.reporting.atari100k.plots`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.games import game as known_game
from atari_vlm.reporting.atari100k.own_runs import own_methods, read_runs
from atari_vlm.reporting.atari100k.run_folders import OwnRun
from atari_vlm.runs.options import UNRECORDED, Options
from atari_vlm.scores.comparisons import Profile, performance_profile, probability_of_improvement
from atari_vlm.scores.published import DEFAULT_NAMES, Method, benchmark_games, published
from atari_vlm.scores.statistics import BootstrapConfig, Estimate, aggregate, aggregates

THRESHOLDS = np.round(
    8 * np.linspace(0, 1, 161) ** 2, 4
)  # of the profiles, human-normalised: finer where most scores lie
_JUST_HUMAN = 1 - 1e-9


@dataclass(frozen=True)
class ResultsConfig(Options):
    """What is compared, and where the page goes."""

    program = "report results"

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...]")] = (
        field(default=(), metadata=UNRECORDED)
    )
    """folders of own runs (dream rem, train, plan, evaluate), each RUN or NAME=RUN; runs of one name are seeds of one method"""
    out: Path = Path("atari_vlm_results/atari100k")
    """the page is OUT.md; its numbers and plots lie in the folder OUT"""
    baselines: list[str] = field(default_factory=lambda: list(DEFAULT_NAMES))
    """published methods; there are also DreamerV3_2025 and PPO"""
    reference: str = "REM"
    """published method whose probability of improvement over each other one is shown"""
    games: list[str] = field(default_factory=lambda: list(benchmark_games()))
    """which of the 26 games"""
    confidence: float = 0.95
    """of the intervals"""
    repetitions: int = 2000
    """resamples that an interval is drawn from"""
    seed: int = 0
    """of the resamples: equal seeds, equal pages"""

    @property
    def bootstrap(self) -> BootstrapConfig:
        """How intervals are drawn; ``ConfigError`` for a confidence or a number of repetitions that is none."""
        return BootstrapConfig(self.confidence, self.repetitions, self.seed)


@dataclass(frozen=True, eq=False)
class Row:
    """One method over several games: the aggregates by metric, and how many games it plays at least as well as the human."""

    method: Method
    aggregates: dict[str, Estimate]
    superhuman: int


@dataclass(frozen=True, eq=False)
class Table:
    """Methods over the games that each of them has: best IQM first, those with published means only at the end."""

    games: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class Improvement:
    """How likely a run of ``ours`` beats one of ``theirs``, over ``games``."""

    ours: Method
    theirs: Method
    games: tuple[str, ...]
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class MethodScore:
    """Mean over the runs of one method on one game, raw and human-normalised; ``runs`` is 0 for a published mean."""

    raw: Estimate
    normalised: Estimate
    runs: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """All numbers of the page.

    ``scores``: (game, method) -> score. ``main`` is over all ``games``, each of ``others`` over those that some methods are
    limited to. ``own_elsewhere``: (game, method) -> raw score of own methods on games that are not among ``games``.
    """

    config: ResultsConfig
    games: tuple[str, ...]
    references: tuple[Method, ...]
    methods: tuple[Method, ...]
    scores: dict[tuple[str, str], MethodScore]
    main: Table
    others: tuple[Table, ...]
    profiles: dict[str, Profile]
    improvements: tuple[Improvement, ...]
    own: tuple[OwnRun, ...]
    own_elsewhere: dict[tuple[str, str], Estimate]


def compare(config: ResultsConfig) -> Comparison:
    """Read everything and compute everything.

    Raises ``ConfigError`` (``UnknownNameError``, ``MismatchError``) for games, methods and runs that cannot be compared.
    """
    bootstrap, games = config.bootstrap, _games(config.games)
    own = read_runs(config.runs)
    methods = [*_published(config), *own_methods(own)]
    _check_names(methods, own)
    references = tuple(published(name) for name in ("Random", "Human"))
    limited = dict.fromkeys(
        shared for m in methods if 0 < len(shared := _shared(m, games)) < len(games)
    )
    return Comparison(
        config=config,
        games=games,
        references=references,
        methods=tuple(methods),
        scores=_game_scores([*references, *methods], games, bootstrap),
        main=_table([m for m in methods if m.has(games)], games, bootstrap),
        others=tuple(
            _table(_fellows(methods, shared, games), shared, bootstrap) for shared in limited
        ),
        profiles={
            m.name: performance_profile(m.normalised(games), THRESHOLDS, bootstrap)
            for m in methods
            if m.has(games) and not m.means_only
        },
        improvements=tuple(_improvements(methods, games, config)),
        own=tuple(own),
        own_elsewhere={
            (name, m.name): _mean(np.array(runs), bootstrap)
            for m in methods
            if m.kind == "own"
            for name, runs in m.scores.items()
            if name not in games
        },
    )


def _games(names: Sequence[str]) -> tuple[str, ...]:
    """Plain names of games of the benchmark, each once, sorted."""
    games = sorted({known_game(name).name for name in names})
    if not games:
        raise ConfigError("give at least one game")
    for name in games:
        if name not in benchmark_games():
            raise UnknownNameError("game of Atari 100k", name, benchmark_games())
    return tuple(games)


def _published(config: ResultsConfig) -> list[Method]:
    names = [
        name for name in config.baselines if name not in ("Random", "Human")
    ]  # these two stand in every table
    for name in config.baselines:
        published(name)
    if published(config.reference).means_only:
        raise ConfigError(
            f"only means of {config.reference} are published, no runs; it cannot be the reference"
        )
    if config.reference not in names:
        names.append(config.reference)
    return [published(name) for name in dict.fromkeys(names)]


def _check_names(methods: Sequence[Method], own: Sequence[OwnRun]) -> None:
    taken = {name for m in methods if m.kind != "own" for name in (m.name, m.label)} | {
        "Random",
        "Human",
    }
    for run in own:
        if run.method in taken:
            raise ConfigError(
                f"{run.method!r} is a published method; give {run.folder} another NAME=RUN"
            )


def _shared(method: Method, games: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in games if name in method.scores)


def _fellows(
    methods: Sequence[Method], shared: Sequence[str], games: Sequence[str]
) -> list[Method]:
    """Who stands beside methods that are limited to some games: beside own ones all others, beside ablations what they vary."""
    limited = [m for m in methods if _shared(m, games) == tuple(shared)]
    own = any(m.kind == "own" for m in limited)
    return [
        m
        for m in methods
        if m.has(shared) and (m in limited or (m.kind != "ablation" if own else _varied(m)))
    ]


def _varied(method: Method) -> bool:
    return method.kind == "ablation" or method.name == "REM"


def _table(methods: Sequence[Method], games: tuple[str, ...], bootstrap: BootstrapConfig) -> Table:
    rows = [_row(method, games, bootstrap) for method in methods]
    return Table(games, tuple(sorted(rows, key=_rank)))


def _rank(row: Row) -> tuple[bool, float, str]:
    return row.method.means_only, -row.aggregates["iqm"].value, row.method.name


def _row(method: Method, games: tuple[str, ...], bootstrap: BootstrapConfig) -> Row:
    scores = method.normalised(games)
    over_games = aggregates(
        scores,
        confidence=bootstrap.confidence,
        repetitions=bootstrap.repetitions,
        seed=bootstrap.seed,
    )
    return Row(method, over_games, sum(runs.mean() >= _JUST_HUMAN for runs in scores.values()))


def _game_scores(
    methods: Sequence[Method], games: Sequence[str], bootstrap: BootstrapConfig
) -> dict[tuple[str, str], MethodScore]:
    game_scores = {}
    for method in methods:
        for name in _shared(method, games):
            raw, scores = np.array(method.scores[name]), method.normalised([name])[name]
            game_scores[name, method.name] = MethodScore(
                _mean(raw, bootstrap),
                _mean(scores, bootstrap),
                0 if method.means_only else raw.size,
            )
    return game_scores


def _mean(runs: np.ndarray, bootstrap: BootstrapConfig) -> Estimate:
    return aggregate(
        runs[:, None],
        "mean",
        bootstrap.confidence,
        repetitions=bootstrap.repetitions,
        seed=bootstrap.seed,
    )


def _improvements(
    methods: Sequence[Method], games: tuple[str, ...], config: ResultsConfig
) -> list[Improvement]:
    """The reference, and each own method, against every other method of which runs are known, over the games of both."""
    improvements = []
    ours = [m for m in methods if m.name == config.reference or m.kind == "own"]
    for mine in ours:
        for other in methods:
            shared = tuple(name for name in games if name in mine.scores and name in other.scores)
            if other is not mine and other.kind != "own" and not other.means_only and shared:
                improvements.append(_improvement(mine, other, shared, config.bootstrap))
    return improvements


def _improvement(
    ours: Method, theirs: Method, games: tuple[str, ...], bootstrap: BootstrapConfig
) -> Improvement:
    mine, others = ({name: method.scores[name] for name in games} for method in (ours, theirs))
    return Improvement(ours, theirs, games, probability_of_improvement(mine, others, bootstrap))
