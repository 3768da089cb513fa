import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from atari_vlm import train
from atari_vlm.runs.stopping import stop_on_signals

SMALL = ["--num-episodes", "2", "--num-eval-episodes", "2", "--max-steps", "8", "--videos", "0"]
ONCE = ["--num-episodes", "1", "--num-eval-episodes", "1", "--max-steps", "8", "--videos", "0"]


def program(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "atari_vlm.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_a_small_run_ends_with_a_table_and_a_report(tmp_path, capsys):
    assert train.main([*ONCE, "--use-icl", "--icl-ablation", "--save-dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    run = tmp_path / "Pong-scripted-cot-001"
    assert (
        f"report: {run / 'report.html'}" in said.out
        and (run / "report.html").stat().st_size > 10_000
    )
    for word in (
        "training",
        "evaluation",
        "fallback",
        "in-context ablation",
        "most-similar-frame",
        "decisions made now",
    ):
        assert word in said.out
    assert f"run {run} (new)" in said.err and "train episode 0 (seed 0): return" in said.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["command"]["max_steps"] == 8 and config["settings"]["plan"]["num_episodes"] == 1
    assert "api_key" not in json.dumps(config)

    assert train.main(["--resume", str(run)]) == 0
    said = capsys.readouterr()
    assert (
        f"run {run} (continued)" in said.err
        and "read from the journal" in said.err
        and "0 decisions made now" in said.out
    )
    assert train.main(["--resume", run.name, "--save-dir", str(tmp_path), "--seed", "4"]) == 73
    assert "seed was 0, is now 4" in capsys.readouterr().err


def test_a_spent_budget_is_75_and_the_same_command_goes_on(tmp_path, capsys):
    command = [*SMALL, "--save-dir", str(tmp_path)]
    assert train.main([*command, "--max-calls", "9"]) == 75
    said = capsys.readouterr().err
    assert f"--resume {tmp_path / 'Pong-scripted-cot-001'}" in said and said.splitlines()[
        -1
    ].startswith("error: the budget of 9")
    assert train.main(command) == 0
    assert "Pong-scripted-cot-001 (continued)" in capsys.readouterr().err
    assert train.main([*command, "--max-calls", "9"]) == 75
    assert "Pong-scripted-cot-002 (new)" in capsys.readouterr().err


def test_options_from_a_file_and_the_command_line_before_it(tmp_path, capsys):
    file = tmp_path / "options.yaml"
    file.write_text(
        "num-episodes: 1\nnum_eval_episodes: 0\nmax_steps: 6\nvideos: 0\nuse_icl: true\nmodel: null\n"
    )
    assert train.main(["--config", str(file), "--max-steps", "4", f"--save_dir={tmp_path}"]) == 0
    config = yaml.safe_load((tmp_path / "Pong-scripted-cot-001" / "config.yaml").read_text())
    assert config["settings"]["max_steps"] == 4 and config["settings"]["plan"]["num_episodes"] == 1
    for content, message in (
        ("num_epsodes: 1", "did you mean num_episodes"),
        ("api_key: sk-secret", "keys come from"),
        ("- 1", "must hold options"),
        ("a: [", "cannot be read"),
    ):
        file.write_text(content)
        capsys.readouterr()
        assert train.main(["--config", str(file)]) == 2
        said = capsys.readouterr().err
        assert message in said and "sk-secret" not in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--game", "Pongg"], 2),
        (["--vlm", "gpt5"], 2),
        (["--run-name", "../x"], 2),
        (["--resume", "absent"], 2),
        (["--parallel", "0"], 2),
        (["--num-episodes", "0"], 2),
        (["--icl-ablation", "--num-eval-episodes", "0"], 2),
        (["--save-dir", "/dev/null"], 2),
        (["--vlm", "replay"], 2),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, arguments, code):
    assert train.main(["--save-dir", str(tmp_path / "runs"), *arguments]) == code
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.rglob("journal.sqlite"))


def test_recommendations(capsys):
    assert train.main(["--show-recommendations"]) == 0
    assert "qwen-vl" in capsys.readouterr().out


def test_help_and_a_scripted_run_load_no_torch(tmp_path):
    code = (
        "import sys; from atari_vlm import train\n"
        "try: train.main(['--help'])\nexcept SystemExit: pass\n"
        f"train.main(['--num-episodes', '1', '--num-eval-episodes', '0', '--max-steps', '3', '--save-dir', {str(tmp_path)!r}])\n"
        "loaded = {'torch', 'transformers', 'openai', 'anthropic', 'google.genai', 'minari'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(tmp_path, capsys, number, code):
    command = "--num-episodes 1 --num-eval-episodes 0 --videos 0 --save-dir".split()
    command.append(str(tmp_path))
    running = program(*command, "--max-steps", "120")
    journal = tmp_path / "Pong-scripted-cot-001" / "journal.sqlite-wal"
    wait_for(lambda: journal.exists() and journal.stat().st_size > 100_000)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == code, said
    assert (
        "stopping after the current step" in said
        and "stopped; continue with: python -m atari_vlm.train --resume" in said
    )
    assert "Traceback" not in said and not journal.exists()  # the journal was closed properly
    if number == signal.SIGINT:
        assert train.main([*command, "--max-steps", "120"]) == 0
        assert "(continued)" in capsys.readouterr().err


def test_the_second_signal_ends_at_once():
    code = (
        "import time; from atari_vlm.runs.stopping import stop_on_signals\n"
        "with stop_on_signals():\n print('ready', flush=True)\n while True: time.sleep(0.01)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert "again: at once" in running.stderr.readline() + running.stderr.readline()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == -signal.SIGINT


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(stop.is_set)
        assert stop.exit_code == 143
    assert signal.getsignal(signal.SIGINT) is before
