"""Training is killed by SIGKILL at any point and ends as the run that was not, to the bit.

The long form: ``python -m pytest -m slow tests/training/imagination/test_kills.py``.
"""

import kill_dream_runs
import pytest
import torch


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", ["rem", "dreamer"])
@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_if_it_had_not_been_killed(family, kills, tmp_path, one_thread):
    found = kill_dream_runs.main(family, kills, tmp_path)
    assert found["killed"] == kills and found["in_save"] >= max(2, kills // 4)
