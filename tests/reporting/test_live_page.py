"""The live page: what it tells, whom it tells it, and that what it is told stays text."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from http.client import HTTPConnection
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import write_episode

from atari_vlm.description import list_actions
from atari_vlm.errors import ConfigError
from atari_vlm.reporting.live.page import live_page
from atari_vlm.reporting.live.session import Following
from atari_vlm.reporting.live.state import Expected, LiveState
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.progress import Label, Listening, Quiet, Task
from atari_vlm.types import Decision, Image, Message, Reply, Source, Transition
from atari_vlm.vlm.layers.budget import Budget

EPISODE = Task("eval episode 4 (seed 9)", label=Label("Pong", "slow", 1, 2), worker="worker 3")
SERVED = SimpleNamespace(program="evaluate", serve=0)


def step(reward: float = 1.0, source: Source = Source.MODEL, pixel: int = 7) -> Transition:
    picture = np.full((20, 30, 3), pixel, np.uint8)
    seen = {"image": picture, "text": "facts", "action_space": list_actions(["NOOP", "UP"])}
    return Transition(seen, Decision(1, source), reward, seen, False, False)


def row(total: float, length: int = 4) -> EpisodeRow:
    return EpisodeRow(4, "eval", 9, "done", total, length, 0.25, 0.5)


def ask(
    state: LiveState, question: str, reply: str, task: Task = EPISODE, attempts: int = 1
) -> None:
    state.asked(task, [Message.of("system", "rules"), Message.of("user", question)])
    state.answered(task, Reply(reply, "m", cost_usd=0.25, attempts=attempts))


@pytest.fixture
def served(capsys):
    """A page, and a function that asks it: ``ask(path, method, **headers) -> (status, headers, body)``."""
    with live_page(SERVED) as page:
        said = capsys.readouterr().err
        address = urlsplit(said.split()[-1])

        def get(path: str, method: str = "GET", **headers: str):
            connection = HTTPConnection("127.0.0.1", address.port, timeout=10)
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in headers.items():
                if value:
                    connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            found = answer.status, dict(answer.headers), answer.read()
            connection.close()
            return found

        yield SimpleNamespace(
            page=page, get=get, said=said, address=address, query=f"?{address.query}"
        )


def test_an_episode_that_goes_on_is_told_whole():
    state = LiveState("evaluate")
    budget = Budget(usd=2.0)
    budget.restore(usd=0.5, calls=2, tokens=10)
    state.expect(Expected(10, title="run-001", budget=budget))
    state.began(EPISODE)
    state.asked(EPISODE, [Message.of("user", Image(np.zeros((4, 4, 3), np.uint8)), "What now?")])
    (one,) = state.as_dict()["running"]
    assert one["question"] == "[picture]\nWhat now?" and one["reply"] == "" and one["step"] == 0
    assert one["waiting_s"] >= 0 and one["frame"].startswith("data:image/png;base64,")
    state.answered(EPISODE, Reply("UP, for it comes", "m", cost_usd=0.25, attempts=3))
    state.advanced(EPISODE, step(), 1)
    state.advanced(EPISODE, step(0.5, Source.FALLBACK), 1)
    found = json.loads(json.dumps(state.as_dict(), allow_nan=False))
    (one,) = found["running"]
    assert {name: one[name] for name in ("game", "agent", "seed", "episode", "worker")} == {
        "game": "Pong",
        "agent": "slow",
        "seed": 1,
        "episode": 2,
        "worker": "worker 3",
    }
    assert (one["step"], one["return"], one["action"], one["source"]) == (2, 1.5, "UP", "fallback")
    assert one["reply"] == "UP, for it comes" and one["waiting_s"] is None
    assert found["progress"] == {"done": 0, "total": 10, "unit": "episodes"}
    assert (found["cost_usd"], found["budget_usd"]) == (0.5, 2.0)
    assert (found["calls"], found["retries"], found["fallbacks"]) == (1, 2, 1)
    state.ended(EPISODE, row(1.5))
    found = state.as_dict()
    assert found["running"] == [] and found["progress"]["done"] == 1 and not found["finished"]
    (line,) = found["results"]
    assert (line["game"], line["episodes"], line["score"], line["cost_usd"]) == (
        "Pong",
        1,
        1.5,
        0.5,
    )


def test_what_a_journal_holds_already_is_not_counted_twice(journal):
    journal.begin_episode(4, "eval", 9)
    write_episode(journal, 5, ["UP. ACTION: UP", "well"])
    state = LiveState("train")
    state.expect(Expected(3, journal=journal))
    found = state.as_dict()
    assert (found["calls"], found["decisions"], found["fallbacks"]) == (2, 2, 1)
    assert found["cost_usd"] == pytest.approx(0.003)
    state.began(EPISODE, recorded=2)
    for _ in range(3):
        state.advanced(EPISODE, step(source=Source.FALLBACK))
    found = state.as_dict()
    assert (found["decisions"], found["fallbacks"]) == (3, 2)
    assert found["running"][0]["step"] == 3


def test_the_table_is_made_anew_only_when_something_has_ended_and_stays_at_the_end():
    made = []

    def rows():
        made.append(len(made))
        return [{"game": "Pong", "score": len(made)}]

    state = LiveState("evaluate")
    state.expect(Expected(2, rows=rows))
    assert (
        state.as_dict()["results"] == state.as_dict()["results"] == [{"game": "Pong", "score": 1}]
    )
    state.began(EPISODE)
    state.ended(EPISODE, row(1.0))
    assert state.as_dict()["results"][0]["score"] == 2
    state.finish()
    state.ended(EPISODE)
    found = state.as_dict()
    assert found["results"][0]["score"] == 2 and found["finished"] and made == [0, 1]


def test_a_program_that_is_not_served_keeps_its_own_progress():
    quiet = Quiet()
    with live_page(SimpleNamespace(program="train", serve=None)) as page:
        assert page.beside(quiet) is quiet and not isinstance(quiet, Listening)
        page.expect(Expected(3))
        page.finish()


def test_stages_epochs_and_rows_of_programs_without_episodes():
    state = LiveState("dream rem")
    state.expect(Expected(9, "epochs", "run"))
    stage = Task("world model", 4, "updates", (2, 9))
    state.began(stage)
    state.advanced(stage)
    state.measured(1, {"evaluation/return": float("nan"), "world_model/loss": 0.5})
    state.add_row({"run": "x", "R": "0.5"})
    found = state.as_dict()
    assert found["stages"] == [
        {"name": "epoch 2 of 9, world model", "done": 1, "total": 4, "unit": "updates"}
    ]
    assert found["progress"] == {"done": 1, "total": 9, "unit": "epochs"} and found["running"] == []
    assert found["metrics"] == [{"epoch": 1, "evaluation/return": None, "world_model/loss": 0.5}]
    assert found["results"] == [{"run": "x", "R": "0.5"}]


def test_the_newest_thousand_rows_are_kept():
    state = LiveState("play")
    for seed in range(1_200):
        state.ended(Task(f"episode {seed}", label=Label("Pong", "scripted", seed, seed)), row(1.0))
    rows = state.as_dict()["results"]
    assert len(rows) == 1_000 and rows[-1]["seed"] == 1_199


def test_ten_thousand_steps_do_not_grow_memory():
    state = LiveState("evaluate")
    state.expect(Expected(3))

    def play(steps: int) -> int:
        state.began(EPISODE)
        for at in range(steps):
            ask(state, f"question {at} " + "q" * 5000, f"reply {at} " + "r" * 5000)
            state.advanced(EPISODE, step(pixel=at % 250))
            if at % 500 == 0:
                state.say(f"message {at}" * 100)
                assert len(json.dumps(state.as_dict())) < 60_000
        state.ended(EPISODE, row(1.0))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = play(500)
        assert play(10_000) - before < 100_000  # a word a step would be more
    finally:
        tracemalloc.stop()


def test_only_who_knows_the_token_is_told(served):
    assert len(served.query) >= len("?token=") + 22 and served.said.startswith(
        "live page: http://127.0.0.1:"
    )
    served.page.expect(Expected(3, title="run-001"))
    for path, kind in (("/", "text/html"), ("/state.json", "application/json")):
        status, headers, body = served.get(path + served.query)
        assert status == 200 and headers["Content-Type"].startswith(kind) and body
        assert (
            headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
        )
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        status, more, body = served.get(path + served.query, "HEAD")
        assert (status, body) == (200, b"") and int(more["Content-Length"]) > 0
    token = served.query.removeprefix("?token=")
    wrong = ("", "?token=", "?token=x", f"?token={token}x", f"?token={token}&token={token}", f"?t={token}",
             f"?token={token[:-1]}", "?token=%ff%fe")  # fmt: skip
    for path in ("/", "/state.json", "/other", "/../state.json"):
        for query in wrong:
            status, headers, body = served.get(path + query)
            assert (status, body) == (403, b""), (path, query)
    assert served.get("/other" + served.query)[0] == 404


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "SPLAT"]
)
def test_nothing_but_reading(served, method):
    assert served.get("/state.json" + served.query, method)[::2] == (403, b"")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example:{port}", "0.0.0.0:{port}",
             "[::1]:{port}", "127.0.0.1:{port}@evil.example", "127.0.0.1:", "127.1", ""]
)  # fmt: skip
def test_a_foreign_host_gets_nothing(served, host):
    host = host.format(port=served.address.port)
    assert served.get("/state.json" + served.query, Host=host)[::2] == (403, b"")


@pytest.mark.parametrize("host", ["127.0.0.1:9123", "localhost:9123", "localhost", "LOCALHOST:1"])
def test_a_forwarded_port_is_good_with_its_own_origin(served, host):
    assert served.get("/state.json" + served.query, Host=host)[0] == 200
    assert served.get("/state.json" + served.query, Host=host, Origin=f"http://{host}")[0] == 200
    for origin in (
        "http://evil.example",
        "null",
        "http://localhost:9999",
        f"https://{host}",
        f"http://{host}.evil.example",
    ):
        assert served.get("/state.json" + served.query, Host=host, Origin=origin)[::2] == (403, b"")


def test_a_page_that_is_no_request_is_refused_and_the_server_goes_on(served):
    for words in (
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff\xfe\x00" * 50 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.address.port), timeout=5) as raw:
            raw.sendall(words)
            raw.shutdown(socket.SHUT_WR)
            assert b"200 OK" not in raw.recv(4096)
    assert served.get("/" + served.query)[0] == 200


def test_it_ends_with_its_block_and_frees_the_port(capsys):
    with pytest.raises(RuntimeError, match="died"), live_page(SERVED):
        address = urlsplit(capsys.readouterr().err.split()[-1])
        raise RuntimeError("died")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address.geturl(), timeout=2)
    with live_page(SimpleNamespace(program="x", serve=address.port)):
        with pytest.raises(ConfigError, match=f"--serve {address.port}: the port cannot be opened"):
            with live_page(SimpleNamespace(program="x", serve=address.port)):
                pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_of_the_program_does_not_hold_the_port(capsys):
    ended, still = os.pipe()
    with live_page(SERVED):
        address = capsys.readouterr().err.split()[-1]
        child = os.fork()
        if child == 0:
            os.close(still)
            os.read(ended, 1)  # until the parent has closed its end
            os._exit(0)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)
    os.close(still)
    assert os.waitpid(child, 0)[1] == 0
    os.close(ended)


def test_it_listens_on_this_machine_alone(served):
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    with open("/proc/net/tcp") as listed:
        lines = [line.split() for line in listed][1:]
    mine = f":{served.address.port:04X}"
    assert {
        line[1].split(":")[0] for line in lines if line[1].endswith(mine) and line[3] == "0A"
    } == {"0100007F"}


def test_a_port_in_use_ends_a_program_with_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [
            sys.executable,
            "-m",
            "atari_vlm.evaluate",
            "--serve",
            str(port),
            "--save-dir",
            str(tmp_path),
        ]
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=120, env=dict(os.environ)
        )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert f"--serve {port}: the port cannot be opened" in ended.stderr
    assert not list(tmp_path.iterdir())


HOSTILE = (
    "<script>window.pwned=1</script>", "<img src=x onerror=window.pwned=1>", "</script><script>window.pwned=1</script>",
    "<svg onload=window.pwned=1>", "javascript:window.pwned=1", "\u202e<b>right to left</b>", "\x00\x1b[2J\ud800",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>", "${window.pwned=1}", "{{constructor.constructor('window.pwned=1')()}}",
    "<a href='javascript:window.pwned=1' autofocus onfocus=window.pwned=1>x</a>", "<style>body{display:none}</style>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:1/'>", "<base href='http://127.0.0.1:1/'>", "__proto__",
    "' onload='window.pwned=1",
    "<form action=/x><button autofocus>go</button></form>",
)  # fmt: skip


def test_fifty_hostile_replies_stay_text(served, tab):
    """Names, questions and replies in a browser: none runs, loads or becomes an element."""
    state, count = served.page.state, 50
    served.page.expect(Expected(count, title=HOSTILE[0]))
    for at in range(count):
        words = HOSTILE[at % len(HOSTILE)] + f" number {at}"
        task = Task(f"episode {at}", label=Label(words, words, at, at, words))
        state.began(task)
        ask(state, words, words, task)
        state.advanced(task, step())
        state.say(words)
    state.add_row({HOSTILE[0]: HOSTILE[1], "score": HOSTILE[2], "model": HOSTILE[3]})
    state.measured(1, {HOSTILE[1]: 1.0})
    stage = Task(HOSTILE[3], 4, HOSTILE[1])
    state.began(stage)
    tab.events.clear()
    tab.call("Page.navigate", url=served.address.geturl())
    tab.wait_for("document.querySelectorAll('article.episode').length === 50")
    tab.wait_for("document.getElementById('metrics').rows.length === 2")
    texts = tab.evaluate("[...document.querySelectorAll('.words')].map((node) => node.textContent)")
    assert (
        len(texts) == 2 * count
        and sum("<script>window.pwned=1</script> number" in t for t in texts) >= 2
    )
    assert tab.evaluate("window.pwned") is None
    assert tab.evaluate("document.scripts.length") == 1
    made = tab.evaluate(
        "document.querySelectorAll('iframe, form, base, svg, b, #results a, main script').length"
    )
    assert made == 0
    asked = {
        e["params"]["request"]["url"]
        for e in tab.events
        if e["method"] == "Network.requestWillBeSent"
    }
    asked = {url for url in asked if not url.startswith("data:")}
    assert asked == {served.address.geturl(), served.address.geturl().replace("/?", "/state.json?")}
    bad = (
        "Runtime.exceptionThrown",
        "Page.javascriptDialogOpening",
        "Log.entryAdded",
        "Runtime.consoleAPICalled",
    )
    assert [event for event in tab.events if event["method"] in bad] == []
    state.began(Task("wide", label=Label("W" * 180, "w" * 180, 1, 1, "p" * 90)))
    tab.wait_for("document.querySelectorAll('article.episode').length === 51")
    for width in (390, 1400):  # a phone, a desk
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 1000,
        )
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    tab.call("Emulation.clearDeviceMetricsOverride")
    state.finish()
    tab.wait_for("document.getElementById('status').textContent === 'Finished'")
    tab.call("Page.navigate", url="about:blank")


def test_who_looks_sees_the_end(capsys):
    seen = []

    def look(address: str) -> None:
        while not seen or not seen[-1]:
            with urllib.request.urlopen(address.replace("/?", "/state.json?"), timeout=5) as answer:
                seen.append(json.load(answer)["finished"])

    with live_page(SERVED) as page:
        eye = threading.Thread(target=look, args=(capsys.readouterr().err.split()[-1],))
        eye.start()
        while not seen:
            time.sleep(0.01)
        page.finish()
    eye.join(5)
    assert seen[0] is False and seen[-1] is True


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_it_ends_with_a_program_that_is_stopped(tmp_path, number, code):
    words = "--games Catch --agents random --episodes 5000 --serve --save-dir".split()
    words = [sys.executable, "-m", "atari_vlm.evaluate", *words, str(tmp_path)]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stderr is not None
        address = program.stderr.readline().split()[-1]
        while True:
            with urllib.request.urlopen(
                address.replace("/?", "/state.json?"), timeout=20
            ) as answer:
                state = json.load(answer)
            if state["progress"]["done"]:
                break
            time.sleep(0.1)
        assert state["progress"]["total"] and {one["game"] for one in state["running"]} <= {"Catch"}
        program.send_signal(number)
        said = program.stderr.read()
        assert program.wait(60) == code and "continue with" in said and "Traceback" not in said
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)


def test_a_session_of_play_is_followed():
    state = LiveState("play")
    state.expect(Expected(5, "steps"))
    followed = Following(state, "Pong", "scripted")
    followed.begin(3)
    reply = Reply("UP", "m", cost_usd=0.25, attempts=2)
    said = dataclasses.replace(step(), decision=Decision(1, Source.MODEL, replies=(reply,)))
    followed.step(said)
    found = state.as_dict()
    assert (found["calls"], found["retries"], found["progress"]["done"]) == (1, 1, 1)
    (one,) = found["running"]
    assert (one["seed"], one["episode"], one["reply"], one["return"]) == (3, 0, "UP", 1.0)
    followed.step(dataclasses.replace(said, terminated=True))
    followed.begin(4)
    followed.begin(5)
    found = state.as_dict()
    assert [one["seed"] for one in found["running"]] == [5]
    assert [
        (line["seed"], line["steps"], line["score"], line["cost_usd"]) for line in found["results"]
    ] == [(3, 2, 2.0, 0.5)]
