"""Atari-GPT's published scores: Waytowich et al. 2024 (arXiv 2408.15950), from ``data/atari_gpt_scores.csv``.

They are human-normalised by a human reference of the authors' own that is not published, so they stand beside other scores
and on no common axis. The values per game are read off the figure of the project's page; the means are those of the text.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources

SOURCE = "Waytowich et al. 2024, arXiv 2408.15950"
MEAN = "seven_games"


@dataclass(frozen=True)
class AtariGPTScore:
    """One published value: ``game`` is :data:`MEAN` for the mean over the seven; ``is_drawn`` is false for no bar at all."""

    game: str
    model: str
    value: float
    is_drawn: bool


@functools.cache
def atari_gpt_scores() -> tuple[AtariGPTScore, ...]:
    """Every published score of play, game by game, the means last."""
    file = resources.files("atari_vlm") / "data" / "atari_gpt_scores.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple(
        AtariGPTScore(
            row["item"], row["model"], float(row["value"]), row["uncertainty"] != "no_bar_drawn"
        )
        for row in rows
        if row["track"] in ("gameplay", "gameplay_mean")
    )
