"""kill -9 in a search at seeded points. The long form: ``python -m pytest -m slow tests/synthesis/test_search_kill.py``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "kills", [10, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_killed_search_ends_as_if_it_had_not_been_killed(tmp_path, kills):
    script = Path(__file__).parent / "kill_searches.py"
    places = [str(script.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "0"],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith(f"{kills} kills"), done.stdout
