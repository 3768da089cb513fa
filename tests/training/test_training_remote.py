"""Whole runs against a server that speaks a vendor's wire format.

The speed-up of parallel episodes: ``python -m pytest -m slow -n 0 tests/training/test_training_remote.py``.
"""

import base64
import contextlib
import io
import time
import urllib.parse
import zlib

import pytest
from fake_server import FakeVendorServer, FaultSchedule
from remote_helpers import VirtualClock
from training_helpers import run_data

from atari_vlm import VLMTrainer, train
from atari_vlm.errors import AuthenticationError
from atari_vlm.runs.journal import Journal
from atari_vlm.vlm.remote.openai import OpenAIVLM
from atari_vlm.vlm.remote.options import RemoteOptions
from atari_vlm.vlm.remote.retry import RetryPolicy

CANARY = "sk-canary/7Qx+Zp39&vKw0123456789abcdef=="
QUICK_FAULTS = (
    "429",
    "429_ms",
    "500",
    "502_html",
    "408",
    "409",
    "reset",
    "reset_mid_body",
    "closed",
    "malformed_json",
    "empty_body",
)


def answer(text, images):
    """A function of the request, so that equal requests get equal answers."""
    return "ACTION: " + ("NOOP", "RIGHT", "LEFT", "FIRE")[zlib.crc32(b"".join(images)) % 4]


def play(folder, server, **more):
    """A small run; the VLM's name must not depend on the server's port for journals to be equal."""
    options = RemoteOptions(
        structured="none", clock=VirtualClock(), retry=RetryPolicy(max_attempts=6)
    )
    vlm = OpenAIVLM(
        "test-model",
        api_key="test-key-0123456789",
        base_url=server.openai_url,
        timeout_s=5.0,
        options=options,
    )
    vlm.name = "openai:test-model"
    settings = {
        "max_steps": 15,
        "round_size": 2,
        "videos": 0,
        "run_name": "run",
        "parallel": 2,
        **more,
    }
    with VLMTrainer("Pong-v5", vlm, save_dir=folder, **settings) as trainer:
        trainer.train(2)
        trainer.evaluate(1)
    return run_data(folder / "run")


def test_faults_leave_no_trace(tmp_path):
    with FakeVendorServer(answer=answer) as server:
        expected = play(tmp_path / "calm", server)
    faults = FaultSchedule.seeded(1, 45, 15, QUICK_FAULTS)
    with FakeVendorServer(answer=answer, faults=faults) as server:
        assert play(tmp_path / "stormy", server) == expected
        assert sum(server.faults_served.values()) == 15


def forms_of(key):
    raw = key.encode()
    yield raw
    yield urllib.parse.quote(key, safe="").encode()
    yield urllib.parse.quote_plus(key).encode()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"x" * shift + raw)
            yield encoded[4:-4]


def assert_nowhere(folder, *texts):
    """The key is in no file of a folder and in none of the texts, whatever its form."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for content in [*(path.read_bytes() for path in files), *(text.encode() for text in texts)]:
        for form in forms_of(CANARY):
            assert form not in content


def test_a_key_is_written_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY + "-environment")
    said = io.StringIO()
    with FakeVendorServer(
        answer=lambda text, images: f"my key is {CANARY}\nACTION: NOOP"
    ) as server:
        words = f"--vlm gpt-4o --base-url {server.openai_url} --api-key {CANARY} --use-icl --num-episodes 1"
        words += f" --num-eval-episodes 1 --max-steps 6 --save-dir {tmp_path} --cache {tmp_path / 'cache'}"
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assert train.main(words.split()) == 0
        assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    (run,) = tmp_path.glob("Pong*")
    assert f"report: {run / 'report.html'}" in said.getvalue()
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        assert journal.calls(0)[0].reply["text"] == "my key is [key]\nACTION: NOOP"
    assert_nowhere(tmp_path, said.getvalue())


def test_a_refused_key_ends_the_run_and_is_not_shown(tmp_path, capsys):
    with FakeVendorServer(faults=FaultSchedule(always="401")) as server:
        server.error_text = f"Incorrect API key provided: {CANARY}"
        words = f"--vlm gpt-4o --base-url {server.openai_url} --api-key {CANARY} --max-steps 5 --save-dir {tmp_path}"
        assert train.main(words.split()) == AuthenticationError.exit_code == 77
        assert len(server.requests) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: ")
    assert_nowhere(tmp_path, said.out, said.err)


@pytest.mark.slow
def test_eight_episodes_at_once_are_seven_times_as_fast(tmp_path):
    def rate(parallel):
        with FakeVendorServer(answer=answer, latency_s=0.2) as server:
            options = RemoteOptions(structured="none")
            vlm = OpenAIVLM(
                "m", api_key="test-key-0123456789", base_url=server.openai_url, options=options
            )
            settings = {
                "max_steps": 80,
                "videos": 0,
                "run_name": f"run-{parallel}",
                "parallel": parallel,
            }
            with VLMTrainer("Pong-v5", vlm, save_dir=tmp_path, **settings) as trainer:
                begin = time.perf_counter()
                trainer.evaluate(parallel)
                return 80 * parallel / (time.perf_counter() - begin)

    one, eight = rate(1), rate(8)
    print(f"{one:.2f} decisions/s one at a time, {eight:.2f} with 8: {eight / one:.2f} times")
    assert eight >= 7 * one
