"""The Atari 100k comparison as a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from atari_vlm.reporting.atari100k.cells import (
    MEANS,
    NONE,
    bold_text,
    label,
    number_text,
    percent_text,
    stacked_text,
)
from atari_vlm.reporting.atari100k.compare import Comparison, Improvement, MethodScore, Table
from atari_vlm.reporting.atari100k.own_section import Picture, own_section
from atari_vlm.runs.command_line import command_line
from atari_vlm.scores.published import Method
from atari_vlm.scores.statistics import few_runs_note
from atari_vlm.scores.tables import METRICS, table_lines

_CAVEATS = {
    "REM_ablation_no-pop": "REM without POP has 3 runs of one game and 4 of another instead of 5.",
    "REM_ablation_no-action-input": "The published RoadRunner scores of REM without action input and with pixel actor-critic are "
    "the same numbers, so at least one of the two is wrong there.",
    "DreamerV3_2025": "DreamerV3 and DreamerV3 (2025) are different versions of the code; scores of some games differ much.",
    "SPR": "Over its 100 runs SPR has an IQM of 0.337 and an optimality gap of 0.577 (all 26 games); the data has no runs of it.",
    "DrQ(eps)": "Over its 100 runs DrQ(eps) has an IQM of 0.280 and an optimality gap of 0.631 (all 26 games); likewise.",
}


def to_markdown(comparison: Comparison, plots: Sequence[str]) -> str:
    """The page. ``plots`` are the names of those that exist in the folder beside it, each as NAME.svg and NAME.png."""
    lines = [
        "# Atari 100k: published scores and our own runs"
        if comparison.own
        else "# Atari 100k: published scores",
        "",
        f"Made by `{command_line(comparison.config, comparison.config.runs)}`; do not edit it by hand.",
        "",
        *_introduction(comparison),
    ]
    for section in (
        _over_games,
        _profiles,
        _improvements,
        _per_game,
        _limited,
        own_section,
        _sources,
    ):
        lines += section(comparison, _picture(comparison, plots))
    return "\n".join([*lines, ""])


def _picture(comparison: Comparison, plots: Sequence[str]) -> Picture:
    """Shows a plot by its name, with words for who cannot see it; nothing if the plot does not exist."""

    def show(name: str, words: str) -> list[str]:
        return [f"![{words}]({comparison.config.out.name}/{name}.svg)", ""] if name in plots else []

    return show


def _introduction(comparison: Comparison) -> list[str]:
    config, folder = comparison.config, comparison.config.out.name
    percent = percent_text(comparison)
    resamples = (
        f"stratified bootstrap over runs, {config.repetitions:,} resamples, seed {config.seed}"
    )
    return [
        "Atari 100k allows 100,000 decisions (400,000 emulator frames, two hours of play) per game. Human-normalised scores: 0",
        f"is random play, 1 the human reference. Brackets hold {percent} intervals ({resamples}). {MEANS} marks methods",
        "of which only means per game are published: they have no interval.",
        "",
        f"Numbers: [scores]({folder}/scores.csv), [aggregates]({folder}/aggregates.csv), [profiles]({folder}/profiles.csv),",
        f"[all but the profiles, own runs included]({folder}/results.json). Every plot lies there as PNG and SVG.",
        "",
    ]


def _over_games(comparison: Comparison, picture: Picture) -> list[str]:
    return [
        f"## Over {_games(comparison.games)}",
        "",
        *_aggregates(comparison.main),
        "",
        f"{MEANS} IQM and optimality gap are taken over the games' means, which is not the same as over runs: an IQM comes out",
        "higher or lower, an optimality gap smaller. They are not ranked with the others.",
        "",
        *picture(
            "aggregates", "Mean, median, IQM and optimality gap of every method with intervals"
        ),
    ]


def _aggregates(table: Table) -> list[str]:
    rows = [
        (
            label(row.method),
            row.method.runs,
            *(str(row.aggregates[m]) for m in METRICS),
            row.superhuman,
        )
        for row in table.rows
    ]
    return table_lines(
        ("Method", "Runs per game", *METRICS.values(), "Games at or above human"), rows
    )


def _profiles(comparison: Comparison, picture: Picture) -> list[str]:
    shown = picture(
        "profiles",
        "Performance profiles: the share of runs above each human-normalised score, with bands",
    )
    words = "The share of runs, averaged over games, that score above each threshold; only methods whose runs are known."
    return ["## Performance profiles", "", words, "", *shown] if shown else []


def _improvements(comparison: Comparison, picture: Picture) -> list[str]:
    if not comparison.improvements:
        return []
    words = "How likely a random run of the first beats a random run of the second on a random game; ties count half."
    return [
        "## Probability of improvement",
        "",
        words,
        "",
        *table_lines(
            ("First", "Second", "Games", "Probability"),
            [_improvement(one) for one in comparison.improvements],
        ),
        "",
        *picture(
            "improvement",
            "Probability of improvement over each method, with intervals and a line at one half",
        ),
    ]


def _improvement(one: Improvement) -> tuple[object, ...]:
    return one.ours.label, one.theirs.label, len(one.games), str(one.estimate)


def _per_game(comparison: Comparison, picture: Picture) -> list[str]:
    methods = _columns(comparison)
    played = [m for m in methods if m.kind != "reference"]

    def table(columns: Sequence[Method], cell: Callable[[MethodScore, bool], str]) -> list[str]:
        rows = [(game, *_cells(comparison, game, columns, cell)) for game in comparison.games]
        return table_lines(("Game", *map(label, columns)), rows)

    return [
        "## Per game",
        "",
        *picture(
            "per_game", "Human-normalised mean score of every method in every game, as a heat table"
        ),
        "### Mean scores",
        "",
        "The best of each game is bold, random and human play aside.",
        "",
        *table(methods, lambda s, best: bold_text(number_text(s.raw.value), best)),
        "",
        "### Human-normalised, with intervals",
        "",
        *table(played, lambda s, best: stacked_text(s.normalised, best)),
        "",
    ]


def _columns(comparison: Comparison) -> list[Method]:
    """Methods that stand in the tables per game: all but the ablations, if there are others."""
    compared = [m for m in comparison.methods if m.kind != "ablation"] or list(comparison.methods)
    return [
        *comparison.references,
        *(
            m
            for m in compared
            if any((game, m.name) in comparison.scores for game in comparison.games)
        ),
    ]


def _cells(
    comparison: Comparison,
    game: str,
    methods: Sequence[Method],
    show: Callable[[MethodScore, bool], str],
) -> Iterator[str]:
    """The cells of a game; ``show`` takes whether a score is the best."""
    scores = {
        m.name: comparison.scores[game, m.name]
        for m in methods
        if (game, m.name) in comparison.scores
    }
    rivals = [
        scores[m.name].raw.value for m in methods if m.kind != "reference" and m.name in scores
    ]
    for method in methods:
        score = scores.get(method.name)
        best = score is not None and method.kind != "reference" and score.raw.value == max(rivals)
        yield NONE if score is None else show(score, best)


def _limited(comparison: Comparison, picture: Picture) -> list[str]:
    lines: list[str] = []
    for table in comparison.others:
        lines += [
            f"## Over {_games(table.games)} only",
            "",
            f"Games: {', '.join(table.games)}.",
            "",
        ]
        lines += [*_aggregates(table), ""]
    return lines


def _sources(comparison: Comparison, picture: Picture) -> list[str]:
    methods = [*comparison.references, *comparison.methods]
    lines = ["## What the numbers rest on", ""]
    lines += table_lines(
        ("Method", "Runs per game", "Source"), [(label(m), m.runs, m.source) for m in methods]
    )
    lines += [
        "",
        "The CSVs are in `atari_vlm/data`: score files of the methods' public repositories; only numbers were taken.",
        "",
    ]
    return [*lines, *(f"- {note}" for note in notes(comparison))]


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know beside the numbers."""
    names = {m.name for m in comparison.methods}
    lines = [
        "Published scores are as their authors measured them; protocols may differ in details, such as lives, sticky actions or "
        "the number of evaluation episodes.",
        "Intervals come from few runs per game (mostly 5) and are therefore rather too narrow.",
        *(text for name, text in _CAVEATS.items() if name in names),
    ]
    mine = {
        f"{m.name} {game}": list(runs)
        for m in comparison.methods
        if m.kind == "own"
        for game, runs in m.scores.items()
    }
    if mine and few_runs_note(mine):
        lines.append(f"Own runs: {few_runs_note(mine)}")
    if any(run.fallback_rate is not None for run in comparison.own):
        lines.append(
            "Runs of VLMs do not follow the protocol of Atari 100k (see their conditions): compare with care."
        )
    return lines


def _games(games: Sequence[str]) -> str:
    return f"{len(games)} game{'s' * (len(games) > 1)}"
