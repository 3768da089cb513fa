"""Hostile programs against the sandbox, watched from outside: no effect on the host, each over in time, whatever wall is missing.

All of them, in every way: ``pytest -n 0 -m slow tests/world_models/code/test_sandbox_hostile.py``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

import atari_vlm

HERE = Path(__file__).parent
ROOT = str(Path(atari_vlm.__file__).parent.parent)
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": ROOT,
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
NOBODY = 65534
CHUNK = 25


def python(*words, before=(), interpreter=sys.executable, path=ROOT):
    """What a Python program prints, run within this folder."""
    command = [*before, interpreter, *map(str, words)]
    ended = subprocess.run(
        command, cwd=HERE, env={**ENVIRONMENT, "PYTHONPATH": path}, capture_output=True, text=True
    )
    return ended.returncode, ended.stdout, ended.stderr


def hold(first, last, **options):
    """Run programs; the report of what came of them, which has no effect in it."""
    code, said, wrong = python(*options.pop("words", []), "hostile_run.py", first, last, **options)
    assert code == 0, wrong[-2000:]
    report = json.loads(said)
    assert report["effects"] == {} and report["programs"] == sum(report["ends"].values()) > 0
    return report


STARTS_ANOTHER = "import atari_vlm, numpy, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"


def ordinary():
    """A Python that nobody in particular may run, with all that the package needs, or none."""
    site = ":".join([ROOT, *(folder for folder in sys.path if "site-packages" in folder)])
    dropped = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    for interpreter in (
        sys.executable,
        os.environ.get("ORDINARY_PYTHON", ""),
        shutil.which("python3"),
    ):
        if (
            interpreter
            and python("-c", STARTS_ANOTHER, before=dropped, interpreter=interpreter, path=site)[0]
            == 0
        ):
            return {"before": dropped, "interpreter": interpreter, "path": site}
    return None


def namespaces():
    """The words that run a program in namespaces of its own, or none."""
    words = ["unshare", "-Ur"]
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else None


def test_there_are_500_in_60_families():
    programs = hostile.hostile()
    assert len(programs) >= 500 and len({program.family for program in programs}) >= 60
    assert len({program.text for program in programs}) == len(programs)


@pytest.mark.parametrize("first", range(0, 100, CHUNK))
def test_a_hundred_have_no_effect(first):
    assert hold(first, first + CHUNK)["families"] >= 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_have_no_effect():
    report = hold(0, 10_000)
    assert report["programs"] == len(hostile.hostile()) and report["families"] >= 60


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_have_no_effect_without_landlock():
    assert hold(0, 10_000, words=["without.py", "landlock"])["landlock"] == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_have_no_effect_as_an_ordinary_user():
    if os.getuid() != 0:
        assert hold(0, 10_000)["user"] == os.getuid() != 0
        return
    options = ordinary() if shutil.which("setpriv") else None
    if options is None:
        pytest.skip("no Python that an ordinary user may run; ORDINARY_PYTHON names one")
    assert hold(0, 10_000, **options)["user"] == NOBODY


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_have_no_effect_in_a_user_namespace():
    words = namespaces() if shutil.which("unshare") else None
    if words is None:
        pytest.skip("no user namespaces here")
    hold(0, 10_000, before=words)


def test_a_few_have_no_effect_in_every_way():
    assert hold(0, 6, words=["without.py", "landlock"])["landlock"] == 0
    words = namespaces() if shutil.which("unshare") else None
    if words is not None:
        hold(6, 12, before=words)


PROBE = """
from atari_vlm.errors import SandboxUnavailableError
from atari_vlm.world_models.code import Sandbox
try:
    Sandbox("open({!r}, 'w')")
except SandboxUnavailableError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize(
    ("wall", "reason"), [("seccomp", "Invalid argument"), ("honesty", "refuses nothing")]
)
def test_without_the_filter_nothing_runs(wall, reason, tmp_path):
    code, said, wrong = python("without.py", wall, "-c", PROBE.format(str(tmp_path / "new")))
    assert code == 0, wrong
    assert said.startswith("69 ") and reason in said and "--unsafe-local-code" in said
    assert not list(tmp_path.iterdir())


IN_THE_OPEN = """
import tempfile
from pathlib import Path
from hostile import hostile
from hostile_run import Host
from atari_vlm.world_models.code import LocalProgram
with tempfile.TemporaryDirectory() as folder:
    host = Host(Path(folder))
    for program in [p for p in hostile() if p.family in ("read files", "write files")][:9]:
        with LocalProgram(host.text(program)) as local:
            try:
                local.call("set_state", [0.0])
                print(local.call("step", 0))
            except Exception as error:
                print(error)
    print("CHANGED", host.changes())
"""


def test_in_the_open_the_same_programs_win_and_are_seen_to():
    code, said, wrong = python("-c", IN_THE_OPEN)
    assert code == 0, wrong
    assert said.count("WON") >= 6 and "files:" in said.split("CHANGED")[1]
