"""kill -9 in a search at seeded points. The long form: ``python -m pytest -m slow tests/synthesis/test_search_kill.py``."""

import kill_searches
import pytest


@pytest.mark.parametrize(
    "kills", [10, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_killed_search_ends_as_if_it_had_not_been_killed(tmp_path, kills):
    assert kill_searches.main(tmp_path, kills, 0) == kills
