"""Every example runs as a program, from an empty folder, without key, GPU or network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
EXPECTED = {
    "examples_atari_vlm": "9 example(s) in",
    "wrappers_on_any_env": "emulator frames went by",
    "parallel_and_resume": "continued:",
    "dream_in_catch": "MCTSAgent    mean return +1.00 of 1",
    "plan_in_the_emulator": "return after",
    "in_context_examples": "pupil",
    "main": "python main.py exp=llm_dreamer_v3",
    "plan_in_a_program": "the real pole stood for 100 of 100 steps",
    "stable_baselines3_pong": "learned from 64 steps",
    "torchrl_pong": "return of the batch:",
    "search_for_a_program": "planned, in the program    return 60 of 60",
}


def run(path: Path, folder: Path, *arguments: str) -> str:
    secrets = [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL"))]
    environment = {name: value for name, value in os.environ.items() if name not in secrets}
    command = [sys.executable, str(path), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path):
    assert EXPECTED.get(path.stem, "") in run(path, tmp_path)


def test_one_of_the_nine_can_be_chosen(tmp_path):
    out = run(
        EXAMPLES[[p.stem for p in EXAMPLES].index("examples_atari_vlm")], tmp_path, "--example", "8"
    )
    assert (
        "1 example(s)" in out
        and (tmp_path / "examples_out" / "preprocessing.png").stat().st_size > 1000
    )
