"""A search in a run folder: its files, its continuation, what it may cost, and what may not stand in it."""

import csv
import hashlib
import json
import sqlite3

import pytest
import search_helpers as helpers
import yaml
from fake_server import FakeVendorServer
from remote_helpers import BACKENDS, TEST_KEY, connect
from search_helpers import Writer, buffer, prepared, program, reply

from atari_vlm.errors import BudgetExhaustedError, ConfigError, RunError, StorageError
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_rows import NodeRow
from atari_vlm.synthesis import SearchConfig, outputs, run_search, search
from atari_vlm.vlm.remote.retry import SYSTEM_CLOCK

CANARY = "sk-canary-5f1e0b9c77d2"


@pytest.fixture(autouse=True)
def no_sandbox(monkeypatch):
    monkeypatch.setattr(run_search, "ProgramJudge", lambda *_: helpers.judge)
    monkeypatch.setattr(outputs, "_write_checkpoint", lambda *_: None)


def talking(name="writer"):
    """A writer whose replies depend on the question alone."""
    return Writer(lambda _, text, sample: helpers.by_question(text, sample), name)


def test_a_run_folder_holds_what_a_reader_needs(tmp_path):
    result = search(
        prepared(0.4, "b", 0.8, 0.5), buffer(), SearchConfig(budget=4), folder=tmp_path / "run"
    )
    run = tmp_path / "run"
    rows = list(csv.DictReader((run / "nodes.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        *("node", "parent", "call", "kind", "score", "bug", "visits", "value", "terminal"),
        *("fixes_left", "program", "failure", "alpha", "beta"),
    ]
    for row, node in zip(rows, result.nodes, strict=True):
        assert int(row["node"]) == node.node and row["kind"] == node.kind
        assert (int(row["visits"]), int(row["bug"])) == (node.visits, node.bug)
        assert float(row["value"]) == node.value and row["failure"] == node.failure
        if node.program is not None:
            text = (run / "programs" / f"{row['program']}.py").read_bytes()
            assert text.decode() == node.program
            assert hashlib.sha256(text).hexdigest() == row["program"]
    assert (run / "best.py").read_text() == result.program == program(0.8, "call-3")
    content = json.loads((run / "results.json").read_text())
    wanted = {
        "method": "gif-mcts",
        "env": "Counter-v0",
        "scorer": "tolerant",
        "calls": 4,
        "score": 0.8,
        "held_out_score": 0.4,
        "failures": {"bug": 1},
    }
    assert {name: content[name] for name in wanted} == wanted
    assert content["cost_usd"] == pytest.approx(0.04)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["settings"]["search"]["budget"] == 4 and len(config["settings"]["buffer"]) == 64
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        assert [row.kind for row in journal.simulations()] == [n.kind for n in result.nodes[1:]]
        assert [journal.calls(n)[0].paid for n in range(1, 5)] == [True] * 4
        assert journal.nodes()[0] == NodeRow(
            *(0, None, 0, "root", 0.0, 0, 5, result.nodes[0].value, 0, 3, None, "", None, None)
        )
    assert write_report(run) == run / "tree.html"


def test_the_same_call_reads_a_finished_run_and_asks_nothing(tmp_path):
    for parallel in (1, 4):
        writer, config = talking(), SearchConfig(budget=12, parallel=parallel, simplify=2)
        folder = tmp_path / str(parallel)
        first = search(writer, buffer(), config, folder=folder)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert len(writer.asked) == 12
        assert search(writer, buffer(), config, folder=folder) == first
        assert len(writer.asked) == 12
        for path, content in before.items():
            if path.suffix in (".csv", ".py", ".json", ".html"):
                assert path.read_bytes() == content
        assert search(talking(), buffer(), config) == first  # without a folder it is the same tree


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path):
    writer = talking()
    search(writer, buffer(), SearchConfig(budget=7, parallel=3), folder=tmp_path / "run")
    result = search(writer, buffer(), SearchConfig(budget=15, parallel=3), folder=tmp_path / "run")
    assert len(writer.asked) == 15
    assert result == search(talking(), buffer(), SearchConfig(budget=15, parallel=3))


@pytest.mark.parametrize("other", ["seed", "buffer", "writer", "parallel", "less"])
def test_another_search_is_refused_in_a_folder_that_holds_one(tmp_path, other):
    config = SearchConfig(budget=5)
    search(talking(), buffer(), config, folder=tmp_path / "run")
    asked = {
        "seed": (talking(), buffer(), SearchConfig(budget=5, seed=1)),
        "buffer": (talking(), buffer(39), config),
        "writer": (talking("another"), buffer(), config),
        "parallel": (talking(), buffer(), SearchConfig(budget=5, parallel=2)),
        "less": (talking(), buffer(), SearchConfig(budget=4)),
    }[other]
    with pytest.raises(RunError, match="other settings"):
        search(*asked, folder=tmp_path / "run")


def test_a_limit_stops_a_run_and_a_larger_one_lets_it_go_on(tmp_path):
    writer = talking()
    with pytest.raises(BudgetExhaustedError) as stopped:
        search(writer, buffer(), SearchConfig(budget=12, max_calls=5), folder=tmp_path / "run")
    assert stopped.value.exit_code == 75
    assert len((tmp_path / "run" / "nodes.csv").read_text().splitlines()) == 7  # head, root, five
    assert (tmp_path / "run" / "tree.html").is_file()
    result = search(
        writer, buffer(), SearchConfig(budget=12, max_calls=12), folder=tmp_path / "run"
    )
    assert len(writer.asked) == 12
    assert result == search(talking(), buffer(), SearchConfig(budget=12))


def test_a_cached_rerun_asks_nothing_and_is_the_same_tree(tmp_path):
    writer = talking()
    config = SearchConfig(budget=15, parallel=4, cache=tmp_path / "cache")
    first = search(writer, buffer(), config, folder=tmp_path / "one")
    second = search(writer, buffer(), config, folder=tmp_path / "two")
    assert len(writer.asked) == 15
    assert (second.nodes, second.weights, second.program) == (
        first.nodes,
        first.weights,
        first.program,
    )
    assert (first.cost_usd, second.cost_usd) == (pytest.approx(0.15), 0.0)


def test_a_full_disk_stops_a_search_and_room_lets_it_go_on(tmp_path, monkeypatch):
    writer, config = talking(), SearchConfig(budget=10)
    whole = search(talking(), buffer(), config)
    opened = Journal.__init__

    def small(journal, *args, **options):
        opened(journal, *args, **options)
        if not journal.read_only:
            pages = journal._db.execute("pragma page_count").fetchone()[0]
            journal._db.execute(f"pragma max_page_count={pages + 8}")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__init__", small)
        with pytest.raises(StorageError) as full:
            search(writer, buffer(), config, folder=tmp_path / "run")
    assert full.value.exit_code == 74
    done = len(writer.asked)
    assert 1 < done < 10
    assert search(writer, buffer(), config, folder=tmp_path / "run") == whole
    assert len(writer.asked) <= 10 + 1  # the one whose answer found no room


def test_a_judgement_that_is_recorded_is_not_made_again(tmp_path, monkeypatch):
    judged = []

    def judge(text):
        judged.append(text)
        return helpers.judge(text)

    monkeypatch.setattr(run_search, "ProgramJudge", lambda *_: judge)
    config = SearchConfig(budget=6)
    search(talking(), buffer(), config, folder=tmp_path / "run")
    assert len(judged) == 6
    search(talking(), buffer(), config, folder=tmp_path / "run")
    assert len(judged) == 6


@pytest.mark.parametrize(
    "change",
    [
        "update nodes set visits = 9 where node = 1",
        "delete from nodes where node = 2",
        "update simulations set outcome = replace(outcome, '0.', '1.') where simulation = 1",
        "delete from simulations where simulation = 3",
        "delete from calls where episode = 2",
    ],
)
def test_damage_to_the_tables_of_a_search_is_told(tmp_path, change):
    search(prepared(0.4, 0.5, 0.3), buffer(), SearchConfig(budget=3), folder=tmp_path / "run")
    path = tmp_path / "run" / "journal.sqlite"
    db = sqlite3.connect(path)
    db.execute(change)
    db.commit()
    db.close()
    (tmp_path / "run" / "journal.sqlite.mark").unlink()  # what tells of lost answers first
    with Journal(path, read_only=True) as journal, pytest.raises(RunError, match="damaged"):
        journal.nodes()
        [journal.calls(row.simulation) for row in journal.simulations()]


@pytest.mark.parametrize("dialect", BACKENDS)
def test_a_whole_search_in_each_dialect(tmp_path, dialect, monkeypatch):
    """Both the key that is sent and one of the environment are said by the server, and stand nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    scores = iter([0.4, "b", 0.6, 0.5, 1.0])

    def answer(text, images):
        score = next(scores)
        return reply(program(score, f"{CANARY} {TEST_KEY} {score}"))

    with FakeVendorServer(answer=answer) as server, connect(dialect, server) as writer:
        result = search(writer, buffer(), SearchConfig(budget=9), folder=tmp_path / "run")
        assert len(server.requests) == 5
        bodies = [request.text for request in server.requests]
    assert result.score == 1.0 and result.calls == 5 and result.failures == {"bug": 1}
    assert "[key]" in result.program
    fixed = result.nodes[2]
    assert fixed.failure == "bug" and any(fixed.program in body for body in bodies)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert CANARY.encode() not in content and TEST_KEY.encode() not in content, path


@pytest.mark.slow
def test_eight_in_flight_are_five_times_as_fast(tmp_path):
    """``python -m pytest -m slow tests/synthesis/test_search_run.py -n 0``."""
    seconds = {}
    answer = lambda text, images: helpers.by_question(text, 0)  # noqa: E731
    for parallel in (1, 8):
        with FakeVendorServer(latency_s=0.2, answer=answer) as server:
            with connect("openai", server, clock=SYSTEM_CLOCK) as writer:
                begin = SYSTEM_CLOCK.monotonic()
                search(writer, buffer(), SearchConfig(budget=48, parallel=parallel))
                seconds[parallel] = SYSTEM_CLOCK.monotonic() - begin
    print(f"one by one {seconds[1]:.2f} s, eight in flight {seconds[8]:.2f} s")
    assert seconds[1] / seconds[8] >= 5


def test_a_folder_that_is_none_is_refused(tmp_path):
    for name in ("..", "a b", "con"):
        with pytest.raises(ConfigError):
            search(talking(), buffer(), SearchConfig(budget=1), folder=tmp_path / name)
