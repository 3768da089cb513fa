"""Functions that are called without Ray, in this process or in several."""

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import called
import pytest

from atari_vlm.errors import RunError, StoppedError, UnknownNameError
from atari_vlm.runs.cluster.calling import Call
from atari_vlm.runs.cluster.local_calling import LocalCaller


def numbered(values):
    return [Call(value, f"number {value}") for value in values]


@pytest.mark.parametrize("parallel", [1, 2])
def test_every_call_comes_back_and_few_are_under_way(parallel):
    taken = []

    def calls():
        for call in numbered(range(5)):
            taken.append(call.what)
            yield call

    back = {}
    for call, result in LocalCaller(parallel).results(partial(called.times, 3), calls()):
        back[call.what] = result
        assert len(taken) - len(back) <= parallel - 1
    assert back == {n: 3 * n for n in range(5)}


def test_an_error_is_itself_and_ends_the_rest():
    began = time.monotonic()
    with pytest.raises(UnknownNameError, match="unknown game 'Pnog'") as raised:
        list(LocalCaller(2).results(called.fails, numbered([1, 2])))
    assert raised.value.exit_code == 2 and time.monotonic() - began < 50


def test_a_process_that_dies_is_said():
    with pytest.raises(RunError, match="a process was lost in the midst of a unit"):
        list(LocalCaller(2).results(called.dies, numbered([0])))


def test_a_wish_to_stop_ends_it_at_once():
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(StoppedError):
        list(LocalCaller(2, stop).results(time.sleep, numbered([600, 600])))
    with pytest.raises(StoppedError):
        list(LocalCaller(1, stop).results(time.sleep, numbered([600])))


PARENT = """
import sys
import called
from functools import partial
from atari_vlm.runs.cluster.calling import Call
from atari_vlm.runs.cluster.local_calling import LocalCaller
if __name__ == "__main__":
    list(LocalCaller(2).results(partial(called.waits_once, sys.argv[1]), [Call(0, "one")]))
"""


def test_processes_end_with_the_one_that_began_them(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    marks = tmp_path / "marks"
    marks.mkdir()
    helpers = str(Path(called.__file__).parent)
    paths = os.pathsep.join([helpers, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, str(tmp_path / "parent.py"), str(marks)]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    try:
        _until(lambda: list(marks.iterdir()))
        child = Path("/proc") / next(marks.iterdir()).name
        assert child.exists()
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not child.exists())


def _until(happened):
    ends = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.05)
