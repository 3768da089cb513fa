import subprocess
import sys
import warnings

import pytest

from atari_vlm import cli, ending, report, train
from atari_vlm.ending import end_with
from atari_vlm.errors import ConfigError


def test_an_error_is_one_line_without_keys(capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789abcdef")
    assert end_with(ConfigError("bad key sk-canary-0123456789abcdef")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: bad key ") and said.count("\n") == 1 and "canary" not in said


def test_a_file_that_cannot_be_written_is_no_traceback(tmp_path, capsys):
    options = "--max-steps 2 --num-episodes 1 --num-eval-episodes 0 --videos 0".split()
    assert train.main([*options, "--save-dir", str(tmp_path), "--run-name", "run"]) == 0
    (tmp_path / "file").touch()
    assert (
        report.main([str(tmp_path / "run"), "--out", str(tmp_path / "file" / "report.html")]) == 74
    )
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_ctrl_c_is_no_traceback(capsys):
    @ending.program
    def main(argv=None):
        raise KeyboardInterrupt

    assert main([]) == 130 and not capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_a_warning_of_ours_is_a_line(monkeypatch):
    told = []
    monkeypatch.setattr(
        "warnings.showwarning", lambda *about: told.append(warnings.formatwarning(*about[:4]))
    )

    @ending.program
    def main(argv=None):
        warnings.warn_explicit("it is trained too,\nsince", RuntimeWarning, ending.__file__, 1)
        warnings.warn_explicit("deprecated", UserWarning, "/elsewhere/torch.py", 7)
        return 0

    assert main([]) == 0
    assert told[0] == "warning: it is trained too, since\n"
    assert told[1].startswith("/elsewhere/torch.py:7: UserWarning: deprecated")
    assert "UserWarning" in warnings.formatwarning("x", UserWarning, ending.__file__, 1)


@pytest.mark.parametrize("program", ["train", "evaluate", "report"])
def test_a_reader_that_leaves(program):
    command = f"{sys.executable} -m atari_vlm.{program} --help; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.strip() in ("141", "0"), done.stderr


def test_the_console_script_says_its_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("atari_vlm ")
