"""Training is killed by SIGKILL at any point and ends as the run that was not, to the bit.

The long form: ``python -m pytest -m slow tests/training/imagination/test_kills.py``.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rem_helpers import ENVIRONMENT


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", ["rem", "dreamer"])
@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_if_it_had_not_been_killed(family, kills, tmp_path):
    script = Path(__file__).parent / "kill_dream_runs.py"
    done = subprocess.run(
        [sys.executable, str(script), family, str(kills), str(tmp_path)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["killed"] == kills and found["in_save"] >= kills // 4
