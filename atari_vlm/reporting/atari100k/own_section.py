"""The section of the page about our own runs."""

from __future__ import annotations

from collections.abc import Callable

from atari_vlm.games import game_or_generic
from atari_vlm.reporting.atari100k.cells import NONE, number_text, raw_text
from atari_vlm.reporting.atari100k.compare import Comparison
from atari_vlm.reporting.atari100k.run_folders import OwnRun
from atari_vlm.scores.tables import table_lines

Picture = Callable[[str, str], list[str]]


_HEAD = (
    "Run,Method,Game,Seed,State,Steps,Episodes,Score,Human-normalised,Fallback,Conditions".split(
        ","
    )
)


def own_section(comparison: Comparison, picture: Picture) -> list[str]:
    """Its lines; none where there are no own runs."""
    if not comparison.own:
        return []
    return [
        "## Our own runs",
        "",
        *table_lines(_HEAD, [_own_line(run) for run in comparison.own]),
        "",
        "A run's score is the mean return of its newest evaluation; a run that is not finished stands as far as it is.",
        "",
        *(_elsewhere(comparison) if comparison.own_elsewhere else ()),
        *picture("own_games", "Own runs beside random, human and published scores, game by game"),
        *picture(
            "own_curves", "Mean return of each evaluation of the own runs over the steps played"
        ),
    ]


def _elsewhere(comparison: Comparison) -> list[str]:
    scores = comparison.own_elsewhere
    rows = [(game, name, raw_text(score)) for (game, name), score in scores.items()]
    lines = [
        "### Games that are not compared",
        "",
        "Raw scores; nothing published stands beside them here.",
        "",
        *table_lines(("Game", "Method", "Score"), rows),
        "",
    ]
    unknown = [game for game, _ in scores if game_or_generic(game).human_score is None]
    if unknown:
        words = "No human and random reference scores are known of"
        lines += [f"{words}: {', '.join(dict.fromkeys(unknown))}.", ""]
    return lines


def _own_line(run: OwnRun) -> tuple[object, ...]:
    return (
        *(run.folder, run.method, run.game, run.seed, run.state),
        NONE if run.steps is None else f"{run.steps:,}",
        run.episodes,
        NONE if run.score is None else number_text(run.score),
        NONE if run.normalised is None else f"{run.normalised:.3f}",
        NONE if run.fallback_rate is None else f"{run.fallback_rate:.1%}",
        run.conditions,
    )
