"""Damage to a journal is told when it is read: flipped bits, rows that are gone, other programs' files, older versions."""

import json
import os
import random
import shutil
import sqlite3

import numpy as np
import pytest

from atari_vlm.errors import RunError, StorageError
from atari_vlm.runs.journal import CallRow, EpisodeRow, Journal, StepRow
from atari_vlm.runs.journal_schema import COLUMNS, VERSION, insert, select
from atari_vlm.runs.journal_vlm import JournalVLM, encode_request
from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import Sampling

PICTURE = Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def record(path, episodes=3, steps=12):
    """A finished run of some episodes, with pictures, re-asks and one cached reply."""
    with Journal(path) as journal:
        for episode in range(episodes):
            journal.begin_episode(episode, "eval", 100 + episode)
            for step in range(steps):
                request, blobs = encode_request(
                    [Message.of("user", PICTURE, f"question {episode} {step}")]
                )
                journal.record_request(
                    CallRow(episode, step, step, "complete", f"key {step}", request, None, 5.5),
                    blobs,
                )
                reply = Reply(f"I go UP, said number {step}", "m", latency_s=0.25, cost_usd=0.01)
                journal.record_reply(episode, step, reply.as_dict(), cached=step == 3)
                decision = {
                    "reasoning": "because",
                    "problems": [],
                    "latency_s": 0.25,
                    "cost_usd": 0.01,
                    "calls": [step],
                }
                journal.record_step(
                    StepRow(
                        episode,
                        step,
                        step % 4,
                        "model",
                        step / 2,
                        False,
                        False,
                        {"lives": 3},
                        decision,
                    )
                )
            journal.finish_episode(
                EpisodeRow(episode, "eval", 100 + episode, "done", 33.0, steps, 0.0, 0.11)
            )
        journal.set_meta(
            groups=[{"phase": "eval", "episodes": [0, 1, 2], "after": 0}], finished=True
        )
    return path


def everything(path):
    """All that a reader gets of a journal."""
    with Journal(path, read_only=True) as journal:
        episodes = journal.episodes()
        calls = [call for row in episodes for call in journal.calls(row.episode)]
        blobs = [
            journal.blob(sha) for call in calls for _, parts in call.request for _, sha in parts
        ]
        steps = [step for row in episodes for step in journal.steps(row.episode)]
        return (
            journal.meta(),
            episodes,
            calls,
            steps,
            list(journal.replies()),
            list(journal.replies(paid=True)),
            blobs,
        )


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = record(tmp_path_factory.mktemp("sound") / "journal.sqlite")
    return path, everything(path)


