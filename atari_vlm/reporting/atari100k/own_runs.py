"""Our own runs beside the published ones: what learners in imagination and VLMs reached.

A run's score is the mean return of its newest evaluation. It need not be finished: its state stands beside its score. Nothing
here loads torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.reporting.atari100k.run_folders import FINISHED, OwnRun, read_run
from atari_vlm.scores.published import Method
from atari_vlm.settings import flat

_TELLS_RUNS_APART = (
    "seed",
    "seeds",
    "source",
    "game_name",
    "games",
    "agents",
    "num_actions",
)  # within one method


def read_runs(words: Sequence[str]) -> list[OwnRun]:
    """The runs of folders given as ``RUN`` or ``NAME=RUN`` (the name of the method it counts for).

    Raises ``ConfigError`` for a folder that is no run of ``dream``, ``train``, ``plan`` or ``evaluate``, and for a run given
    twice; ``MismatchError`` where runs of one method were made with different settings.
    """
    runs = [run for word in words for run in read_run(word)]
    for a, b in itertools.combinations(runs, 2):
        if a.method == b.method:
            _check_together(a, b)
    return runs


def own_methods(runs: Sequence[OwnRun]) -> list[Method]:
    """Runs of whole games that have a score, gathered by method; the label of a method says if a run of it is unfinished."""
    methods = []
    scored = [run for run in runs if run.score is not None and not run.cut]
    for name in dict.fromkeys(run.method for run in scored):
        mine = [run for run in scored if run.method == name]
        games = dict.fromkeys(run.game for run in mine)
        scores = {
            game: tuple(run.score or 0.0 for run in mine if run.game == game) for game in games
        }
        label = name if all(run.state == FINISHED for run in mine) else f"{name} (unfinished)"
        source = "own runs: " + ", ".join(dict.fromkeys(run.folder for run in mine))
        methods.append(Method(name, label, "own", scores, False, _counts(scores), source))
    return methods


def _counts(scores: Mapping[str, Sequence[float]]) -> str:
    counts = sorted({len(runs) for runs in scores.values()})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _check_together(a: OwnRun, b: OwnRun) -> None:
    if (a.game, a.seed) == (b.game, b.seed):
        raise ConfigError(
            f"{a.folder} and {b.folder} are both {a.method!r} on {a.game} with seed {a.seed}: a run counts once; if they "
            "differ otherwise, name them apart with NAME=RUN"
        )
    old, new = (_comparable(run.settings) for run in (a, b))
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if keys:
        shown = "; ".join(f"{key}: {old.get(key)!r} and {new.get(key)!r}" for key in keys[:4])
        raise MismatchError(
            f"{a.folder} and {b.folder} are both {a.method!r} but were made with different settings ({shown}); name them "
            "apart with NAME=RUN"
        )


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, but for those that differ between games and seeds of one method."""
    return {
        key: value
        for key, value in flat(settings).items()
        if key.split(".")[-1] not in _TELLS_RUNS_APART
    }
