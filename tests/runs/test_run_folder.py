"""A run folder: nothing outside it is touched, and a journal that is gone, foreign or cut is told before the first call."""

import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
import yaml

from atari_vlm.errors import ConfigError, RunError, StorageError
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_vlm import JournalVLM
from atari_vlm.runs.run_folder import RunFolder, RunRequest, read_config
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import NoScores, Sampling


class Paid(NoScores):
    """Counts what is asked."""

    name, capabilities = "paid", frozenset()
    asked = 0

    def complete(self, messages, *, sampling):
        self.asked += 1
        return Reply(f"reply {self.asked}", "m", cost_usd=0.01)


def request(folder, **changes):
    given = {
        "save_dir": folder,
        "label": "r",
        "settings": {"seed": 1},
        "execution": {},
        "run_name": "run",
    }
    return RunRequest(**{**given, **changes})


def play(run, calls=3):
    vlm = JournalVLM(Paid(), run.journal, 0)
    run.journal.begin_episode(0, "eval", 1)
    for step in range(calls):
        vlm.step = step
        vlm.complete([Message.of("user", f"question {step}")], sampling=Sampling())
    return vlm


@pytest.fixture
def killed(tmp_path):
    """The folder of a run whose process died after three answers: its write-ahead log is still there."""
    run = RunFolder.open(request(tmp_path / "first"))
    play(run)
    shutil.copytree(run.path, tmp_path / "runs" / "run")
    run.close()
    folder = tmp_path / "runs" / "run"
    assert (folder / "journal.sqlite-wal").stat().st_size > 0
    return folder


def again(folder, **changes):
    return RunFolder.open(request(folder.parent, **changes))


def test_a_killed_run_goes_on_and_asks_nothing_again(killed):
    run = again(killed)
    vlm = play(run, calls=4)
    assert vlm.asked == 1 and run.resumed
    run.close()
    run = again(killed, resume=str(killed), run_name=None)
    assert play(run, calls=4).asked == 0
    run.close()
    assert (killed / "journal.sqlite.mark").read_text().split()[1] == "000000000004"


def other_database(path):
    db = sqlite3.connect(path)
    db.executescript("create table t(a); insert into t values(1);")
    db.close()


def lose_wal(folder):
    (folder / "journal.sqlite-wal").unlink()


def lose_journal(folder):
    (folder / "journal.sqlite").unlink()


def lose_all(folder):
    for path in folder.glob("journal.sqlite*"):
        path.unlink()


def empty(folder):
    lose_wal(folder)
    (folder / "journal.sqlite").write_bytes(b"")


def foreign(folder):
    lose_wal(folder)
    lose_journal(folder)
    other_database(folder / "journal.sqlite")


def foreign_alone(folder):
    lose_all(folder)
    other_database(folder / "journal.sqlite")


def another_journal(folder):
    lose_wal(folder)
    lose_journal(folder)
    Journal(folder / "fresh").close()
    (folder / "fresh.mark").unlink()
    (folder / "fresh").rename(folder / "journal.sqlite")


def another_journal_and_mark(folder):
    lose_all(folder)
    Journal(folder / "journal.sqlite").close()


def no_mark(folder):
    (folder / "journal.sqlite.mark").unlink()


def damaged_mark(folder):
    (folder / "journal.sqlite.mark").write_text("what")


def mark_of_more(folder):
    mark = folder / "journal.sqlite.mark"
    mark.write_text(mark.read_text().replace("000000000003", "000000000004"))


def text(folder):
    lose_wal(folder)
    (folder / "journal.sqlite").write_text(
        "not a database, but long enough to be taken for one" * 40
    )


@pytest.mark.parametrize(
    "lose",
    [
        *(
            lose_wal,
            lose_journal,
            lose_all,
            empty,
            foreign,
            foreign_alone,
            another_journal,
            another_journal_and_mark,
        ),
        *(no_mark, damaged_mark, mark_of_more, text),
    ],
)
def test_a_begun_run_that_lost_something_is_refused_and_left_as_it_is(killed, lose):
    lose(killed)
    before = {
        path.name: path.read_bytes()
        for path in killed.iterdir()
        if path.name not in ("lock", "journal.sqlite-shm")
    }
    for changes in ({}, {"resume": str(killed), "run_name": None}):
        with pytest.raises(RunError, match=r"journal\.sqlite") as refused:
            again(killed, **changes)
        assert refused.value.exit_code == 73
    after = {path.name: path.read_bytes() for path in killed.iterdir() if path.name in before}
    if lose in (foreign, foreign_alone, text):
        assert after == before


@pytest.mark.parametrize("lose", [lose_wal, empty, foreign, another_journal, mark_of_more])
def test_a_report_of_what_lost_something_is_refused_too(killed, lose):
    lose(killed)
    with pytest.raises(RunError):
        write_report(killed)
    assert not (killed / "report.html").exists()


def test_a_finished_run_may_be_copied_without_its_mark(killed):
    run = again(killed)
    run.finish()
    run.close()
    no_mark(killed)
    run = again(killed, resume=str(killed), run_name=None)
    assert run.finished and len(list(run.journal.replies())) == 3
    run.close()


