"""The tables of searches in a journal, and journals of before that have none."""

import json
import sqlite3

import pytest

from atari_vlm.errors import RunError
from atari_vlm.runs.journal import CallRow, Journal
from atari_vlm.runs.journal_rows import NodeRow, SimulationRow
from atari_vlm.runs.journal_schema import OWN, insert
from atari_vlm.runs.journal_vlm import encode_request
from atari_vlm.types import Message, Reply

OUTCOME = {"program": None, "score": 0.5, "fields": {"reward": 1.0}, "examples": []}


def node(number, **changes):
    values = (number, 0, number, "improve", 0.5, 0, 1, 0.5, 0, 3, None, "", None, None)
    row = NodeRow(*values)
    return NodeRow(**{**vars(row), **changes})


def ask(journal, task):
    request, blobs = encode_request([Message.of("user", f"question {task}")])
    row = CallRow(task, 0, 0, "complete", "key", request, None, 5.0)
    journal.record_request(row, blobs)
    journal.record_reply(task, 0, Reply(f"reply {task}", "m", cost_usd=0.1).as_dict())


def version_2(path):
    """What version 2 wrote: an episode and its call, and no tables of searches."""
    with Journal(path) as journal:
        journal.begin_episode(0, "train", 7)
        ask(journal, 0)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("drop table simulations")
    db.execute("drop table nodes")
    own = json.loads(db.execute("select value from meta where key = ?", (OWN,)).fetchone()[0])
    kept = {name: own[name] for name in ("id", "meta", "episodes")}
    insert(db, "meta", (OWN, json.dumps(kept, sort_keys=True)))
    db.execute("pragma user_version=2")
    db.close()
    return path


def test_simulations_are_kept_with_their_programs_and_counted(tmp_path):
    with Journal(tmp_path / "j") as journal:
        for number in (1, 2):
            ask(journal, number)
            row = SimulationRow(number, "generate", None, {**OUTCOME, "program": None})
            journal.record_simulation(row, "x = 1")
        assert journal.simulation(2) == row and journal.simulation(3) is None
        assert [row.simulation for row in journal.simulations()] == [1, 2]
        assert journal.calls(2)[0].task == 2
    with Journal(tmp_path / "j", read_only=True) as journal:
        assert journal.simulation(2) == row
        assert [reply["text"] for reply in journal.replies()] == ["reply 1", "reply 2"]


def test_a_simulation_that_is_recorded_again_counts_once(tmp_path):
    with Journal(tmp_path / "j") as journal:
        for score in (0.25, 0.75):
            journal.record_simulation(SimulationRow(0, "root", None, {"score": score}, 0), None)
        assert [row.outcome["score"] for row in journal.simulations()] == [0.75]


def test_a_tree_takes_the_place_of_the_one_before(tmp_path):
    first = [node(0), node(1), node(2, score=0.25)]
    second = [node(0, visits=3), node(2, score=0.25), node(3, bug=1, failure="bug", alpha=2.0)]
    with Journal(tmp_path / "j") as journal:
        for rows in (first, second):
            journal.record_nodes(rows)
            assert journal.nodes() == rows
    with Journal(tmp_path / "j") as journal:  # another process goes on
        journal.record_nodes(first)
        assert journal.nodes() == first


def test_journals_of_before_are_read_as_they_are_and_grow_when_they_go_on(tmp_path):
    path = version_2(tmp_path / "journal.sqlite")
    raw = path.read_bytes()
    with Journal(path, read_only=True) as journal:
        assert journal.nodes() == journal.simulations() == []
        assert journal.simulation(1) is None and journal.calls(0)[0].reply["text"] == "reply 0"
        identity = journal.id
    assert path.read_bytes() == raw
    with Journal(path, noted_id=identity) as journal:
        assert journal.id == identity and journal.episodes()[0].seed == 7
        assert [reply["text"] for reply in journal.replies(paid=True)] == ["reply 0"]
        journal.record_nodes([node(0)])
    with Journal(path, read_only=True) as journal:
        assert journal.nodes() == [node(0)] and journal.id == identity


@pytest.mark.parametrize(
    "change",
    [
        "update nodes set value = 0.75 where node = 1",
        "delete from nodes where node = 1",
        "update simulations set kind = 'fix'",
        "delete from simulations",
        "update simulations set outcome = '[' where simulation = 1",
    ],
)
def test_a_change_is_told(tmp_path, change):
    with Journal(tmp_path / "j") as journal:
        ask(journal, 1)
        journal.record_simulation(SimulationRow(1, "generate", None, OUTCOME), None)
        journal.record_nodes([node(0), node(1)])
    db = sqlite3.connect(tmp_path / "j")
    db.execute(change)
    db.commit()
    db.close()
    with Journal(tmp_path / "j", read_only=True) as journal, pytest.raises(RunError):
        journal.nodes()
        journal.simulations()


def test_a_finished_simulation_misses_its_call(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.record_simulation(SimulationRow(1, "generate", None, OUTCOME), None)
        with pytest.raises(RunError, match="rows of simulation 1 are missing"):
            journal.calls(1)
