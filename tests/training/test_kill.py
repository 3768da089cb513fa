"""kill -9 at random points. The long form: ``python -m pytest -m slow tests/training/test_kill.py``."""

import kill_runs
import pytest


@pytest.mark.parametrize("form", [(), ("cache",)])
@pytest.mark.parametrize(
    "kills", [6, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_killed_run_ends_as_if_it_had_not_been_killed(tmp_path, kills, form):
    assert kill_runs.main(tmp_path, kills, 0, "cache" in form) == kills
