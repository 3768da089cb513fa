"""Beside a journal: which journal began here, and how many calls it has answered.

A journal of SQLite is two files while it is written, and people copy one of them; or it is lost. Played again, its run would
ask, and pay, for everything once more. ``journal.sqlite.mark`` holds the journal's id and the number of answers that are on the
disk in it; it is rewritten in place after each, so it never claims more than there is, and a journal with fewer has lost some.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from atari_vlm.errors import RunError, reading
from atari_vlm.files import atomic_write, naming, read_real

Noted = tuple[str, int] | None  # a journal's id, and how many answers it held
_CONTENT = re.compile(rb"([0-9a-f]{16}) ([0-9]{12})\n")
_ADVICE = (
    "continuing would ask, and pay, for its calls again. Put back journal.sqlite with all files whose names begin like it "
    "(-wal, .mark) as they were when the run stopped, or start a new run under another name (--run-name)"
)


class Mark:
    """The mark of a journal that this process writes."""

    def __init__(self, path: Path, journal_id: str, answered: int):
        self.path = path
        if not path.exists():
            atomic_write(path, _content(journal_id, answered))
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with reading(path, RunError):
            self._file = os.open(path, flags)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                os.close(self._file)
                raise ValueError("it is no file")
        self._id = journal_id

    def answered(self, count: int) -> None:
        """Note that so many answers are on the disk."""
        with naming(self.path):
            os.pwrite(self._file, _content(self._id, count), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def mark_of(journal: Path) -> Path:
    """Where a journal's mark lies."""
    return journal.with_name(journal.name + ".mark")


def read_mark(journal: Path) -> Noted:
    """The id and the number of answers that were noted beside ``journal``; ``None`` where nothing was."""
    path = mark_of(journal)
    if not os.path.lexists(path):
        return None
    with reading(path, RunError):
        content = _CONTENT.fullmatch(read_real(path, 64))
        if content is None:
            raise ValueError("it is damaged")
    return content[1].decode(), int(content[2])


def check_began(journal: Path, mark: Noted, noted_id: str | None) -> None:
    """Raise ``RunError`` where a journal began, by its mark or the run's ``config.yaml``, and there is none or an empty one."""
    if (mark or noted_id) and not (journal.is_file() and journal.stat().st_size > 0):
        state = "empty" if journal.is_file() else "missing"
        raise RunError(f"{journal} is {state}, although its run has begun: {_ADVICE}")


def check_made(run: Path, journal: Path) -> None:
    """Runs of older versions noted nothing of their journal: what was made from it tells that there was one."""
    made = [
        name for name in ("metrics.jsonl", "results.json") if (run / name).is_file()
    ]  # never before the journal
    if made and not (journal.is_file() and journal.stat().st_size > 0):
        raise RunError(
            f"{journal} is {'empty' if journal.is_file() else 'missing'}, although {made[0]} was made from it: "
            "put it back to continue, or start a new run under another name"
        )


def check_whole(journal: Path, mark: Noted, own_id: str, answered: int) -> None:
    """Raise ``RunError`` unless the journal that was opened is the one that began here, with all its answers.

    ``mark`` was read before ``answered`` were counted: another process may be writing.
    """
    if mark is not None and mark[0] != own_id:
        raise RunError(f"{journal} is not the journal of this run but another one's: {_ADVICE}")
    if mark is not None and answered < mark[1]:
        raise RunError(
            f"{journal} has lost {mark[1] - answered} of the {mark[1]} answers that it held: {_ADVICE}"
        )


def check_noted(
    journal: Path, mark: Noted, own_id: str, noted_id: str | None, finished: bool
) -> None:
    """Likewise, against the id that the run's ``config.yaml`` notes: without a mark only a finished journal is surely whole."""
    if noted_id is not None and noted_id != own_id:
        raise RunError(f"{journal} is not the journal of this run but another one's: {_ADVICE}")
    if noted_id is not None and mark is None and not finished:
        raise RunError(
            f"{mark_of(journal)} is missing, so nobody knows whether {journal} is whole: {_ADVICE}"
        )


def _content(journal_id: str, answered: int) -> bytes:
    return f"{journal_id} {answered:012d}\n".encode()
