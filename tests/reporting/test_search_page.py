"""The page of a search: everything is on it, nothing on it does anything, and it can be looked at while the search goes on."""

import dataclasses
import itertools
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from atari_vlm import report
from atari_vlm.errors import ConfigError, RunError
from atari_vlm.reporting.tree.tree_data import Entry, best_of, shortened
from atari_vlm.reporting.tree.tree_drawing import draw_scores, draw_tree
from atari_vlm.reporting.tree.tree_report import write_tree
from atari_vlm.runs.journal_rows import CallRow, NodeRow, SimulationRow
from atari_vlm.runs.journal_vlm import encode_request
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.synthesis.recording import sha_of
from atari_vlm.types import Message, Reply

HOSTILE = (
    "</pre></section><script>alert(1)</script><img src=x onerror=alert(2)> &lt; ]]> <!-- \x1b[31m \u202e "
    "' onmouseover='alert(3) \" style=\"background:url(http://evil.example/x)"
)
EXAMPLE = {
    "state": [0.25, HOSTILE],
    "action": 1,
    "next_state": [0.5],
    "reward": -1.0,
    "done": False,
    "predicted": {"next_state": [0.75], "reward": -1.0, "done": HOSTILE},
    "wrong": ["next_state", "done"],
    "history": [[1, 0], [2, 1]],
}


def node(number, parent, kind="generate", score=0.5, **changes):
    values = {
        "node": number,
        "parent": parent,
        "call": number,
        "kind": kind,
        "score": score,
        "bug": 0,
        "visits": 1,
        "value": score,
        "terminal": 0,
        "fixes_left": 3,
        "program": None,
        "failure": "",
        "alpha": None,
        "beta": None,
    }
    return NodeRow(**{**values, **changes})


@pytest.fixture
def run(tmp_path):
    """A search of four calls: one that raised, its fix, one whose place a later one took, and one that came to nothing."""
    settings = {
        "env": f"Odd-v0 {HOSTILE}",
        "search": {"method": "gif-mcts", "budget": 4, "seed": 7},
    }
    request = RunRequest(
        tmp_path, "odd", settings, {}, run_name="odd", command_line=f"run {HOSTILE}"
    )
    opened = RunFolder.open(request)
    programs = {1: f"# {HOSTILE}\nx = 1", 2: f"# {HOSTILE}\nx = 2", 3: "z"}
    for number in (1, 2, 3, 4):
        prompt, blobs = encode_request([Message.of("user", f"question {number} {HOSTILE}")])
        call = CallRow(number, 0, 0, "complete", "key", prompt, None, 5.0)
        opened.journal.record_request(call, blobs)
        reply = Reply(f"reply {number} {HOSTILE}", HOSTILE, cost_usd=0.25)
        opened.journal.record_reply(number, 0, reply.as_dict())
        outcome = {
            "program": sha_of(programs.get(number)),
            "score": 0.75 if number == 2 else 0.0,
            "failure": {1: "bug", 4: "no-code"}.get(number, ""),
            "error": HOSTILE if number == 1 else "",
            "fields": {HOSTILE: 0.5, "reward": 1.0} if number == 2 else {},
            "events": {f"reward=1{HOSTILE}": [3, 0.5]} if number == 2 else {},
            "held_out": 0.625 if number == 2 else None,
            "examples": [EXAMPLE] if number == 2 else [],
            "verified": None,
            "cost_usd": 0.25,
        }
        kind = "fix" if number == 2 else "generate"
        row = SimulationRow(number, kind, 1 if number == 2 else 0, outcome)
        opened.journal.record_simulation(row, programs.get(number))
    opened.journal.record_nodes(
        [
            node(0, None, "root", 0.0),
            node(1, 0, score=0.0, bug=1, failure="bug", program=sha_of(programs[1])),
            node(2, 1, "fix", 0.75, program=sha_of(programs[2])),
            node(4, 0, score=0.0, failure="no-code", terminal=1),
        ]
    )
    opened.close()
    return tmp_path / "odd"


class Elements(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)


def test_everything_is_on_the_page_as_text(run):
    page = write_tree(run).read_text()
    shown = "".join(Elements(page).text)
    for words in (
        *(
            "question 1",
            "reply 2",
            "x = 2",
            "# </pre></section><script>alert(1)",
            "0.6250",
            "$1",
        ),
        *(
            "What it raised",
            "Call 2: fix of",
            "(best)",
            "Difference to its parent",
            "-x = 1",
            "+x = 2",
        ),
        *(
            "next_state",
            "[0.75]",
            "2 steps of its episode before",
            "3 times",
            "Calls outside the tree",
        ),
        *("gif-mcts", "run </pre>", "no-code", "fixes left"),
    ):
        assert words in shown, words
    assert "\x1b" not in page and "\u202e" not in page and "\\x1b[31m" in shown


