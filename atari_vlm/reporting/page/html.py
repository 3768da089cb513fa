"""One self-contained HTML file: every episode of a run with its pictures, prompts, replies, decisions and rewards.

The page loads nothing: its content-security policy allows no source but its own inline style and script (by hash) and pictures
inside the file, and forbids turning text into markup. What models and files say travels as JSON in which ``<``, ``>`` and
``&`` are escaped, and reaches the page as text. Equal journals give equal pages but for one line, the clocks.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from atari_vlm.errors import check_positive
from atari_vlm.reporting.page.run_data import Pool, Replay, collect_episode, plain, summary
from atari_vlm.runs.journal import EpisodeRow, Journal

_SCRIPTS = ("report_dom.js", "report_charts.js", "report_panels.js", "report.js")
_SMALLEST_SHARE = (
    1_000_000  # bytes; with less than this an episode is not worth showing step by step
)
_CLOCKS = re.compile(
    r'^(<script type="application/json" id="clocks">).*?(</script>)$', re.MULTILINE
)


@dataclass(frozen=True)
class RunFacts:
    """What stands around the episodes: the run's name, a line below it, its conditions, and the command that repeats it.

    ``conditions`` are always shown, ``settings`` (everything else) on request.
    """

    title: str
    subtitle: str = ""
    conditions: Sequence[tuple[str, str]] = ()
    settings: Sequence[tuple[str, str]] = ()
    command: str = ""
    notices: Sequence[str] = ()


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever strings it holds."""
    raw = json.dumps(plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return raw.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def render_page(title: str, data: Mapping[str, Any], clocks: Mapping[str, Any]) -> str:
    """Fill the template; ``data`` and ``clocks`` are what ``report.js`` reads."""
    folder = resources.files("atari_vlm.reporting.page")
    style = (folder / "report.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    template = string.Template((folder / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        policy=policy,
        title=html.escape(title),
        style=style,
        script=script,
        data=script_json(data),
        clocks=script_json(clocks),
    )


def without_clocks(page: str) -> str:
    """The page with its one line of clocks emptied: equal for runs that decided and received the same."""
    return _CLOCKS.sub(r"\1\2", page)


def report_page(journal: Journal, facts: RunFacts, replay: Replay, max_mb: float = 24.0) -> str:
    """The report of a journal, at most about ``max_mb`` megabytes; what was left out is said on the page."""
    check_positive(max_mb=max_mb)
    rows = journal.episodes()
    pool = Pool(journal)
    budget = max_mb * 1e6 - len(render_page("", {}, {}))
    selected = _worth_showing(rows, max(1, int(budget / _SMALLEST_SHARE)))
    pages, clocks, strides, problems = {}, {}, {}, []
    spent = 0
    for i, row in enumerate(selected):
        before = pool.size
        episode = collect_episode(pool, row, replay, (budget - spent) / (len(selected) - i))
        pages[row.episode], clocks[str(row.episode)] = episode.page, episode.clocks
        strides[row.episode] = episode.stride
        if episode.page["detail"]["frame_note"]:
            problems.append(episode.page["detail"]["frame_note"])
        spent += (
            pool.size - before + len(json.dumps(episode.page)) + len(json.dumps(episode.clocks))
        )
    labels = journal.meta().get("labels", {})  # what an evaluation's episodes belong to
    reason = "This episode is shown as a summary only, to keep the file small; the journal holds every step."
    data = {
        "run": {
            "title": facts.title,
            "subtitle": facts.subtitle,
            "conditions": facts.conditions,
            "settings": facts.settings,
            "command": facts.command,
            "notices": [*facts.notices, *problems, *_left_out(rows, strides, max_mb)],
            "tiles": [*([] if labels else _returns(rows)), *_totals(journal, rows)],
        },
        "episodes": [
            {
                **(pages.get(row.episode) or summary(row, reason)),
                "label": labels.get(str(row.episode), ""),
            }
            for row in rows
        ],
        "texts": pool.texts,
        "cut": pool.cut,
        "images": pool.images,
        "messages": pool.messages,
    }
    return render_page(f"{facts.title}: run report", data, {"episodes": clocks})


def _hash(inline: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()


def _worth_showing(rows: list[EpisodeRow], count: int) -> list[EpisodeRow]:
    """Up to ``count`` episodes in order: the best and the worst of each phase, then the newest."""
    done = [row for row in rows if row.episode_return is not None]
    first = []
    for phase in ("eval", "train"):
        ranked = sorted(
            (row for row in done if row.phase == phase), key=lambda row: row.episode_return or 0.0
        )
        first += [*ranked[-1:], *ranked[:1]]
    unique = dict.fromkeys([*first, *reversed(rows)])
    return sorted(list(unique)[:count], key=lambda row: row.episode)


def _left_out(rows: list[EpisodeRow], strides: Mapping[int, int], max_mb: float) -> list[str]:
    notes = []
    if len(strides) < len(rows):
        notes.append(
            f"{len(strides)} of {len(rows)} episodes are shown step by step (the best, the worst and the newest), the others "
            f"as a summary: this file is limited to {max_mb:g} MB."
        )
    thinned = {stride for stride in strides.values() if stride > 1}
    if thinned:
        every = " to ".join(str(stride) for stride in sorted({min(thinned), max(thinned)}))
        names = ", ".join(str(episode) for episode, stride in strides.items() if stride > 1)
        notes.append(
            f"Only one step in {every} keeps its picture and words in episode {names}: this file is limited to {max_mb:g} MB."
        )
    return notes


def _returns(rows: list[EpisodeRow]) -> list[tuple[str, str, str]]:
    tiles = []
    for phase, name in (("eval", "mean return, evaluation"), ("train", "mean return, training")):
        returns = [
            row.episode_return
            for row in rows
            if row.phase == phase and row.episode_return is not None
        ]
        if returns:
            tiles.append((name, f"{sum(returns) / len(returns):.2f}".rstrip("0").rstrip("."), ""))
    return tiles


def _totals(journal: Journal, rows: list[EpisodeRow]) -> list[tuple[str, str, str]]:
    done = [row for row in rows if row.status == "done" and row.length]
    steps = sum(row.length or 0 for row in done)
    rate = sum((row.fallback_rate or 0.0) * (row.length or 0) for row in done) / max(steps, 1)
    calls, tokens, dollars = 0, 0, 0.0
    unknown = False
    for reply in journal.replies(paid=True):
        usage = reply.get("usage") or {}
        calls += 1
        tokens += (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
        unknown |= reply.get("cost_usd", 0.0) is None
        dollars += reply.get("cost_usd") or 0.0
    return [
        ("episodes", f"{len(rows):,}", ""),
        ("steps", f"{steps:,}", ""),
        ("fallback rate", f"{rate:.1%}", "warn" if rate > 0.05 else ""),
        ("calls", f"{calls:,}", ""),
        ("tokens", f"{tokens:,}", ""),
        ("cost", "unknown" if unknown else f"${dollars:.4g}", ""),
    ]
