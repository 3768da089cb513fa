"""``check`` against servers that nobody here wrote, each in an environment of its own: by hand, some minutes.

    python tests/vlm/real_server.py --venvs FOLDER                 both
    python tests/vlm/real_server.py --venvs FOLDER llama.cpp       one of them: llama.cpp, transformers

``llama.cpp``: its server, from the package xllamacpp, with the model of ``unigram_gguf.py``. Grammars hold it to a JSON schema
and it has no eyes: ``check`` has to name ``no-pictures`` and nothing else, and a study with the options that it gives has to be
without a fallback. ``transformers``: ``transformers serve`` with a tiny LLaVA-NeXT of random weights. It takes pictures and sees
nothing in them, ignores a JSON schema, and says noise: ``check`` has to name ``no-pictures`` and ``no-schema``, and to find that
it plays by the scores of ``/v1/systemone``, which have to be those of the same model in this process.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = {
    "llama.cpp": ["xllamacpp==2026.10.11549", "gguf==0.19.0"],
    "transformers": ["torch==2.13.0", "transformers[serving]==5.23.0", "accelerate==1.15.0", "pillow"],
}  # fmt: skip
FAMILY = {"llama.cpp": "qwen-vl", "transformers": "llava"}
EXPECTED = {
    "llama.cpp": {
        "problems": ["no-pictures"],
        "options": {"text": "objects-only"},
        "schema": True,
        "works": True,
    },
    "transformers": {
        "problems": ["no-pictures", "no-schema"],
        "options": {
            "text": "objects-only",
            "structured": "none",
            "scores": "systemone",
            "answer": "scores",
        },
        "schema": False,
        "works": True,
    },
}
SERVE = """
import sys, time, xllamacpp
options = xllamacpp.CommonParams()
options.model.path, options.port, options.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
options.n_ctx, options.n_parallel, options.cpuparams.n_threads = 8192, 1, 1
server = xllamacpp.Server(options)
while True:
    time.sleep(1)
"""
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def environment(folder: Path, name: str) -> Path:
    """The Python of the server's own environment, made where it is not there yet."""
    python = folder / name / "bin" / "python"
    if not (folder / name / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        for package in PACKAGES[name]:  # torch first: what is installed then stays
            subprocess.run([python, "-m", "pip", "install", "-q", package], check=True)
        (folder / name / "ready").touch()
    return python


def model(name: str, python: Path, folder: Path) -> Path:
    """The model's file or folder, built now."""
    if name == "llama.cpp":
        file = folder / "unigram.gguf"
        subprocess.run([python, HERE / "unigram_gguf.py", file], check=True)
        return file
    from atari_vlm.vlm.local.tiny import build_tiny

    return build_tiny("llava-next", folder / "tiny")


@contextlib.contextmanager
def serving(name: str, python: Path, served: Path, log: Path):
    """The server's address, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-c", SERVE, served, str(port)]
    if name == "transformers":
        where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        command = [python.with_name("transformers"), "serve", *where, served]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=OFFLINE)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(address: str, process: subprocess.Popen, log: Path, seconds: float = 300) -> None:
    """Wait until the server says that it is well."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(1)
    raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")


def fallback_rate(options: dict, folder: Path) -> float:
    """Of a short study of Pong by an agent with these options."""
    from atari_vlm.agents.specs import AgentSpec

    agent = AgentSpec("real", options.pop("vlm"), options).text
    flags = ["--games", "Pong", "--seeds", "0", "--max-steps", "10", "--save-dir", folder]
    run = [
        sys.executable,
        "-m",
        "atari_vlm.evaluate",
        *flags,
        "--run-name",
        "run",
        "--agents",
        agent,
    ]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    with (folder / "run" / "results.csv").open() as file:
        return next(float(r["fallback_rate"]) for r in csv.DictReader(file) if r["agent"] == "real")


def scores_are_its_own(served: Path, address: str) -> bool:
    """Whether the scores over HTTP are those of the same model asked in this process, pictures included."""
    import numpy as np

    sys.path[:0] = [str(HERE.parent / "helpers")]
    from fake_server import FakeVendorServer
    from scoring_server import TrueScores

    from atari_vlm.types import Image, Message
    from atari_vlm.vlm import load_vlm

    rng = np.random.default_rng(0)
    shown = [Image(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)) for _ in range(2)]
    asked = [Message.of("user", *shown, "Which action?")]
    found = []
    with FakeVendorServer(respond=TrueScores(served, pictures=True).respond) as own:
        for url in (address, own.openai_url):
            told = {"model": str(served), "base_url": url, "timeout_s": 300.0}
            with load_vlm("llava", scores="systemone", **told) as vlm:
                found.append(vlm.score_choices(asked, ("NOOP", "UP", "DOWN")))
    apart = float(np.abs(found[0] - found[1]).max())
    print(f"transformers: scores over HTTP and in this process are at most {apart:.1g} apart")
    return apart < 1e-5


def prove(name: str, venvs: Path) -> bool:
    """Check one server; whether everything came out as it must."""
    python = environment(venvs, name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        served = model(name, python, folder)
        with serving(name, python, served, folder / "log") as address:
            given = {"base_url": address, "model": str(served), "timeout_s": 300}
            words = [w for k, v in given.items() for w in (f"--{k.replace('_', '-')}", str(v))]
            file = folder / "found.json"
            check = [sys.executable, "-m", "atari_vlm.check", "--vlm", FAMILY[name], *words]
            subprocess.run([*check, "--json", file], check=True)
            found = json.loads(file.read_text())
            right = all(found[key] == value for key, value in EXPECTED[name].items())
            if name == "transformers":
                right &= scores_are_its_own(served, address)
            print(f"{name}: {'as expected' if right else f'NOT as expected, {EXPECTED[name]}'}")
            if found["works"]:
                options = {"vlm": FAMILY[name], **given, **found["options"]}
                rate = fallback_rate(options, folder)
                print(f"{name}: fallback rate of a study with these options: {rate:g}")
                right &= rate == 0
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--venvs", type=Path, required=True, help="where the environments are made")
    parser.add_argument("servers", nargs="*", default=[], help="llama.cpp, transformers")
    given = parser.parse_args()
    names = given.servers or list(PACKAGES)
    if unknown := set(names) - set(PACKAGES):
        parser.error(f"unknown server {min(unknown)!r}; there are {', '.join(PACKAGES)}")
    return 0 if all([prove(name, given.venvs.resolve()) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())
