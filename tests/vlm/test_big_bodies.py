"""Bodies without end and bodies that unpack to gigabytes: counted as they are decoded, for every vendor, errors too."""

import subprocess
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_server import Request, answer_body

START = b'{"choices":[{"message":{"content":"ACTION: UP"}}],"content":[],"candidates":[],"pad":"'
BLOCK = b"A" * (1 << 20)
MANY = 1500  # mebibytes
ASK = """
import sys
sys.path[:0] = sys.argv[4:6]
from remote_helpers import BACKENDS, SAMPLING, VirtualClock, question
from atari_vlm.bench.serving import peak_mb
from atari_vlm.errors import UnavailableError
from atari_vlm.vlm.remote.options import RemoteOptions
from atari_vlm.vlm.remote.retry import RetryPolicy
dialect, url, words = sys.argv[1:4]
options = RemoteOptions(clock=VirtualClock(), retry=RetryPolicy(max_attempts=1))
with BACKENDS[dialect]("m", api_key="test-key-1", base_url=url, timeout_s=60.0, options=options) as vlm:
    try:
        print(vlm.complete(question(), sampling=SAMPLING).text)
    except UnavailableError as error:
        assert words in str(error), error
        print("refused")
print(int(peak_mb()))
"""


class Sender(BaseHTTPRequestHandler):
    """``/KIND/STATUS/...``: the body of that kind with that status."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        _, kind, status, *_ = self.path.split("/")
        self.send_response(int(status))
        self.send_header("content-type", "application/json")
        if kind in ("gzip", "deflate", "br"):
            self.send_header("content-encoding", kind)
        self.end_headers()
        try:
            for piece in PIECES[kind]():
                self.wfile.write(piece)
        except OSError:
            pass

    def log_message(self, *_):
        pass


def packed(bits):
    """A compressed body, made at once: a block behind a full flush may be repeated."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, bits)
    yield squeeze.compress(START) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(BLOCK) + squeeze.flush(zlib.Z_FULL_FLUSH)
    for _ in range(MANY // 100):
        yield block * 100


def good():
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = answer_body(Request("openai", "", {}, {"model": "m"}, "", ()), "ACTION: NOOP", None)
    yield squeeze.compress(body) + squeeze.flush()


PIECES = {
    "gzip": lambda: packed(31),
    "deflate": lambda: packed(15),
    "br": lambda: [b"x" * 100],
    "endless": lambda: [START, *(BLOCK for _ in range(MANY))],
    "nested": lambda: [b"[" * (15 << 20)],
    "objects": lambda: [b'{"choices": [' + b"{}," * (5 << 20) + b"{}]}"],
}


@pytest.fixture(scope="module")
def sender():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(dialect, url, words):
    """What a process of its own got, and how many MiB it needed at most."""
    here = Path(__file__).parent
    command = [sys.executable, "-c", ASK, dialect, url, words]
    command += [str(here), str(here.parent / "helpers")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome, megabytes = done.stdout.split("\n")[:2]
    return outcome, int(megabytes)


@pytest.mark.parametrize(
    ("dialect", "kind", "status"),
    [
        ("openai", "gzip", 200), ("anthropic", "gzip", 200), ("google", "gzip", 200), ("openai", "endless", 200),
        ("google", "endless", 500), ("anthropic", "gzip", 400), ("openai", "deflate", 429),
    ],
)  # fmt: skip
def test_memory_stays_within_the_limit(sender, dialect, kind, status):
    outcome, megabytes = ask(dialect, f"{sender}/{kind}/{status}", "more than 16 MiB")
    assert outcome == "refused" and megabytes < 400


@pytest.mark.parametrize(("kind", "words"), [("br", "not asked for"), ("nested", "not JSON")])
def test_bodies_that_are_no_answers(sender, kind, words):
    assert ask("openai", f"{sender}/{kind}/200", words)[0] == "refused"


def test_many_small_objects_stay_below_a_gigabyte(sender):
    outcome, megabytes = ask("openai", f"{sender}/objects/200", "another form")
    assert outcome == "refused" and megabytes < 1024


def test_a_compressed_answer_is_read(sender, monkeypatch):
    monkeypatch.setitem(PIECES, "gzip", good)
    assert ask("openai", f"{sender}/gzip/200", "")[0] == "ACTION: NOOP"
