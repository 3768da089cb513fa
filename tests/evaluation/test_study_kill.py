"""kill -9 of a study at random points. The long form: ``python -m pytest -m slow tests/evaluation/test_study_kill.py``."""

import kill_studies
import pytest


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_killed_study_ends_with_the_tables_of_one_that_was_not_killed(tmp_path, kills):
    assert kill_studies.main(tmp_path, kills, 0) == kills
