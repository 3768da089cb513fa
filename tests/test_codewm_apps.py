"""``python -m atari_vlm.codewm apps``: whole runs offline, kills, limits, what may be wrong with a command, and the archive."""

import io
import json
import os
import re
import signal
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_server import FakeVendorServer

from atari_vlm import codewm
from atari_vlm.errors import ConfigError, UnavailableError
from atari_vlm.synthesis.apps import downloading, solving
from atari_vlm.synthesis.apps.downloading import ArchiveLimits, download, unpack
from atari_vlm.synthesis.apps.problems import ProblemSet, bundled_folder
from atari_vlm.synthesis.apps.solving import AppsConfig, solve
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import Outcome
from atari_vlm.synthesis.run_search import Place

sys.path.insert(0, str(Path(__file__).parent / "synthesis"))
import apps_helpers as helpers
from search_helpers import Writer


def command(capsys, *words):
    """Run a command; exit code, what it wrote, and what it said."""
    code = codewm.main(["apps", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def facts(run):
    """What a run left, but for clocks."""
    ends = (".json", ".csv", ".py", ".html")
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.suffix in ends and not path.name.startswith("apps_")
    }


@pytest.mark.parametrize("method", ["zero-shot", "gif-mcts", "worldcoder"])
def test_a_whole_run_offline(method, tmp_path, capsys):
    words = ("--save_dir", tmp_path, "--run_name", "r", "--idx", 2, "--total_tasks", 1, "--budget", 3)  # fmt: skip
    code, out, err = command(capsys, method, *words, "--serve", 0)
    assert (
        code == 0
        and "live page: http://127.0.0.1:" in err
        and "1 of 1 problems solved" in out
        and "Traceback" not in err
    )
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert found["method"] == method and found["strict_accuracy"] == 1.0 and found["calls"] == 3
    code, out, _ = command(capsys, "evaluate", "--save", tmp_path / "r")
    measured = json.loads((tmp_path / "r" / "apps_results.json").read_text())
    assert code == 0 and "pass@3" in out and str(tmp_path / "r" / "apps_results.json") in out
    assert measured["strict_accuracy"] == measured["test_case_average"] == 1.0
    assert measured["pass_at_k"] == pytest.approx({"1": 1 / 3, "2": 2 / 3, "3": 1.0})
    assert measured["writer"] == "scripted" and measured["cost_usd"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["zero-shot", "gif-mcts", "worldcoder"])
def test_all_bundled_problems(method, tmp_path, capsys):
    code, out, _ = command(capsys, method, "--save_dir", tmp_path, "--run_name", "r", "--budget", 4)
    assert code == 0 and "10 of 12 problems solved" in out
    assert command(capsys, "evaluate", "--save", tmp_path / "r")[0] == 0
    measured = json.loads((tmp_path / "r" / "apps_results.json").read_text())
    assert measured["strict_accuracy"] == pytest.approx(10 / 12) and measured["problems"] == 12


def by_words(program):
    """A stand-in judge: the score stands in the program."""
    found = re.search(r"score (\S+)", program)
    return Outcome(program, float(found[1])) if found else Outcome(program, failure="bug", error="bad")  # fmt: skip


def prepared(text, images=()):
    """Replies that are functions of the question."""
    score = (sum(map(ord, text)) % 7) / 8
    more = "".join(f"\nline_{n} = {n}" for n in range(12))
    return helpers.reply(f"# score {score} of {sum(map(ord, text)) % 1009}{more}")


@pytest.mark.parametrize("method", ["zero-shot", "gif-mcts", "worldcoder"])
def test_a_killed_run_ends_as_if_it_had_not_been_killed(method, tmp_path, monkeypatch):
    """Killed with SIGKILL while it waits for an answer, four times, in each of the problems."""
    monkeypatch.setattr(solving, "AppsJudge", lambda *_: by_words)
    folder = helpers.doubles(tmp_path / "problems", 2)
    config = AppsConfig(SearchConfig(method=method, budget=5, held_out=0.0))

    def start(name, deaths):
        calls = tmp_path / f"calls-{name}"

        def answer(number, text, sample):
            with open(calls, "ab") as file:
                file.write(b".")
            if calls.stat().st_size in deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            return prepared(f"{text} {sample}")

        child = os.fork()
        if child == 0:
            problems = ProblemSet(folder, ("0000", "0001"))
            solve(Place(tmp_path / "runs", name), Writer(answer), problems, config)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), calls.stat().st_size

    code, whole = start("whole", ())
    deaths = (1, 4, 7, 10)
    codes = [start("killed", deaths)[0] for _ in deaths]
    assert code == 0 and codes == [-signal.SIGKILL] * 4
    assert start("killed", deaths) == (0, whole + len(deaths))
    assert facts(tmp_path / "runs" / "killed") == facts(tmp_path / "runs" / "whole")
    assert {"codes.json", "problems/0001/solution.json"} <= facts(
        tmp_path / "runs" / "whole"
    ).keys()


