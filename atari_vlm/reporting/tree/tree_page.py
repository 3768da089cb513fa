"""The page of a search as HTML: no script, nothing loaded, every word that somebody else wrote escaped."""

from __future__ import annotations

import base64
import difflib
import hashlib
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from atari_vlm.reporting.tree.tree_data import Entry, best_of
from atari_vlm.reporting.tree.tree_drawing import draw_scores, draw_tree
from atari_vlm.runs.terminal import shown

Facts = Sequence[tuple[str, str]]


def render_tree(title: str, facts: Facts, command: str, entries: Mapping[int, Entry]) -> str:
    """The whole page; ``facts`` stand at its head, ``command`` is the line that makes the run again."""
    best = best_of(entries)
    style = (resources.files("atari_vlm.reporting.tree") / "tree.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src 'sha256-{_sha256(style)}'; base-uri 'none'; form-action 'none'"
    body = [
        '<header class="top"><div><p class="eyebrow">search for a program</p>',
        f"<h1>{_text(title)}</h1></div>{_tiles(entries, best)}</header>",
        f'<section class="card">{_definitions(facts[:_CHIEF])}<details><summary>All conditions</summary>',
        f"{_definitions(facts[_CHIEF:])}</details>{_command(command)}</section>",
        '<main><div class="column"><section class="card forest"><h2>Programs</h2>',
        draw_tree(entries, None if best is None else best.number)
        or "<p>Nothing was asked yet.</p>",
        _LEGEND,
        f"</section><section class='card'><h2>Score by call</h2>{draw_scores(entries)}</section>",
        f"{_not_in_tree(entries)}</div><div class='column'>",
        *(_section(entries, entry, best) for entry in entries.values()),
        "</div></main>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}: search report</title><style>{style}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


_CHIEF = 8  # facts that are always shown
_LEGEND = (
    '<p class="legend"><span class="generate">generate</span><span class="improve">improve</span>'
    '<span class="fix">fix</span><span class="failed">failed</span><span class="best">best</span></p>'
)


def _tiles(entries: Mapping[int, Entry], best: Entry | None) -> str:
    calls = [entry for number, entry in entries.items() if number > 0]
    costs = [entry.outcome.get("cost_usd") for entry in calls]
    failures = sum(bool(entry.outcome.get("failure")) for entry in calls)
    tiles = [
        ("feedback score", "none" if best is None else f"{best.score:.4f}"),
        ("held-out score", _number(None if best is None else best.outcome.get("held_out"))),
        ("calls", str(len(calls))),
        ("failures", str(failures)),
        ("cost", _cost(None if None in costs else sum(filter(None, costs)))),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in tiles)
    return f'<dl class="tiles">{items}</dl>'


def _section(entries: Mapping[int, Entry], entry: Entry, best: Entry | None) -> str:
    """Everything about one call."""
    chosen = " chosen" if entry is best or (best is None and entry.number == 0) else ""
    above = entry.parent if entry.node is None else entry.node.parent
    parent = None if above is None else entries.get(above)
    parts = [
        f'<section class="card call{chosen}" id="call-{entry.number}"><h2>{_heading(entry, parent, best)}</h2>',
        _definitions(_facts_of(entry)),
        _scores(entry.outcome.get("fields") or {}),
        _events(entry.outcome.get("events") or {}),
        _words("What it raised", entry.outcome.get("error"), "raised"),
        *(_example(example) for example in entry.outcome.get("examples") or ()),
        _words("Program", entry.program),
        _difference(entry, parent),
        *(_folded(f"Prompt: {role}", text) for role, text in entry.messages),
        _folded("Reply", entry.reply),
        "</section>",
    ]
    return "".join(parts)


def _heading(entry: Entry, parent: Entry | None, best: Entry | None) -> str:
    if entry.number == 0:
        begun = "nothing is written yet" if entry.program is None else "the program to begin with"
        return f"Root: {begun}{' (best)' if entry is best else ''}"
    source = f' of <a href="#call-{parent.number}">{parent.number}</a>' if parent else ""
    return f"Call {entry.number}: {_text(entry.kind)}{source}{' (best)' if entry is best else ''}"


def _facts_of(entry: Entry) -> Facts:
    node, outcome = entry.node, entry.outcome
    values: dict[str, Any] = {
        "score": _number(entry.score) if outcome else None,
        "held-out score": _number(outcome.get("held_out")) if outcome else None,
        "failure": outcome.get("failure") or None,
        "replays every transition": {True: "yes", False: "no"}.get(outcome.get("verified")),  # type: ignore[arg-type]
        "cost": None if not entry.number else _cost(outcome.get("cost_usd")),
        **entry.facts,
    }
    if entry.program is not None:
        values["size"] = f"{len(entry.program.splitlines())} lines, {len(entry.program)} characters"
    if node is not None:
        values |= {
            "visits": node.visits,
            "value": _number(node.value),
            "terminal": "yes" if node.terminal else None,
            "fixes left": node.fixes_left,
            "Beta": None if node.alpha is None else f"{node.alpha:g}, {node.beta:g}",
        }
    return [(name, str(value)) for name, value in values.items() if value is not None]


def _scores(fields: Mapping[str, float]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f'<tr><td>{_text(name)}</td><td><progress max="1" value="{float(share):.4f}"></progress></td>'
        f"<td>{float(share):.4f}</td></tr>"
        for name, share in fields.items()
    )
    return f"<h3>Scores by field</h3><table class='scores'>{rows}</table>"


def _events(events: Mapping[str, Sequence[float]]) -> str:
    if not events:
        return ""
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{int(count)} times</td><td>{float(recall):.4f} foretold</td></tr>"
        for name, (count, recall) in events.items()
    )
    return f"<h3>Events</h3><table class='scores'>{rows}</table>"


def _example(example: Mapping[str, Any]) -> str:
    said = example.get("predicted") or {}
    names = ("next_state", "reward", "done")
    wrong = example.get("wrong") or ()
    rows = "".join(
        f"<tr{' class=wrong' if name in wrong else ''}><td>{name}</td><td>{_text(example.get(name))}</td>"
        f"<td>{_text(said.get(name, said.get('error', '')))}</td></tr>"
        for name in names
    )
    history = example.get("history") or ()
    before = f"; {len(history)} steps of its episode before" if history else ""
    return (
        f"<h3>Mispredicted: state {_text(example.get('state'))}, action {_text(example.get('action'))}{before}</h3>"
        f"<table class='scores'><tr><th></th><th>happened</th><th>predicted</th></tr>{rows}</table>"
    )


def _difference(entry: Entry, parent: Entry | None) -> str:
    """The program against its parent's, line by line."""
    if parent is None or parent.program is None or entry.program is None:
        return ""
    lines = difflib.unified_diff(
        parent.program.splitlines(), entry.program.splitlines(), "parent", "program", lineterm=""
    )
    kinds = {"+": "added", "-": "removed", "@": "place"}
    rows = [
        f'<span class="{kinds.get(line[:1], "same")}">{_text(line)}</span>'
        for line in list(lines)[2:]
    ]
    return f'<h3>Difference to its parent</h3><pre class="diff">{"".join(rows) or "none"}</pre>'


def _not_in_tree(entries: Mapping[int, Entry]) -> str:
    others = [entry for entry in entries.values() if entry.node is None]
    links = ", ".join(
        f'<a href="#call-{entry.number}">{entry.number} ({_text(entry.kind)})</a>'
        for entry in others
    )
    return (
        f"<section class='card'><h2>Calls outside the tree</h2><p>{links}</p></section>"
        if others
        else ""
    )


def _definitions(facts: Facts) -> str:
    items = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts
    )
    return f'<dl class="facts">{items}</dl>'


def _command(line: str) -> str:
    return f"<pre>{_text(line)}</pre>" if line else ""


def _words(title: str, text: Any, kind: str = "words") -> str:
    return f'<h3>{title}</h3><pre class="{kind}">{_text(text)}</pre>' if text else ""


def _folded(title: str, text: str) -> str:
    return (
        f"<details><summary>{_text(title)}</summary><pre>{_text(text)}</pre></details>"
        if text
        else ""
    )


def _number(value: Any) -> str:
    return "none" if value is None else f"{float(value):.4f}"


def _cost(value: Any) -> str:
    return "unknown" if value is None else f"${float(value):.4g}"


def _text(value: Any) -> str:
    """Anything as text that HTML takes as text; control codes are written out."""
    return html.escape(shown(str(value)))


def _sha256(inline: str) -> str:
    return base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
