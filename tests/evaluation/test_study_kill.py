"""kill -9 of a study at random points. The long form: ``python -m pytest -m slow tests/evaluation/test_study_kill.py``."""

import os
import subprocess
import sys
from pathlib import Path

import own_players
import pytest


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_killed_study_ends_with_the_tables_of_one_that_was_not_killed(tmp_path, kills):
    script = Path(__file__).parent / "kill_studies.py"
    places = [str(Path(own_players.__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "0"],
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith(f"{kills} kills"), done.stdout