def test_a_limit_holds_over_all_parts_of_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(solving, "AppsJudge", lambda *_: by_words)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    folder = helpers.doubles(tmp_path / "problems", 3)
    with FakeVendorServer(answer=prepared) as server:
        words = ("--test_loc", folder, "--save_dir", tmp_path, "--run_name", "r", "--budget", 2)
        words += ("--model", "gpt-4o", "--base-url", server.openai_url)
        code, _, err = command(capsys, "zero-shot", *words, "--max-calls", 3)
        assert code == 75 and "continue with: python -m atari_vlm.codewm apps zero-shot" in err
        assert len(server.requests) == 3
        assert list(json.loads((tmp_path / "r" / "codes.json").read_text())) == ["0000"]
        assert command(capsys, "zero-shot", *words, "--max-calls", 3)[0] == 75
        assert len(server.requests) == 3
        assert command(capsys, "evaluate", "--save", tmp_path / "r", "--test_loc", folder)[0] == 0
        hint = re.search(r"continue with: python -m atari_vlm\.codewm apps (.*)", err)
        assert command(capsys, *hint[1].split())[0] == 0 and len(server.requests) == 6
        assert command(capsys, "zero-shot", *words)[0] == 0 and len(server.requests) == 6
        more = [*words[:7], 3, *words[8:]]
        assert command(capsys, "zero-shot", *more)[0] == 0 and len(server.requests) == 9


def test_a_part_without_a_problem_has_nothing_to_do(tmp_path, capsys):
    words = ("--shard", "3/3", "--idx", 0, "--total_tasks", 2, "--save_dir", tmp_path)
    code, out, err = command(capsys, "zero-shot", *words)
    assert code == 0 and "--shard 3/3 holds no problem" in err and not out
    assert list(tmp_path.iterdir()) == []


