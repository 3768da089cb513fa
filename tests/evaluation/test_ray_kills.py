"""Workers, nodes and drivers of studies on a cluster are killed: ``pytest -n 0 -m slow tests/evaluation/test_ray_kills.py``."""

import os
import subprocess
import sys
from pathlib import Path

import own_players
import pytest


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_unit_is_lost_and_no_call_paid_twice_but_those_in_flight(tmp_path):
    pytest.importorskip("ray")
    script = Path(__file__).parent / "ray_kills.py"
    places = [str(Path(own_players.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "20", "5", "3", "0"],
        capture_output=True,
        text=True,
        timeout=3500,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("28 kills"), done.stdout
