"""Programs judged and measured on the workers of Ray: the same runs as in one process, whatever is lost or stopped on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from fake_server import FakeVendorServer
from judges import FarJudge, UnavailableJudge
from ray_sessions import own_session, workers_of_this_process

from atari_vlm import codewm
from atari_vlm.experience import fill_replay_buffer
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.journal import Journal
from atari_vlm.synthesis import measuring, run_search
from atari_vlm.synthesis.command_options import SearchCommand
from atari_vlm.vlm.scripted.programs import write_program

QUICK = ("--n_episodes", 1, "--max-episode-steps", 12, "--num_simulations_mcts", 4, "--n_transitions", 60)  # fmt: skip
RAY = ("--executor", "ray", "--parallel", 2)
STEP = "    def step(self, action):\n"
SLOWLY = STEP + "        for _ in range(60_000):\n            pass\n"


@pytest.fixture(scope="module")
def session():
    with own_session(2) as opened:
        yield opened


@pytest.fixture(scope="module")
def buffer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buffers")
    fill_replay_buffer("CartPole-v1", 200, folder, "CartPole-v1", seed=1)
    return folder / "CartPole-v1.npz"


def command(*words):
    return codewm.main([str(word) for word in words])


def facts(run):
    """What a run left behind, but for the clocks."""
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        simulations, nodes = journal.simulations(), journal.nodes()
        replies = [journal.calls(row.simulation)[0].reply for row in simulations if row.simulation]
    texts = [reply["text"] for reply in replies]
    kinds = (".csv", ".py", ".json", ".html")
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.suffix in kinds
    }
    assert {"nodes.csv", "best.py", "results.json", "tree.html"} <= files.keys()
    return {"simulations": simulations, "nodes": nodes, "replies": texts, **files}


def nothing_here(*_, **__):
    raise AssertionError("this was to be done on a worker")


def test_a_search_and_an_evaluation_equal_those_of_one_process(session, buffer, tmp_path, capsys, monkeypatch):  # fmt: skip
    words = ("search", "--buffer", buffer, "--run-name", "run", "--budget", 12, "--parallel", 2)
    assert command(*words, "--save-dir", tmp_path / "local") == 0
    with monkeypatch.context() as patch:
        patch.setattr(run_search, "ProgramJudge", FarJudge)
        assert command(*words, "--save-dir", tmp_path / "ray", "--executor", "ray") == 0
    assert facts(tmp_path / "ray" / "run") == facts(tmp_path / "local" / "run")
    capsys.readouterr()
    said = []
    ways = {"local": (), "processes": ("--parallel", 2), "ray": RAY}
    shutil.copytree(tmp_path / "local", tmp_path / "processes")
    for name, more in ways.items():
        shutil.copytree(tmp_path / name / "run", tmp_path / name / "another")
        with monkeypatch.context() as patch:
            if more:
                patch.setattr(measuring, "evaluate_program", nothing_here)
            assert command("evaluate", "--save-dir", tmp_path / name, *QUICK, *more) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2] and said[0].count("CartPole-v1") == 2
    for run in ("run", "another"):
        files = {(tmp_path / name / run / "evaluation.json").read_bytes() for name in ways}
        assert len(files) == 1 and "model" in json.loads(files.pop())["returns"]


def test_what_is_wrong_on_a_worker_ends_the_search_as_itself(session, buffer, tmp_path, capsys, monkeypatch):  # fmt: skip
    monkeypatch.setattr(run_search, "ProgramJudge", UnavailableJudge)
    words = ("--buffer", buffer, "--save-dir", tmp_path, *RAY)
    assert command("search", *words) == 69
    assert capsys.readouterr().err.splitlines()[-1] == "error: there is no seccomp there"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("search", "--env", "CartPole-v1", "--ray-address", "auto"), "needs --executor ray"),
        (("search", "--env", "CartPole-v1", *RAY, "--api-key", "sk-abcdefghijkl"), "environment variable"),
        (("search", "--env", "CartPole-v7", *RAY), "did you mean"),
        (("search", "--env", "CartPole-v1", *RAY, "--method", "gifmcts"), "did you mean"),
        (("evaluate", "--ray-address", "host:1"), "needs --executor ray"),
        (("evaluate", "--executor", "ray", "--ray-address", "nowhere"), "HOST:PORT or auto"),
        (("evaluate", "--parallel", 0), "parallel must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_ray_begins(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("atari_vlm.runs.cluster.session._start", nothing_here)
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and said in line
    assert not list(tmp_path.iterdir())


def test_a_cache_stays_with_the_program_that_asks(tmp_path):
    words = ["--env", "CartPole-v1", "--executor", "ray", "--ray-address", "host:1", "--cache", str(tmp_path)]  # fmt: skip
    assert parse(SearchCommand, words, "").cache == tmp_path


def slow_writer(text, _):
    """The bundled writer, whose programs take a while here."""
    return write_program(text.replace(SLOWLY, STEP), 0).replace(STEP, SLOWLY)


@pytest.fixture(scope="module")
def slow_search(buffer, tmp_path_factory):
    """Words of a search whose judging takes a while, what it left behind in one process, and how many calls it made."""
    folder = tmp_path_factory.mktemp("local")
    words = ("search", "--buffer", buffer, "--run-name", "run", "--budget", 12, "--parallel", 2)
    words = (*words, "--model", "gpt-test", "--deadline_s", 60)
    with pytest.MonkeyPatch.context() as patch, FakeVendorServer(answer=slow_writer) as server:
        patch.setenv("OPENAI_API_KEY", "test-key-1")
        patch.setenv("OPENAI_BASE_URL", server.openai_url)
        assert command(*words, "--save-dir", folder) == 0
        yield words, facts(folder / "run"), server


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_whose_workers_were_lost_equals_an_undisturbed_one(session, slow_search, tmp_path, capsys):  # fmt: skip
    words, undisturbed, server = slow_search
    calls, over, killed = len(server.requests), threading.Event(), []

    def kill():
        while not over.wait(0.2) and len(killed) < 3:
            for process in workers_of_this_process("unit_call")[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert command(*words, "--save-dir", tmp_path, "--executor", "ray") == 0
    finally:
        over.set()
        killer.join()
    assert facts(tmp_path / "run") == undisturbed
    assert len(server.requests) - calls == len(undisturbed["replies"]), "a call was paid twice"
    said = capsys.readouterr().err
    assert len(killed) == said.count("is begun again on another") == 3, said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ctrl_c_ends_a_search_cleanly_and_the_same_command_goes_on(slow_search, tmp_path):
    words, undisturbed, server = slow_search
    line = [*map(str, words), "--save-dir", str(tmp_path), "--executor", "ray"]
    line = [sys.executable, "-m", "atari_vlm.codewm", *line]
    calls = len(server.requests)
    began = subprocess.Popen(line, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while len(server.requests) == calls:
        assert began.poll() is None
        time.sleep(0.05)
    os.killpg(began.pid, signal.SIGINT)  # as a terminal does: Ray's own processes hear it too
    said = began.communicate(timeout=600)[1]
    assert began.returncode == 130 and "stopped; continue with:" in said, said
    assert not (tmp_path / "run" / "best.py").exists()
    assert subprocess.run(line, timeout=600).returncode == 0
    assert facts(tmp_path / "run") == undisturbed
    assert len(server.requests) - calls == len(undisturbed["replies"]), "a call was paid twice"
