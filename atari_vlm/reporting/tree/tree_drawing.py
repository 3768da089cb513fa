"""The tree of a search as a picture: depth to the right, leaves one below the other, a link to each program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from atari_vlm.reporting.tree.tree_data import Entry

_COLUMN, _ROW, _RADIUS, _MARGIN = 118, 34, 11, 24
Places = dict[int, tuple[float, float]]


def draw_tree(entries: Mapping[int, Entry], best: int | None) -> str:
    """An SVG element of the entries that stand in the tree; empty where none does."""
    shown = {number: entry for number, entry in entries.items() if entry.node is not None}
    places = _places(shown)
    if not places:
        return ""
    width = max(x for x, _ in places.values()) + _COLUMN
    height = max(y for _, y in places.values()) + _MARGIN
    edges = [_edge(places, number, entry) for number, entry in shown.items()]
    marks = [_mark(places[number], entry, number == best) for number, entry in shown.items()]
    return (
        f'<svg class="tree" role="img" aria-label="the tree of programs" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">{"".join(edges)}{"".join(marks)}</svg>'
    )


def draw_scores(entries: Mapping[int, Entry]) -> str:
    """An SVG element: the score of every call as a dot, and the best so far as a line; empty for no calls."""
    scores = [entry.score for number, entry in entries.items() if number > 0]
    if not scores:
        return ""
    best = [max(scores[: i + 1]) for i in range(len(scores))]
    x = [12 + 456 * i / max(len(scores) - 1, 1) for i in range(len(scores))]
    dots = "".join(
        f'<circle class="dot" cx="{at:.1f}" cy="{_height(score):.1f}" r="2.5"/>'
        for at, score in zip(x, scores, strict=True)
    )
    line = " ".join(f"{at:.1f},{_height(score):.1f}" for at, score in zip(x, best, strict=True))
    return (
        '<svg class="curve" role="img" aria-label="score by call" viewBox="0 0 480 96">'
        '<line class="rule" x1="12" y1="8" x2="468" y2="8"/><line class="rule" x1="12" y1="84" x2="468" y2="84"/>'
        f'<text x="0" y="12">1</text><text x="0" y="88">0</text><polyline points="{line}"/>{dots}</svg>'
    )


def _height(score: float) -> float:
    return 84 - 76 * min(max(score, 0.0), 1.0)


def _places(shown: Mapping[int, Entry]) -> Places:
    """Where each node is drawn: leaves on rows of their own, a parent in the middle of its children."""
    below: defaultdict[int | None, list[int]] = defaultdict(list)
    for number, entry in shown.items():
        node = entry.node
        assert node is not None
        below[node.parent if node.parent in shown else None].append(number)
    places: Places = {}
    rows = 0
    todo = [(number, 0, False) for number in reversed(below[None])]
    while todo:  # a chain may be as long as the budget: no recursion
        number, depth, done = todo.pop()
        children = below[number]
        if children and not done:
            todo.append((number, depth, True))
            todo += [(child, depth + 1, False) for child in reversed(children)]
            continue
        if children:
            y = (places[children[0]][1] + places[children[-1]][1]) / 2
        else:
            y, rows = _MARGIN + _ROW * rows, rows + 1
        places[number] = (_MARGIN + _COLUMN * depth, y)
    return places


def _edge(places: Places, number: int, entry: Entry) -> str:
    assert entry.node is not None
    if entry.node.parent not in places:
        return ""
    (x0, y0), (x1, y1) = places[entry.node.parent], places[number]
    middle = (x0 + x1) / 2
    return (
        f'<path class="edge" d="M{x0:g} {y0:g}C{middle:g} {y0:g} {middle:g} {y1:g} {x1:g} {y1:g}"/>'
    )


def _mark(place: tuple[float, float], entry: Entry, best: bool) -> str:
    x, y = place
    failure = str(entry.outcome.get("failure", ""))
    kind = entry.kind if entry.kind in ("root", "generate", "improve", "fix") else "other"
    words = f"{entry.score:.3f}" if entry.number and not failure else failure
    classes = f"node {kind}{' best' if best else ''}{' failed' if failure else ''}"
    words = words if failure in ("", "bug", "cut", "no-code") else "failed"
    return (
        f'<a href="#call-{entry.number}" class="{classes}"><circle cx="{x:g}" cy="{y:g}" r="{_RADIUS}"/>'
        f'<text class="number" x="{x:g}" y="{y + 4:g}">{entry.number}</text>'
        f'<text class="score" x="{x + _RADIUS + 5:g}" y="{y + 4:g}">{words}</text></a>'
    )