BAD = {
    "past the end": (("zero-shot", "--idx", 10, "--total_tasks", 3), "there are 12 problems"),
    "an index past the end": (("gif-mcts", "--idx", 12), "there are 12 problems"),
    "part nought": (("zero-shot", "--shard", "0/2"), "i from 1 to n"),
    "part of what": (("zero-shot", "--shard", "2"), "i from 1 to n"),
    "another format": (("worldcoder", "--test_loc", "other", "--model", "gpt-4o"), "no folders NNNN"),
    "the source's list": (("worldcoder", "--test_loc", "test.json", "--model", "gpt-4o"), "is no folder"),
    "a strategy": (("zero-shot", "--strategy", "cot"), "unknown strategy"),
    "a foreign folder for the bundled writer": (("zero-shot", "--test_loc", "problems"), "bundled writer"),
    "nothing to measure": (("evaluate", "--save", "other"), "no run of codewm apps"),
    "no budget": (("zero-shot", "--budget", 0), "budget"),
    "an unknown command": (("zeroshot",), "did you mean zero-shot"),
    "no address": (("download", "--url", "ftp://127.0.0.1/x"), "https://"),
    "no archive": (("download", "--archive", "test.json"), "test.json cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_in_one_line(what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    (tmp_path / "other").mkdir()
    (tmp_path / "test.json").write_text("[]")
    helpers.doubles(tmp_path / "problems")
    words, expected = BAD[what]
    code, out, err = command(capsys, *words)
    *_, line = err.splitlines()
    assert code == 2 and line.startswith("error: ") and expected in line and not out
    assert "Traceback" not in err and not list(tmp_path.glob("*/*/config.yaml"))


def test_help_is_there_without_anything():
    assert codewm.main(["apps"]) == 2 and codewm.main(["apps", "--help"]) == 0


def archive_of(path, members, compressed=True):
    """A tar of (name, content) or prepared ``TarInfo``."""
    with tarfile.open(path, "w:gz" if compressed else "w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def honest():
    folder = bundled_folder() / "0000"
    files = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    return [(f"APPS/{part}/0000/{name}", data) for part in ("test", "train") for name, data in files]  # fmt: skip


def test_an_archive_is_unpacked_and_its_problems_are_read(tmp_path, capsys):
    file = archive_of(tmp_path / "a.tar.gz", [("APPS/README.txt", b"x"), *honest()])
    words = ("download", "--archive", file, "--out", tmp_path / "out")
    code, out, _ = command(capsys, *words)
    assert code == 0 and "test: 1 problems" in out
    names = {path.name for path in (tmp_path / "out" / "test" / "0000").iterdir()}
    assert names == {"question.txt", "input_output.json", "solutions.json", "metadata.json"}
    assert not list((tmp_path / "out").glob(".*")) and not list(tmp_path.rglob("README.txt"))
    code, _, err = command(capsys, *words)
    assert code == 2 and "exists" in err


def link(kind):
    info = tarfile.TarInfo("APPS/test/0001/question.txt")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


HOSTILE = {
    "a link": ([link(tarfile.SYMTYPE)], "is a link"),
    "a hard link": ([link(tarfile.LNKTYPE)], "is a link"),
    "a device": ([link(tarfile.CHRTYPE)], "is a link or a device"),
    "a way out": ([("APPS/test/../../x", b"x")], "leads out"),
    "a way from the root": ([("/tmp/x", b"x")], "leads out"),
    "too large a file": ([("APPS/test/0001/question.txt", b"x" * 5000)], "larger than"),
    "too much": ([(f"APPS/x{n}", b"x" * 900) for n in range(20)], "larger than"),
    "too many": ([(f"APPS/x{n}", b"") for n in range(60)], "more than 50 entries"),
    "a file twice": ([("APPS/test/0001/question.txt", b"x")] * 2, "exists"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_of_a_hostile_archive_nothing_is_left(what, tmp_path):
    members, words = HOSTILE[what]
    small = ArchiveLimits(1 << 20, 4000, 16_000, 50)
    file = archive_of(tmp_path / "a.tar", [("APPS/test/0000/question.txt", b"x"), *members])
    with pytest.raises(ConfigError, match=words) as error:
        unpack(file, tmp_path / "out", small)
    assert "\n" not in str(error.value) and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("data", [b"", b"<html>no</html>" * 99, b"\x1f\x8b\x08broken"])
def test_what_is_no_archive_is_said_to_be_none(data, tmp_path):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ConfigError):
        unpack(tmp_path / "a", tmp_path / "out")
    with pytest.raises(ConfigError, match="holds no problems"):
        unpack(archive_of(tmp_path / "b", [("x/y", b"1")]), tmp_path / "out")


def test_the_archive_is_fetched_within_its_limit(tmp_path, monkeypatch):
    data = archive_of(tmp_path / "a.tar.gz", honest()).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if "no" in self.path else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: 100 if "cut" in self.path else None])

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert download(tmp_path / "out", f"{url}/APPS.tar.gz") == {"test": 1, "train": 1}
        with pytest.raises(UnavailableError, match=r"broke off|cannot be fetched"):
            download(tmp_path / "cut", f"{url}/cut")
        with pytest.raises(UnavailableError, match="cannot be fetched"):
            download(tmp_path / "no", f"{url}/no")
        with pytest.raises(ConfigError, match="more than 100 bytes"):
            download(tmp_path / "small", f"{url}/x", ArchiveLimits(archive_bytes=100))
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(UnavailableError, match="codewm apps download --archive FILE"):
        download(tmp_path / "gone", f"{url}/x")
    assert not any(list((tmp_path / name).iterdir()) for name in ("cut", "no", "small", "gone"))
    assert downloading.URL.startswith("https://")
