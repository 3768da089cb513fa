"""kill -9 at random points. The long form: ``python -m pytest -m slow tests/training/test_kill.py``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import training_helpers


@pytest.mark.parametrize("form", [(), ("cache",)])
@pytest.mark.parametrize(
    "kills", [6, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_killed_run_ends_as_if_it_had_not_been_killed(tmp_path, kills, form):
    script = Path(__file__).parent / "kill_runs.py"
    places = [str(Path(training_helpers.__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "0", *form],
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith(f"{kills} kills"), done.stdout
