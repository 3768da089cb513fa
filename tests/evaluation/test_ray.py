"""A study on workers of Ray: one session for all that needs one, and refusals that need none.

The long form, with nodes and drivers that are killed, is ``ray_kills.py`` (docs/results/index.md).
"""

import dataclasses
import os
import re
import signal
import socket
import threading
import time
from concurrent import futures
from functools import partial
from pathlib import Path

import pytest
from fake_server import FakeVendorServer
from ray_sessions import own_session, workers_of_this_process
from ray_studies import LANE, ledger_of, study, tables

from atari_vlm import evaluate as program
from atari_vlm import plan
from atari_vlm.errors import BudgetExhaustedError, ConfigError, MismatchError, StoppedError
from atari_vlm.evaluation.evaluate import Watching, evaluate
from atari_vlm.evaluation.spread import needs_of_vlm
from atari_vlm.runs.cluster.session import About, check_head
from atari_vlm.runs.cluster.units import Needs
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.progress import Quiet

SECRET = "sk-a-secret-of-this-test-0123456789"
BUDGET_LOST = "the budget's process was lost; it is made again from the journal"
REFUSED = [
    (["--ray-address", "auto"], "--executor ray"),
    (["--executor", "ray", "--ray-address", "nowhere"], "HOST:PORT or auto"),
    (["--executor", "ray", "--ray-address", "host:99999"], "HOST:PORT or auto"),
    (["--executor", "ray", "--api-key", "sk-abcdefghijkl"], "environment variable"),
    (["--executor", "ray", "--estimate"], "leave --executor away"),
    (["--executor", "ray", "--max-calls", "0"], "max_calls must be greater than 0"),
]


@pytest.fixture(scope="module")
def ray():
    """A session of this machine, with a key in the environment of its workers."""
    with own_session(2, STUDY_KEY=SECRET) as opened:
        yield opened.ray


class Observed(Quiet):
    """Sees what goes on, and does something at the n-th step."""

    def __init__(self, act=None, at=()):
        self.act, self.at, self.steps = act, set(at), 0
        self.said, self.workers = [], set()

    def began(self, task, recorded=0):
        self.workers.add(task.worker)

    def advanced(self, task, step=None, calls=0):
        self.steps += 1
        if self.steps in self.at:
            self.act()

    def say(self, message):
        self.said.append(message)


def test_a_study_that_was_stopped_and_lost_a_worker_equals_the_serial_one(ray, tmp_path):
    serial, _ = evaluate(study(tmp_path / "serial", ledger_of(tmp_path / "serial")))
    config = study(tmp_path / "ray", ledger_of(tmp_path / "ray"), executor="ray", parallel=2)
    stop = threading.Event()
    with pytest.raises(StoppedError):
        evaluate(config, Watching(Observed(stop.set, at=(6,)), stop))
    names = []

    def kill():
        names.extend(actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True))
        for victim in workers_of_this_process():
            os.kill(victim, signal.SIGKILL)

    seen = Observed(kill, at=(30,))
    path, _ = evaluate(config, Watching(seen))
    assert tables(path) == tables(serial)
    with Journal(path / "journal.sqlite", read_only=True) as journal:
        answered = sum(1 for _ in journal.replies())
    calls = ledger_of(tmp_path / "ray").read_text().splitlines()
    assert answered <= len(calls) <= answered + 2, "a call was paid twice that was not in flight"
    assert 1 <= len([line for line in seen.said if "was lost" in line]) <= 2
    assert len(seen.workers) >= 2 and all(name.startswith("worker ") for name in seen.workers)
    assert any("budget" in name and "limit" in name for name in names)


def test_a_limit_holds_over_all_workers_and_the_key_is_in_no_file(ray, tmp_path):
    """The workers find the key in their environment; the limit in calls and the requests in flight are shared."""
    with FakeVendorServer(latency_s=0.05, answer=lambda text, images: "ACTION: NOOP") as server:
        asks = f"gpt=gpt-4o,model=m,base_url={server.openai_url},api_key_env=STUDY_KEY"
        config = study(tmp_path, agents=[asks], executor="ray", parallel=2, max_calls=7)
        for parallel in (2, 1):
            with pytest.raises(BudgetExhaustedError, match="budget of 7 calls") as refused:
                evaluate(dataclasses.replace(config, parallel=parallel))
            assert len(server.requests) == 7 and refused.value.exit_code == 75
    folders = [Path(os.environ["RAY_TMPDIR"]), tmp_path]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert any("session_" in str(file) for file in files)
    for secret in (SECRET, os.environ["RAY_AUTH_TOKEN"]):
        holders = [file for file in files if secret.encode() in file.read_bytes()]
        assert not holders


