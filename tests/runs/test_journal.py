import dataclasses
import sqlite3
import threading

import numpy as np
import pytest
from small_disk import small_files

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.runs.journal import CallRow, EpisodeRow, Journal, StepRow
from atari_vlm.runs.journal_vlm import JournalVLM, encode_request
from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import Sampling

STEP = StepRow(
    0,
    0,
    2,
    "model",
    1.0,
    False,
    False,
    {"lives": 3},
    {"reasoning": "r", "latency_s": 0.5, "calls": [0]},
)
PICTURE = Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


class Echo:
    """Answers with the number of the question."""

    name, capabilities = "echo", frozenset({"scores"})

    def __init__(self):
        self.asked = 0

    def complete(self, messages, *, sampling):
        self.asked += 1
        return Reply(f"reply {self.asked} \ud800", "echo", latency_s=0.25, cost_usd=0.01)

    def score_choices(self, messages, choices):
        self.asked += 1
        return np.log(np.arange(1, len(choices) + 1) / 10)


def ask(vlm, text, image=PICTURE):
    return vlm.complete(
        [Message.of("system", "rules"), Message.of("user", image, text)], sampling=Sampling()
    )


def test_everything_written_is_read_back(tmp_path):
    with Journal(tmp_path / "run" / "journal.sqlite") as journal:
        journal.set_meta(a=1, b=[1, {"c": None}])
        assert journal.begin_episode(0, "train", 7).status == "running"
        request, blobs = encode_request([Message.of("user", PICTURE, "hi \ud800")])
        call = CallRow(0, 0, 0, "complete", "key", request, None, 5.0)
        journal.record_request(call, blobs)
        assert journal.calls(0) == [call]
        journal.record_reply(0, 0, {"text": "x"})
        journal.record_step(STEP)
        done = EpisodeRow(0, "train", 7, "done", 1.0, 1, 0.0, None)
        journal.finish_episode(done)
    with Journal(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        assert journal.meta() == {"a": 1, "b": [1, {"c": None}]}
        assert journal.episodes() == [done]
        assert journal.steps(0) == [STEP]
        assert journal.calls(0) == [dataclasses.replace(call, reply={"text": "x"})]
        kinds = {kind: journal.blob(sha) for kind, sha in request[0][1]}
        assert kinds["image"] == PICTURE.png
        assert kinds["text"].decode("utf-8", "surrogatepass") == "hi \ud800"
        with pytest.raises(RunError, match="missing"):
            journal.blob("0" * 64)


def test_settings_of_the_file(tmp_path):
    with Journal(tmp_path / "j") as journal:
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        journal.set_meta(a=1)
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_step_written_again_must_be_equal_but_for_clocks(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.record_step(STEP)
        journal.record_step(dataclasses.replace(STEP, decision={**STEP.decision, "latency_s": 9.0}))
        assert journal.steps(0) == [STEP]
        for change in (
            {"action": 3},
            {"reward": 0.5},
            {"terminated": True},
            {"info": {"lives": 2}},
            {"source": "fallback"},
        ):
            with pytest.raises(RunError, match="diverged at step 0"):
                journal.record_step(dataclasses.replace(STEP, **change))


def test_an_episode_is_the_same_or_refused(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.begin_episode(0, "train", 7)
        journal.begin_episode(0, "train", 7)
        for phase, seed in (("eval", 7), ("train", 8)):
            with pytest.raises(RunError, match="this is another run"):
                journal.begin_episode(0, phase, seed)


def test_what_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one" * 40)
    for read_only in (False, True):
        with pytest.raises(RunError, match="not a journal"):
            Journal(tmp_path / "text", read_only)
    with pytest.raises(ConfigError, match="no journal"):
        Journal(tmp_path / "absent", read_only=True)
    (tmp_path / "empty").touch()
    with pytest.raises(RunError, match="stopped before it began"):
        Journal(tmp_path / "empty", read_only=True)
    sqlite3.connect(tmp_path / "newer").execute("PRAGMA user_version=99").connection.close()
    with pytest.raises(RunError, match="version 99"):
        Journal(tmp_path / "newer")


def test_only_plain_data_is_stored(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.record_step(
            dataclasses.replace(
                STEP, info={"frames": np.int64(4), "ram": np.arange(3, dtype=np.uint8)}
            )
        )
        assert journal.steps(0)[0].info == {"frames": 4, "ram": [0, 1, 2]}
        with pytest.raises(ConfigError, match="plain data"):
            journal.set_meta(key=object())
        journal.set_meta(after="the refused one")


def test_calls_are_served_again_and_cost_nothing(tmp_path):
    echo = Echo()
    with Journal(tmp_path / "j") as journal:
        first = JournalVLM(echo, journal, 0)
        replies = [ask(first, "a"), ask(first, "a")]
        scores = first.score_choices([Message.of("user", "b")], ["x", "y"])
        assert first.take_calls() == [0, 1, 2] and first.take_calls() == []
        again = JournalVLM(echo, journal, 0)
        assert [ask(again, "a"), ask(again, "a")] == replies
        assert np.array_equal(again.score_choices([Message.of("user", "b")], ["x", "y"]), scores)
        assert (echo.asked, first.asked, again.asked) == (3, 3, 0)
        assert replies[0].text == "reply 1 ?"  # no file can hold a lone surrogate


def test_another_episode_is_asked_anew(tmp_path):
    echo = Echo()
    with Journal(tmp_path / "j") as journal:
        for episode in (0, 1):
            ask(JournalVLM(echo, journal, episode), "a")
    assert echo.asked == 2


def test_a_call_without_an_answer_is_made_again(tmp_path):
    class Dies(Echo):
        def complete(self, messages, *, sampling):
            raise KeyboardInterrupt

    with Journal(tmp_path / "j") as journal:
        with pytest.raises(KeyboardInterrupt):
            ask(JournalVLM(Dies(), journal, 0), "a")
        assert journal.calls(0)[0].reply is None
        assert ask(JournalVLM(Echo(), journal, 0), "a").text.startswith("reply 1")
        assert len(journal.calls(0)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda vlm: ask(vlm, "other"),
            "part 1 of message 1 .user. is another text; recorded was the text 'a'",
        ),
        (
            lambda vlm: ask(vlm, "a", Image(PICTURE.pixels + 1)),
            "part 0 of message 1 .user. is another image",
        ),
        (
            lambda vlm: vlm.complete([Message.of("user", "a")], sampling=Sampling()),
            "has 1 messages, recorded were 2",
        ),
        (
            lambda vlm: vlm.score_choices([Message.of("user", "a")], ["x"]),
            "kind 'complete', asked now is 'scores'",
        ),
        (lambda vlm: (setattr(vlm, "name", "other"), ask(vlm, "a")), "name or the sampling"),
        (
            lambda vlm: (setattr(vlm, "step", 4), ask(vlm, "a")),
            "recorded at step 0, asked now at step 4",
        ),
    ],
)
def test_a_request_that_differs_says_where(tmp_path, change, message):
    with Journal(tmp_path / "j") as journal:
        ask(JournalVLM(Echo(), journal, 0), "a")
        with pytest.raises(RunError, match=message):
            change(JournalVLM(Echo(), journal, 0))


def test_pictures_are_stored_once(tmp_path):
    with Journal(tmp_path / "j") as journal:
        for episode in range(3):
            vlm = JournalVLM(Echo(), journal, episode)
            for _ in range(3):
                ask(vlm, "a")
        assert journal._db.execute("SELECT count(*) FROM blobs").fetchone() == (
            3,
        )  # "rules", the picture, "a"


def test_threads_share_a_journal(tmp_path):
    with Journal(tmp_path / "j") as journal:

        def play(episode):
            vlm = JournalVLM(Echo(), journal, episode)
            journal.begin_episode(episode, "train", episode)
            for step in range(20):
                vlm.step = step
                ask(vlm, f"{episode} {step}")
                journal.record_step(dataclasses.replace(STEP, episode=episode, step=step))

        threads = [threading.Thread(target=play, args=(episode,)) for episode in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for episode in range(8):
            calls = journal.calls(episode)
            assert [call.step for call in calls] == list(range(20))
            assert [call.reply["text"].split()[1] for call in calls] == [
                str(n) for n in range(1, 21)
            ]
            assert len(journal.steps(episode)) == 20


def test_a_run_can_be_read_while_it_is_written(tmp_path):
    with Journal(tmp_path / "j") as writer:
        writer.record_step(STEP)
        with Journal(tmp_path / "j", read_only=True) as reader:
            assert reader.steps(0) == [STEP]
            with pytest.raises(RunError, match="readonly"):
                reader.set_meta(a=1)


def recorded(path):
    with Journal(path) as journal:
        journal.begin_episode(0, "train", 7)
        request, blobs = encode_request([Message.of("user", PICTURE, "hi")])
        journal.record_request(CallRow(0, 0, 0, "complete", "key", request, None, 5.0), blobs)
        journal.record_reply(0, 0, {"text": "a reply that cost money"})
        journal.record_step(STEP)
    return path


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ((b"a reply that", b"a re\xff\xfe that"), lambda journal: journal.calls(0)),
        ((b'cost money"}', b"cost money  "), lambda journal: list(journal.replies())),
        ((b'"lives": 3', b'"lives"  3'), lambda journal: journal.steps(0)),
    ],
)
def test_damage_is_a_run_error(tmp_path, change, read):
    path = recorded(tmp_path / "journal.sqlite")
    content = path.read_bytes()
    assert content.count(change[0]) == 1
    path.write_bytes(content.replace(*change))
    with Journal(path, read_only=True) as journal, pytest.raises(RunError, match="damaged"):
        read(journal)


def test_a_full_disk_is_a_run_error_and_loses_nothing(tmp_path):
    path = recorded(tmp_path / "journal.sqlite")
    with Journal(path) as journal:
        with (
            small_files(path.stat().st_size),
            pytest.raises(RunError, match="cannot be written"),
        ):
            journal.set_meta(big="x" * 500_000)
        journal.set_meta(small=1)
    with Journal(path, read_only=True) as journal:
        assert journal.meta() == {"small": 1}
        assert journal.steps(0) == [STEP]
        assert journal.calls(0)[0].reply == {"text": "a reply that cost money"}


def test_a_journal_that_is_a_folder(tmp_path):
    with pytest.raises(RunError, match="cannot be opened"):
        Journal(tmp_path)
