"""Functions that are called on workers of Ray: one session of this machine for all of it."""

import os
import re
import signal
import threading
import time
from functools import partial
from pathlib import Path

import called
import pytest
from ray_sessions import own_session, workers_of_this_process

from atari_vlm.errors import MismatchError, RunError, StoppedError, UnknownNameError
from atari_vlm.runs.cluster.calling import Call, Caller
from atari_vlm.runs.cluster.session import About
from atari_vlm.runs.cluster.units import Needs

SECRET = "sk-a-secret-of-this-test-0123456789"


@pytest.fixture(scope="module")
def session():
    with own_session(2, OPENAI_API_KEY=SECRET) as opened:
        yield opened


def numbered(values):
    return [Call(value, f"number {value}") for value in values]


def test_every_call_comes_back_with_its_result_and_few_are_under_way(session):
    taken = []

    def calls():
        for call in numbered(range(7)):
            taken.append(call.what)
            yield call

    back = {}
    for call, result in Caller(session, 2).results(partial(called.times, 3), calls()):
        back[call.what] = result
        assert len(taken) - len(back) <= 1, "a call was begun before there was room for it"
    assert back == {n: 3 * n for n in range(7)}


def test_an_error_is_itself_without_a_key_and_ends_the_rest(session):
    with pytest.raises(UnknownNameError, match="unknown game 'Pnog'") as raised:
        list(Caller(session, 2).results(called.fails, numbered(range(4))))
    assert raised.value.known == ["Pong"] and raised.value.exit_code == 2
    with pytest.raises(RunError) as raised:
        list(Caller(session).results(called.tells, [Call(SECRET, "it")]))
    assert "the key is" in str(raised.value) and SECRET not in str(raised.value)


def test_a_call_that_lost_its_worker_is_made_again(session, tmp_path):
    said, marks = [], tmp_path / "marks"
    marks.mkdir()

    def kill():
        while not list(marks.iterdir()):
            time.sleep(0.02)
        os.kill(int(next(marks.iterdir()).name), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    waits = partial(called.waits_once, str(marks))
    ((_, result),) = Caller(session, 1, say=said.append).results(waits, [Call(None, "the one")])
    killer.join()
    assert result == "again" and said == ["a worker was lost; the one is begun again on another"]


def test_a_call_that_ends_every_worker_ends_after_eight(session, monkeypatch):
    monkeypatch.setattr("atari_vlm.runs.cluster.calling._MOST_LOSSES", 2)
    with pytest.raises(RunError, match="number 5: 2 workers were lost over it"):
        list(Caller(session).results(called.dies, numbered([5])))


def test_a_wish_to_stop_ends_what_is_under_way(session):
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(StoppedError):
        list(Caller(session, 2, stop=stop).results(time.sleep, numbered([600, 600])))
    ended = time.monotonic() + 20
    while workers_of_this_process("unit_call") and time.monotonic() < ended:
        time.sleep(0.05)
    assert not workers_of_this_process("unit_call")


def test_that_no_worker_begins_for_long_is_said_once(session, monkeypatch):
    monkeypatch.setattr("atari_vlm.runs.cluster.calling.PATIENCE_S", 0.2)
    said, stop = [], threading.Event()
    threading.Timer(1.5, stop.set).start()
    wants = Caller(session, needs=Needs(gpus=1.0), say=said.append, stop=stop)
    with pytest.raises(StoppedError):
        list(wants.results(partial(called.times, 3), numbered([1])))
    (line,) = said
    assert re.fullmatch(
        r"no worker within 60 s; one takes 1 CPU and 1 GPU, free: \d CPU, 0 GPU", line
    )


def test_a_worker_of_another_version_is_refused_before_it_does_anything(
    session, monkeypatch, tmp_path
):
    mine = About.here()
    far = About("0.0.9", mine.ray, mine.machine)
    monkeypatch.setattr(About, "here", classmethod(lambda cls: far))
    with pytest.raises(MismatchError, match=f"has atari_vlm {mine.version}, this process 0.0.9"):
        list(Caller(session).results(Path.touch, [Call(tmp_path / "touched", "a file")]))
    assert not (tmp_path / "touched").exists()