def test_plans_on_workers_are_those_of_one_process(ray, tmp_path):
    words = "--game Catch --world-model catch --num-episodes 2 --max-steps 6 --videos 0 --seed 3".split()
    for executor in ("local", "ray"):
        where = ["--save-dir", str(tmp_path), "--run-name", executor, "--executor", executor]
        assert plan.main([*words, *where]) == 0
    local, spread = (Journal(tmp_path / name / "journal.sqlite") for name in ("local", "ray"))
    with local, spread:
        assert local.episodes() == spread.episodes() and len(local.episodes()) == 2
        for number in (0, 1):
            ours, theirs = (
                [(s.action, s.reward) for s in j.steps(number)] for j in (local, spread)
            )
            assert ours == theirs


@pytest.mark.slow
def test_a_budget_whose_process_is_lost_is_made_again_from_the_journal(ray, tmp_path):
    serial, _ = evaluate(study(tmp_path / "serial", ledger_of(tmp_path / "serial")))
    needed = len(ledger_of(tmp_path / "serial").read_text().splitlines())
    ledger = ledger_of(tmp_path / "ray")
    config = study(tmp_path / "ray", ledger, executor="ray", parallel=2)
    lost = []

    def lose():
        (process,) = workers_of_this_process("budget_and_limit")
        os.kill(process, signal.SIGKILL)
        lost.append(process)

    limit, seen = needed // 2, Observed(lose, at=(8,))
    with pytest.raises(BudgetExhaustedError, match=f"budget of {limit} calls"):
        evaluate(dataclasses.replace(config, max_calls=limit), Watching(seen))
    assert limit <= len(ledger.read_text().splitlines()) <= limit + 2
    again = Observed(lose, at=(4,))
    path, _ = evaluate(config, Watching(again))
    assert tables(path) == tables(serial) and len(lost) == 2
    assert len(ledger.read_text().splitlines()) == needed, "a call was paid twice"
    for watching in (seen, again):
        assert [line for line in watching.said if "lost" in line] == [BUDGET_LOST]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(words, said, tmp_path, capsys):
    assert program.main(["--games", "Catch", "--save-dir", str(tmp_path), *words]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and said in line
    assert not list(tmp_path.iterdir())


def test_ray_that_is_not_installed_is_named_with_its_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    words = ["--games", "Catch", "--save-dir", str(tmp_path), "--executor", "ray"]
    assert program.main(words) == 2
    assert re.search(r"^error: ray is not installed.*\[scale\]", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=["nobody", "somebody silent", "somebody who speaks gRPC"])
def address(request):
    """Where no head of Ray answers."""
    if request.param == "somebody who speaks gRPC":
        server = pytest.importorskip("grpc").server(futures.ThreadPoolExecutor(1))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()
        return
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "somebody silent":
            listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_an_address_without_a_head_is_said_within_seconds(address, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("atari_vlm.runs.cluster.session._start", None)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"no head of a Ray cluster answers at {address}"):
        evaluate(study(tmp_path, games=[LANE], executor="ray", ray_address=address))
    assert time.monotonic() - began < 20 and not (tmp_path / "run").exists()


def test_a_cluster_that_asks_for_a_token_is_told_one_or_says_so(monkeypatch):
    """Who has none shows none, and a token is shown to nobody who has not asked for one."""
    grpc = pytest.importorskip("grpc")
    shown = []

    class Guarded(grpc.GenericRpcHandler):
        def service(self, details):
            shown.append(dict(details.invocation_metadata).get("authorization"))
            no = grpc.StatusCode.UNAUTHENTICATED
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: b"" if shown[-1] == "Bearer right" else context.abort(no, "no")
            )

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Guarded()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        monkeypatch.setattr("atari_vlm.runs.cluster.session._token", lambda: "right")
        check_head(address)
        for token in ("wrong", None):
            monkeypatch.setattr("atari_vlm.runs.cluster.session._token", lambda has=token: has)
            with pytest.raises(ConfigError, match=f"at {address} asks for its token: set RAY_AUTH"):
                check_head(address)
    finally:
        server.stop(None).wait()
    assert shown == [None, "Bearer right", None, "Bearer wrong", None]


def test_a_model_that_is_loaded_takes_a_gpu_where_there_is_one_and_an_address_hardly_a_processor():
    model = partial(needs_of_vlm, "qwen-vl")
    assert model(None, has_gpus=True) == Needs(1.0, 1.0, "qwen-vl")
    assert model(None, has_gpus=False) == Needs(1.0, 0.0, "qwen-vl")
    served = model("http://127.0.0.1:8000/v1", has_gpus=True)
    assert served == needs_of_vlm("gpt-4o", None, has_gpus=True) and (served.cpus, served.gpus) == (0.1, 0)  # fmt: skip
    assert needs_of_vlm("nearest-example", None, has_gpus=True) == Needs()


def test_a_worker_of_another_version_is_refused():
    mine = About.here()
    mine.check()
    with pytest.raises(MismatchError, match=r"the worker on far has atari_vlm 0\.0\.9, this"):
        About("0.0.9", mine.ray, "far").check()
    with pytest.raises(MismatchError, match=r"has Ray 1\.0"):
        About(mine.version, "1.0", "far").check()