def test_nothing_on_the_page_does_anything(run):
    page = write_tree(run).read_text()
    found = Elements(page)
    allowed = {
        *("html", "head", "meta", "title", "style", "body", "header", "section", "main", "div", "p", "h1", "h2", "h3"),
        *("dl", "dt", "dd", "svg", "path", "circle", "text", "line", "polyline", "a", "table", "tr", "td", "th"),
        *("progress", "pre", "details", "summary", "span"),
    }  # fmt: skip
    assert {tag for tag, _ in found.elements} <= allowed
    for tag, attributes in found.elements:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
        assert tag != "a" or re.fullmatch(r"#call-\d+", attributes["href"])
    (policy,) = (a["content"] for t, a in found.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "script" not in policy


def test_every_link_leads_somewhere_and_every_number_stands_once(run):
    found = Elements(write_tree(run).read_text()).elements
    places = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert sorted(places) == [f"call-{number}" for number in range(5)]
    assert {a["href"][1:] for tag, a in found if tag == "a"} <= {*places}


def test_a_page_is_not_larger_than_was_asked_for(run):
    whole = write_tree(run).read_text()
    assert "cut here" not in whole
    small = write_tree(run, run / "small.html", max_mb=0.0001).read_text()
    assert len(small) == len(whole)  # texts below 500 characters stay whole
    entries = {
        n: Entry(
            n, "generate", 0, node(n, 0), {}, "x" * 9_000, (("user", "y" * 9_000),), "z" * 9_000
        )
        for n in range(400)
    }
    kept = shortened(entries, 1_000_000)
    sizes = [
        len(entry.program) + len(entry.reply) + len(entry.messages[0][1]) for entry in kept.values()
    ]
    assert sum(sizes) < 1_000_000 and "all 9,000 characters" in kept[7].reply
    assert shortened(entries, 100_000_000) == {
        n: dataclasses.replace(e, outcome={"error": ""}) for n, e in entries.items()
    }


def test_equal_searches_have_equal_pages_and_report_writes_them_too(run, capsys):
    first = write_tree(run).read_bytes()
    assert write_tree(run).read_bytes() == first
    assert report.main([str(run), "--out", str(run / "other.html")]) == 0
    assert capsys.readouterr().out.strip() == str(run / "other.html")
    assert (run / "other.html").read_bytes() == first


def test_what_is_no_search_or_is_damaged_is_told(run, tmp_path):
    with pytest.raises(ConfigError, match="not a run folder"):
        write_tree(tmp_path / "absent")
    raw = (run / "journal.sqlite").read_bytes()
    at = raw.index(b"question 1")
    (run / "journal.sqlite").write_bytes(raw[:at] + b"Question" + raw[at + 8 :])
    with pytest.raises(RunError, match="damaged"):
        write_tree(run)


def test_a_search_that_has_not_begun_has_a_page(tmp_path):
    request = RunRequest(tmp_path, "new", {"search": {"method": "worldcoder"}}, {}, run_name="new")
    RunFolder.open(request).close()
    assert "Nothing was asked yet" in write_tree(tmp_path / "new").read_text()


def entry(number, parent, score=0.5, kind="improve", **outcome):
    return Entry(number, kind, parent, node(number, parent), {"score": score, **outcome}, "x" * 9)


def test_the_picture_holds_a_chain_as_long_as_a_budget():
    chain = {n: entry(n, n - 1 if n else None) for n in range(3000)}
    picture = draw_tree(chain, 17)
    assert picture.count("<circle") == 3000 and picture.count('class="edge"') == 2999
    assert picture.count(" best") == 1


def test_nodes_do_not_cover_one_another():
    parents = [None, 0, 0, 1, 1, 2, 0, 6, 6, 6, 3]
    picture = draw_tree({n: entry(n, parent) for n, parent in enumerate(parents)}, None)
    places = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', picture)
    assert len({*places}) == len(parents)
    rows = {}
    for x, y in places:
        rows.setdefault(x, []).append(float(y))
    for column in rows.values():
        column.sort()
        assert all(low + 30 <= high for low, high in itertools.pairwise(column))


def test_forests_and_empty_trees_are_drawn_too():
    assert draw_tree({}, None) == draw_scores({}) == ""
    forest = draw_tree({n: entry(n, None) for n in (1, 2, 3)}, 2)
    assert forest.count("<circle") == 3 and 'class="edge"' not in forest
    assert draw_scores({1: entry(1, None, 7.0)}).count("<circle") == 1


def test_the_best_is_the_first_of_the_highest_and_a_shorter_equal_one_replaces_it():
    entries = {n: entry(n, None, score) for n, score in ((1, 0.5), (2, 0.9), (3, 0.9))}
    assert best_of(entries).number == 2
    found = {
        **entries,
        4: entry(4, None, 1.0),
        5: Entry(5, "simplify", None, None, {"score": 1.0}, "x"),
    }
    assert best_of(found).number == 5
    found[5] = Entry(5, "simplify", None, None, {"score": 1.0, "held_out": 0.5}, "x")
    assert best_of(found).number == 4
    assert best_of({}) is None
    refused = {1: entry(1, None, 1.0, verified=False), 2: entry(2, None, 1.0, verified=True)}
    assert best_of(refused).number == 2


CHROMIUM = next((path for path in ("/usr/bin/chromium",) if Path(path).exists()), None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_the_best_program_and_runs_nothing(run, tmp_path):
    page = write_tree(run)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{page}")
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=60)
    assert "<script" not in done.stdout and 'id="call-2"' in done.stdout
    assert "Refused" not in done.stderr
