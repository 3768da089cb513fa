"""Markdown tables, and the published scores that fill them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.errors import UnknownNameError
from atari_vlm.games import game
from atari_vlm.scores.published import ASKED_FOR, DEFAULT_NAMES, benchmark_games, published
from atari_vlm.scores.statistics import Estimate
from atari_vlm.scores.tables import estimate_cell, table_lines

CELL = st.text(
    st.characters(exclude_characters="\n\r\\", exclude_categories=("Cs", "Cc")), max_size=8
)


def test_a_table_is_a_head_a_rule_and_rows():
    assert table_lines(("a", "b"), [(1, "x|y"), (2.5, None)]) == [
        "| a | b |",
        "| --- | --- |",
        "| 1 | x\\|y |",
        "| 2.5 | None |",
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=4))
def test_no_cell_opens_another_column(rows):
    for line in table_lines(("a", "b", "c"), rows):
        assert line.replace("\\|", "").count("|") == 4


@pytest.mark.parametrize(("digits", "cell"), [(3, "0.123 [0.100, 1.000]"), (1, "0.1 [0.1, 1.0]")])
def test_an_estimate_is_its_value_between_its_bounds(digits, cell):
    assert estimate_cell(Estimate(0.12345, 0.1, 1.0).as_dict(), digits) == cell


@pytest.mark.parametrize("name", [*DEFAULT_NAMES, *ASKED_FOR, "Random", "Human"])
def test_every_published_method_has_finite_scores_of_known_games(name):
    method = published(name)
    assert method.scores and method.source.endswith(".csv")
    for played, runs in method.scores.items():
        assert game(played).name == played
        assert runs and np.isfinite(runs).all()
    assert method.means_only == (max(map(len, method.scores.values())) == 1)


def test_the_references_are_zero_and_one():
    games = benchmark_games()
    assert len(games) == 26 and list(games) == sorted(set(games))
    for name, level in (("Random", 0.0), ("Human", 1.0)):
        for runs in published(name).normalised(games).values():
            np.testing.assert_allclose(runs, level, atol=1e-9)


def test_a_method_knows_which_games_it_has():
    method = published("REM_ablation_no-latent-ac")
    assert method.kind == "ablation" and method.has(list(method.scores))
    assert not method.has(["Pong", "Surround"])


def test_a_name_that_is_nearly_right_is_offered():
    with pytest.raises(UnknownNameError, match="DIAMOND"):
        published("DIAMONT")
