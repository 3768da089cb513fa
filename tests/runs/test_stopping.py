"""Signals end a run after its step; a lock keeps it to one process; what answered is named."""

import os
import signal

import pytest

from atari_vlm.errors import RunError
from atari_vlm.runs import stopping
from atari_vlm.runs.answered import answered, one_line
from atari_vlm.runs.run_lock import hold_lock
from atari_vlm.runs.stopping import stop_on_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks_for_a_stop_and_says_its_exit_code(number, code, capfd):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(1.0) and stop.exit_code == code
    assert signal.getsignal(number) is before
    assert "stopping after the current step" in capfd.readouterr().err


def test_the_second_signal_ends_the_process_with_its_own_number(monkeypatch):
    ended = []
    monkeypatch.setattr(stopping, "end_at_once", ended.append)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(1.0) and ended == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [signal.SIGTERM]


def test_handlers_are_put_back_when_the_block_fails():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunError), stop_on_signals():
        raise RunError("full")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_lock_names_the_process_that_holds_it_and_is_free_after(tmp_path):
    lock = hold_lock(tmp_path)
    with pytest.raises(RunError, match=rf"another process \(process id {os.getpid()}\)"):
        hold_lock(tmp_path)
    lock.close()
    hold_lock(tmp_path).close()


@pytest.mark.parametrize("content", [b"my notes", b"12\n13\n", b"-1\n", b"1" * 21, b"\xff\xfe"])
def test_a_file_that_is_no_lock_is_left_as_it_is(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(RunError, match="not the lock of a run"):
        hold_lock(tmp_path)
    assert (tmp_path / "lock").read_bytes() == content


def test_a_lock_that_is_a_link_or_a_pipe_is_not_opened(tmp_path):
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "notes")
    with pytest.raises(OSError):
        hold_lock(tmp_path)
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(RunError, match="not the lock of a run"):
        hold_lock(tmp_path)
    assert (tmp_path / "notes").read_text() == "mine"


def test_what_answered_is_named_once_in_order_and_what_is_unknown_is_left_out():
    replies = [{"model": name} for name in ("b", "a", "b", "")] + [{}]
    facts = answered("asked", replies, None, None)
    assert facts == {"model asked for": "asked", "model that answered": "b, a"}
    assert one_line(facts) == "model asked for: asked; model that answered: b, a"


def test_many_names_are_counted_and_the_prompt_has_its_hash():
    facts = answered("x", [{"model": f"m{i}"} for i in range(11)], "http://127.0.0.1:1/v1", "cot")
    assert facts["model that answered"].endswith("m7 and 3 more")
    assert facts["address"] == "http://127.0.0.1:1/v1"
    assert facts["prompt"].startswith("cot, version ") and "sha256 " in facts["prompt"]