def test_a_run_that_died_before_its_config_was_there_begins(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    Journal(folder / "journal.sqlite").close()
    run = RunFolder.open(request(tmp_path))
    assert not run.resumed and read_config(folder)["journal"] == run.journal.id
    run.close()
    (folder / "config.yaml").unlink()
    run = RunFolder.open(request(tmp_path))
    play(run)
    run.close()
    (folder / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"config\.yaml is gone"):
        RunFolder.open(request(tmp_path))


def test_a_run_without_a_journal_knows_when_it_is_finished(tmp_path):
    run = RunFolder.open(request(tmp_path, run_name=None), journal=False)
    assert not run.finished and not (run.path / "journal.sqlite").exists()
    with pytest.raises(RunError, match="no journal"):
        run.journal.meta()
    run.close()
    run = RunFolder.open(request(tmp_path, run_name=None), journal=False)
    assert run.resumed
    run.finish()
    assert run.finished
    run.close()
    run = RunFolder.open(request(tmp_path, run_name=None), journal=False)
    assert not run.resumed and run.path.name == "r-002"
    run.close()


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "journal.sqlite",
        "journal.sqlite-wal",
        "journal.sqlite.mark",
        "metrics.jsonl",
        "videos",
        "a/b/deep",
    ],
)
@pytest.mark.parametrize("dangling", [False, True])
def test_nothing_is_written_through_a_link(tmp_path, name, dangling):
    outside = tmp_path / "outside"
    run = RunFolder.open(request(tmp_path / "runs"))
    run.close()
    path = run.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if not dangling:
        outside.write_text("mine")
    path.symlink_to(outside)
    with pytest.raises(ConfigError, match="symbolic link"):
        RunFolder.open(request(tmp_path / "runs"))
    assert (outside.read_text() == "mine") if not dangling else not outside.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.write_text("thesis\n")])
def test_a_lock_that_is_none_is_left_as_it_is(tmp_path, make):
    run = RunFolder.open(request(tmp_path))
    run.close()
    (run.path / "lock").unlink()
    make(run.path / "lock")
    with pytest.raises((RunError, ConfigError)):
        RunFolder.open(request(tmp_path))
    assert not (run.path / "lock").is_file() or (run.path / "lock").read_text() == "thesis\n"


def test_the_lock_names_who_holds_it(tmp_path):
    run = RunFolder.open(request(tmp_path))
    with pytest.raises(RunError, match=f"process id {os.getpid()}"):
        RunFolder.open(request(tmp_path))
    run.close()


def test_a_hard_link_in_the_locks_place_is_not_emptied(tmp_path):
    (tmp_path / "thesis").write_text("years of work")
    run = RunFolder.open(request(tmp_path))
    run.close()
    (run.path / "lock").unlink()
    os.link(tmp_path / "thesis", run.path / "lock")
    with pytest.raises(RunError, match="not the lock"):
        RunFolder.open(request(tmp_path))
    assert (tmp_path / "thesis").read_text() == "years of work"


def test_what_a_dead_process_left_unfinished_goes(tmp_path):
    run = RunFolder.open(request(tmp_path))
    run.close()
    (run.path / ".metrics.jsonl.0123456789abcdef").write_text("half")
    (run.path / ".mine").write_text("kept")
    RunFolder.open(request(tmp_path)).close()
    assert sorted(path.name for path in run.path.iterdir() if path.name[0] == ".") == [".mine"]


@pytest.mark.parametrize(
    "content",
    [
        "identity: x\nsettings:\n",
        "identity: x\nsettings: {}\ncommand: [1]\n",
        "a: " + "[" * 9999,
        "{}",
    ],
)
def test_a_strangers_damaged_folder_beside_mine_is_passed_over(tmp_path, content):
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "config.yaml").write_text(content)
    os.mkdir(tmp_path / "other")
    os.mkfifo(tmp_path / "other" / "config.yaml")
    run = RunFolder.open(request(tmp_path, run_name=None))
    run.close()
    with pytest.raises(ConfigError):
        RunFolder.open(request(tmp_path, run_name=None, resume=str(tmp_path / "stranger")))


def test_the_config_says_which_journal(tmp_path):
    run = RunFolder.open(request(tmp_path))
    assert yaml.safe_load((run.path / "config.yaml").read_text())["journal"] == run.journal.id
    run.close()


FULL = """
import resource, sys
from pathlib import Path
from atari_vlm.ending import end_with
from atari_vlm.runs.run_folder import RunFolder
sys.path.insert(0, sys.argv[2])
from test_run_folder import play, request
try:
    run = RunFolder.open(request(Path(sys.argv[1])))
    size = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    play(run, calls=3000)
except OSError as error:
    sys.exit(end_with(error))
"""


def test_a_full_disk_is_one_sentence_and_the_run_goes_on(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path), os.path.dirname(__file__), "200000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 74 and done.stderr.startswith(
        f"error: {tmp_path}/run/journal.sqlite cannot be written"
    )
    assert done.stderr.count("\n") == 1
    run = RunFolder.open(request(tmp_path))
    kept = len(list(run.journal.replies()))
    assert kept > 10
    assert play(run, calls=kept + 5).asked == 5
    run.close()


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    from atari_vlm.files import atomic_write

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        StorageError, match=r"results\.json cannot be written: No space left"
    ) as refused:
        atomic_write(tmp_path / "results.json", "{}")
    assert refused.value.exit_code == 74 and list(tmp_path.iterdir()) == []