@pytest.mark.parametrize(
    "count", [100, pytest.param(2_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_a_flipped_bit_is_told_or_changes_nothing(sound, tmp_path, count):
    path, kept = sound
    raw, draw, told = path.read_bytes(), random.Random(count), 0
    other = tmp_path / "journal.sqlite"
    for _ in range(count):
        data = bytearray(raw)
        at = draw.randrange(len(data))
        data[at] ^= 1 << draw.randrange(8)
        other.write_bytes(data)
        try:
            read = everything(other)
        except RunError as refused:
            told += 1
            assert "\n" not in str(refused)
        else:
            assert read == kept, f"byte {at}"
    assert told > count / 10


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_told_when_a_run_goes_on_too(sound, tmp_path, count):
    """The same of a journal that is opened for writing, with its mark beside it; nothing untyped comes through."""
    path, kept = sound
    raw, draw = path.read_bytes(), random.Random(count)
    mark = path.with_name("journal.sqlite.mark").read_bytes()
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = bytearray(raw)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (folder / "journal.sqlite").write_bytes(data)
        (folder / "journal.sqlite.mark").write_bytes(mark)
        try:
            with Journal(folder / "journal.sqlite") as journal:
                episodes = journal.episodes()
                calls = [call for row in episodes for call in journal.calls(row.episode)]
        except RunError:
            continue
        assert (episodes, calls) == (kept[1], kept[2])
        shutil.rmtree(folder)


CHANGES = {
    "reply": "update calls set reply = replace(reply, 'UP', 'UQ') where episode = 1 and call = 4",
    "cached": "update calls set cached = 0 where episode = 1 and call = 3",
    "clock": "update calls set started_at = 6 where episode = 0 and call = 0",
    "action": "update steps set action = 1 where episode = 2 and step = 2",
    "reward": "update steps set reward = 9 where episode = 2 and step = 2",
    "info": "update steps set info = '{}' where episode = 2 and step = 2",
    "seed": "update episodes set seed = 1 where episode = 2",
    "return": "update episodes set episode_return = 1 where episode = 2",
    "meta": "update meta set value = 'false' where key = 'finished'",
    "no digest": "update steps set digest = null where episode = 0 and step = 1",
    "a step gone": "delete from steps where episode = 0 and step = 5",
    "the last step gone": "delete from steps where episode = 0 and step = 11",
    "all steps gone": "delete from steps where episode = 0",
    "the last call gone": "delete from calls where episode = 0 and call = 11",
    "an episode gone": "delete from episodes where episode = 2",
    "a name gone": "delete from meta where key = 'groups'",
    "who it is gone": "delete from meta where key = '_journal'",
    "a picture gone": "delete from blobs",
    "a picture changed": "update blobs set data = x'00'",
    "a column gone": "alter table calls drop column cached",
    "a table renamed": "alter table steps rename to stairs",
    "a row of another": "update or replace steps set episode = 1 where episode = 0 and step = 2",
    "reply of the wrong type": "update calls set reply = x'ff' where episode = 0 and call = 0",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told(sound, tmp_path, name):
    path = tmp_path / "journal.sqlite"
    shutil.copy(sound[0], path)
    db = sqlite3.connect(path)
    db.execute(CHANGES[name])
    db.commit()
    db.close()
    with pytest.raises(RunError, match=r"damaged|missing|not a journal"):
        everything(path)


def ask(vlm):
    return vlm.complete([Message.of("user", "q")], sampling=Sampling())


class Vendor:
    name, capabilities = "vendor", frozenset({"scores"})

    def complete(self, messages, *, sampling):
        return Reply("a", "m")

    def score_choices(self, messages, choices):
        return np.array([-1.0, -2.0])


@pytest.mark.parametrize(
    "reply",
    ['{"text":5,"model":"m","usage":{}}', '{"text":"a","model":"m"}', "[1]", '"a"', "5", "{}"],
)
def test_a_reply_that_is_none_is_a_run_error_also_when_its_row_is_whole(tmp_path, reply):
    with Journal(tmp_path / "j") as journal:
        ask(JournalVLM(Vendor(), journal, 0))
        row = list(journal._db.execute(select("calls", VERSION)).fetchone()[:-1])
        row[COLUMNS["calls"].index("reply")] = reply
        insert(journal._db, "calls", row)
        with pytest.raises(RunError, match="reply"):
            ask(JournalVLM(Vendor(), journal, 0))


@pytest.mark.parametrize(
    "reply", ['{"scores": [1]}', '{"scores": "x"}', '{"scores": [NaN, 1]}', "{}", "[]"]
)
def test_scores_that_are_none_are_a_run_error(tmp_path, reply):
    with Journal(tmp_path / "j") as journal:
        JournalVLM(Vendor(), journal, 0).score_choices([Message.of("user", "q")], ["a", "b"])
        row = list(journal._db.execute(select("calls", VERSION)).fetchone()[:-1])
        row[COLUMNS["calls"].index("reply")] = reply
        insert(journal._db, "calls", row)
        with pytest.raises(RunError, match="reply"):
            JournalVLM(Vendor(), journal, 0).score_choices([Message.of("user", "q")], ["a", "b"])


def old_journal(path):
    """What version 1 wrote: no digests, no counts, and nothing of what was cached."""
    db = sqlite3.connect(path)
    for table, columns in COLUMNS.items():
        names = [
            name
            for name in columns
            if (table, name) not in (("episodes", "calls"), ("calls", "cached"))
        ]
        keys = {
            "meta": "key",
            "episodes": "episode",
            "calls": "episode, call",
            "steps": "episode, step",
        }[table]
        db.execute(f"create table {table} ({', '.join(names)}, primary key ({keys}))")
    db.execute("create table blobs (sha text primary key, data blob)")
    db.execute("insert into meta values ('groups', '[]')")
    db.execute("insert into episodes values (0, 'eval', 7, 'running', null, null, null, null)")
    reply = json.dumps(Reply("old", "m", cost_usd=0.5).as_dict(), sort_keys=True)
    db.execute("insert into calls values (0, 0, 0, 'complete', 'k', '[]', ?, 1.0)", (reply,))
    db.execute("pragma user_version=1")
    db.commit()
    db.close()
    return path


def test_a_journal_of_before_is_read_counted_as_before_and_goes_on(tmp_path):
    path = old_journal(tmp_path / "journal.sqlite")
    raw = path.read_bytes()
    with Journal(path, read_only=True) as journal:
        assert [reply["text"] for reply in journal.replies(paid=True)] == ["old"]
        assert (
            journal.meta() == {"groups": []}
            and journal.episodes()[0].seed == 7
            and journal.calls(0)[0].paid
        )
    assert path.read_bytes() == raw and not (tmp_path / "journal.sqlite.mark").exists()
    with Journal(path) as journal:
        assert (
            journal.meta() == {"groups": []}
            and journal.episodes()[0].seed == 7
            and journal.calls(0)[0].paid
        )
        assert (tmp_path / "journal.sqlite.mark").read_text() == f"{journal.id} 000000000001\n"
        journal.record_step(StepRow(0, 0, 1, "model", 0.0, False, False, {}, {}))
    with Journal(path, read_only=True) as journal:
        assert len(journal.steps(0)) == 1 and len(journal.id) == 16


def test_a_journal_can_be_read_while_it_is_written(tmp_path):
    """Counts and marks are of one moment: a reader never takes a running writer for a loss."""
    import threading

    path, stop = tmp_path / "journal.sqlite", threading.Event()
    Journal(path).close()

    def write():
        with Journal(path) as journal:
            for episode in range(10_000):
                if stop.is_set():
                    return
                journal.begin_episode(episode, "eval", episode)
                ask(JournalVLM(Vendor(), journal, episode))
                journal.finish_episode(
                    EpisodeRow(episode, "eval", episode, "done", 0.0, 0, 0.0, 0.0)
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            with Journal(path, read_only=True) as journal:
                for row in journal.episodes():
                    assert len(journal.calls(row.episode)) <= 1
                journal.meta()
    finally:
        stop.set()
        writer.join()


def test_a_full_disk_is_a_storage_error(tmp_path):
    with Journal(tmp_path / "j") as journal:
        ask(JournalVLM(Vendor(), journal, 0))
        pages = journal._db.execute("pragma page_count").fetchone()[0]
        journal._db.execute(f"pragma max_page_count={pages}")
        with pytest.raises(StorageError, match=r"j cannot be written: .*full") as full:
            journal.set_meta(big="x" * 100_000)
        assert full.value.exit_code == 74 and isinstance(full.value, (RunError, OSError))
        assert journal.meta() == {} and len(list(journal.replies())) == 1


def test_a_mark_is_not_written_through_a_link(tmp_path):
    with Journal(tmp_path / "j"):
        pass
    (tmp_path / "mine").write_text("thesis")
    (tmp_path / "j.mark").unlink()
    os.symlink(tmp_path / "mine", tmp_path / "j.mark")
    with pytest.raises(RunError, match="symbolic link"):
        Journal(tmp_path / "j")
    assert (tmp_path / "mine").read_text() == "thesis"
