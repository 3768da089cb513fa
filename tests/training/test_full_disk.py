"""A full disk ends a program with one sentence that names the file, and the same command goes on when there is room."""

import resource
import subprocess
import sys

import pytest
from small_disk import small_files

from atari_vlm.errors import StorageError
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.world_models import CatchWorldModel, save_checkpoint

TRAIN = [
    "-m",
    "atari_vlm.train",
    "--vlm",
    "scripted",
    "--num-episodes",
    "1",
    "--num-eval-episodes",
    "0",
    "--max-steps",
    "12",
]


def run(folder, limit=None):
    def small():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [
        sys.executable,
        *TRAIN,
        "--videos",
        "0",
        "--save-dir",
        str(folder),
        "--run-name",
        "run",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=small)


def test_training_on_a_full_disk(tmp_path):
    done = run(tmp_path, 150_000)  # the journal's tables fit, its calls do not
    assert done.returncode == 74, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert (
        len(errors) == 1
        and f"{tmp_path}/run/journal.sqlite" in errors[0]
        and "Traceback" not in done.stderr
    )
    assert "--resume" in done.stderr
    assert run(tmp_path).returncode == 0
    assert (tmp_path / "run" / "results.json").exists()


def test_a_checkpoint_on_a_full_disk_keeps_the_old_one(tmp_path):
    sizes = {"rows": 6, "columns": 5, "cell_px": 2, "num_balls": 3}
    config = {
        **sizes,
        "action_names": ["NOOP", "RIGHT", "LEFT"],
        "frame_skip": 1,
        "reward_transform": "none",
    }
    folder = save_checkpoint(
        tmp_path / "model", kind="catch", config=config, start=CatchWorldModel(**sizes).start
    )
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with small_files(10), pytest.raises(StorageError, match="model cannot be written"):
        save_checkpoint(folder, kind="catch", config=config)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_metrics_on_a_full_disk(tmp_path):
    log = MetricsLog(tmp_path, 0)
    with small_files(10), pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written"):
        log.add(1, {"loss": 0.123456789})
    log.close()
