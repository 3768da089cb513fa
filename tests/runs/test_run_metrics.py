"""metrics.jsonl of a run that learns: kept up to the epoch that it goes on from, whatever a kill left."""

import json

import pytest

from atari_vlm.errors import CheckpointError
from atari_vlm.runs.metrics import MetricsLog


def epochs(folder):
    return [
        json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def write(folder, *numbers):
    log = MetricsLog(folder, max(numbers) - 1)
    for number in numbers:
        log.add(number, {"loss": 1.0 / number})
    log.close()


def test_epochs_after_the_checkpoint_are_dropped_and_written_again(tmp_path):
    write(tmp_path, 1, 2, 3)
    log = MetricsLog(tmp_path, 2)
    assert epochs(tmp_path) == [1, 2] and [line["epoch"] for line in log.lines] == [1, 2]
    log.add(3, {"loss": 0.5})
    log.close()
    assert epochs(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("rest", ['{"epoch": 2, "lo', "{", '"'])
def test_a_line_that_a_kill_cut_short_is_none(tmp_path, rest):
    write(tmp_path, 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    log = MetricsLog(tmp_path, 9)
    log.add(2, {})
    log.close()
    assert epochs(tmp_path) == [1, 2]


@pytest.mark.parametrize("line", ["[]", "3", '{"loss": 1}', "null"])
def test_a_line_that_is_no_epoch_is_told(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(CheckpointError, match="no epoch"):
        MetricsLog(tmp_path, 1)
