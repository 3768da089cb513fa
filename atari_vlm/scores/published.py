"""Whose scores are compared on Atari 100k: published methods from the CSVs in ``data/``, and room for own ones.

``rem_atari100k_raw.csv`` and ``rem_atari100k.csv`` hold the score files of the repositories of REM, IRIS, DIAMOND and Simulus;
``dreamer_atari100k.csv`` those of DreamerV3's and STORM's. Only numbers were taken. Where a file holds one mean per game and no
runs, nothing can be said about the spread: such methods have values and no intervals.
"""

from __future__ import annotations

import csv
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np

from atari_vlm.errors import UnknownNameError
from atari_vlm.games import game
from atari_vlm.scores.statistics import human_normalise

Kind = Literal["reference", "published", "ablation", "own"]


@dataclass(frozen=True, eq=False)
class Method:
    """Raw scores of one method. ``scores``: game -> score of each run, or, with ``means_only``, one published mean.

    ``runs`` says in words how many runs stand behind a game. Equal names are equal methods.
    """

    name: str
    label: str
    kind: Kind
    scores: Mapping[str, tuple[float, ...]]
    means_only: bool
    runs: str
    source: str

    def has(self, games: Sequence[str]) -> bool:
        """Whether there is a score for each of the games."""
        return all(name in self.scores for name in games)

    def normalised(self, games: Sequence[str]) -> dict[str, np.ndarray]:
        """Human-normalised scores, game -> float64 ``(runs,)``."""
        return {name: human_normalise(name, self.scores[name]) for name in games}


@dataclass(frozen=True)
class _Entry:
    label: str
    kind: Kind
    paper: str
    file: str = "rem_atari100k"
    column: str = ""


_ENTRIES = {
    "Random": _Entry("Random", "reference", "uniformly random play, Mnih et al. 2015"),
    "Human": _Entry("Human", "reference", "professional tester, Mnih et al. 2015"),
    "SimPLe": _Entry("SimPLe", "published", "arXiv 1903.00374"),
    "DrQ(eps)": _Entry(
        "DrQ(eps)", "published", "arXiv 2004.13649, in the version of arXiv 2108.13264"
    ),
    "SPR": _Entry("SPR", "published", "arXiv 2007.05929"),
    "TWM": _Entry("TWM", "published", "arXiv 2303.07109"),
    "IRIS": _Entry("IRIS", "published", "arXiv 2209.00588"),
    "DreamerV3": _Entry("DreamerV3", "published", "arXiv 2301.04104, the score set of 2023"),
    "STORM": _Entry(
        "STORM",
        "published",
        "arXiv 2310.09615, its repository's score file",
        "dreamer_atari100k",
        "storm_mean",
    ),
    "REM": _Entry("REM", "published", "arXiv 2402.05643"),
    "DIAMOND": _Entry("DIAMOND", "published", "arXiv 2405.12399"),
    "M3_Simulus": _Entry("Simulus (M3)", "published", "arXiv 2502.11537"),
    "MuZero": _Entry("MuZero", "published", "arXiv 1911.08265, as run by arXiv 2111.00210"),
    "EfficientZero": _Entry("EfficientZero", "published", "arXiv 2111.00210"),
    "REM_ablation_no-pop": _Entry("REM without POP", "ablation", "arXiv 2402.05643"),
    "REM_ablation_separate-wm-embeddings": _Entry(
        "REM with separate embeddings", "ablation", "arXiv 2402.05643"
    ),
    "REM_ablation_no-action-input": _Entry(
        "REM without action input", "ablation", "arXiv 2402.05643"
    ),
    "REM_ablation_no-latent-ac": _Entry(
        "REM with pixel actor-critic", "ablation", "arXiv 2402.05643"
    ),
    "REM_ablation_4x4-tokenizer": _Entry("REM with 4x4 tokens", "ablation", "arXiv 2402.05643"),
    "DreamerV3_2025": _Entry(
        label="DreamerV3 (2025)",
        kind="published",
        paper="arXiv 2301.04104, later code; means of training episodes",
        file="dreamer_atari100k",
        column="dreamerv3_mean",
    ),
    "PPO": _Entry(
        label="PPO",
        kind="published",
        paper="arXiv 1707.06347, as run by DreamerV3's authors",
        file="dreamer_atari100k",
        column="ppo_mean",
    ),
}
ASKED_FOR = ("DreamerV3_2025", "PPO")  # of another protocol than the rest: shown only by name
DEFAULT_NAMES = tuple(
    name for name, entry in _ENTRIES.items() if entry.kind != "reference" and name not in ASKED_FOR
)


def published(name: str) -> Method:
    """A published method by its name; ``UnknownNameError`` offers the known ones."""
    if name not in _ENTRIES:
        raise UnknownNameError("baseline", name, _ENTRIES)
    entry = _ENTRIES[name]
    source = f"{entry.paper}; {entry.file}.csv"
    if entry.column:
        means = {_game_of(row["game"]): (float(row[entry.column]),) for row in _rows(entry.file)}
        return Method(name, entry.label, entry.kind, means, True, "not stated, means only", source)
    counts = {row["game"]: int(row["n_runs"]) for row in _means(name)}
    runs = _raw().get(name, {})
    if max(map(len, runs.values()), default=0) > 1:
        return Method(
            name,
            entry.label,
            entry.kind,
            runs,
            False,
            _range(counts),
            source.replace(".csv", "_raw.csv"),
        )
    means = {row["game"]: (float(row["mean_score"]),) for row in _means(name)}
    words = f"{_range(counts)}, means only" if max(counts.values()) > 1 else "means only"
    return Method(name, entry.label, entry.kind, means, True, words, source)


@functools.cache
def benchmark_games() -> tuple[str, ...]:
    """The 26 games of Atari 100k, sorted."""
    return tuple(sorted(row["game"] for row in _means("Human")))


def _range(counts: Mapping[str, int]) -> str:
    low, high = min(counts.values()), max(counts.values())
    return str(high) if low == high else f"{low} to {high}"


def _means(name: str) -> list[dict[str, str]]:
    return [row for row in _rows("rem_atari100k") if row["algorithm"] == name]


@functools.cache
def _raw() -> dict[str, dict[str, tuple[float, ...]]]:
    scores: dict[str, dict[str, tuple[float, ...]]] = defaultdict(dict)
    for row in _rows("rem_atari100k_raw"):
        runs = scores[row["algorithm"]]
        runs[row["game"]] = (*runs.get(row["game"], ()), float(row["score"]))
    return scores


@functools.cache
def _rows(file: str) -> list[dict[str, str]]:
    text = (resources.files("atari_vlm") / "data" / f"{file}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _game_of(snake_case: str) -> str:
    return game("".join(word.capitalize() for word in snake_case.split("_"))).name
