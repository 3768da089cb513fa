"""The page of a study: scores with intervals, profiles, pairs, cost, ablation, and a film strip per game and agent.

No script, nothing loaded; every word that a model, a file or somebody else wrote is escaped. Every step of every episode
stands on the page beside it (``steps.html``), which the strips lead to.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, reading
from atari_vlm.files import atomic_write, read_real
from atari_vlm.reporting.page.replayed import environment_replay
from atari_vlm.reporting.page.run_report import scenes_of, write_report
from atari_vlm.reporting.study import beside, sections
from atari_vlm.reporting.study.markup import text
from atari_vlm.reporting.study.perceived import Perceived, perceived
from atari_vlm.reporting.study.strips import Answers, Film, Strip, answers
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.run_folder import read_config

_MOST_BYTES = 1 << 27

Content = Mapping[str, Any]


def is_study(run: str | Path) -> bool:
    """Whether a run folder is a study's."""
    config = read_config(Path(run))
    return config["settings"].get("program") == "evaluate"


def write_study(run: str | Path, *, max_mb: float = 24.0, trusted: Sequence[str] = ()) -> Path:
    """Write a study's page (``report.html``) and every step of it (``steps.html``); returns the page's path.

    ``trusted`` are modules of games that may be imported for the pictures. Raises ``ConfigError`` when ``run`` holds no tables.
    """
    folder = Path(run)
    settings = dict(read_config(folder)["settings"])
    with reading(folder / "results.json", ConfigError):
        content = json.loads(read_real(folder / "results.json", _MOST_BYTES))
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        film = Film(journal)
        write_report(folder, folder / beside.STEPS, max_mb, trusted, film.around)
        replay = environment_replay(scenes_of(journal, settings, trusted))
        with reading(folder / "results.json", ConfigError):
            shown = Shown(film.strips(replay), answers(journal), perceived(folder))
            page = study_page(folder.resolve().name, content, shown)
    atomic_write(folder / "report.html", page)
    return folder / "report.html"


@dataclass(frozen=True)
class Shown:
    """What a page has besides the tables: strips, how answers were read (by game and agent), and what was seen."""

    films: Sequence[Strip] = ()
    had: Mapping[str, Answers] = field(default_factory=dict)
    seen: Perceived = field(default_factory=Perceived)


def study_page(title: str, content: Content, shown: Shown | None = None) -> str:
    """The whole page, from results.json's content."""
    protocol = content["protocol"]
    head = f"protocol {protocol['name']}, version {protocol['version']}"
    body = [
        f'<header><p class="eyebrow">study</p><h1>{text(title)}</h1>',
        f'<p class="subtitle">{text(head)}</p></header>',
        *_sections(content, shown or Shown()),
    ]
    return whole_page(f"{title}: study", "".join(body))


def whole_page(title: str, body: str) -> str:
    """A page that loads nothing, around a body of HTML."""
    style = (resources.files("atari_vlm.reporting.study") / "study.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{style}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _sections(content: Content, shown: Shown) -> Iterator[str]:
    yield _section("Scores per game", sections.games(content))
    yield _section("Perception", beside.perception(content, shown.seen))
    yield _section("Over games", sections.over_games(content))
    yield _section("Agents on the same seeds", sections.pairs(content))
    yield _section("Ablation", sections.ablation(content))
    yield _section("Cost and answers", sections.costs(content, shown.had))
    yield _section("Episodes", beside.films(shown.films))
    yield _section("Conditions", sections.conditions(content))


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>{inside}</section>" if inside else ""
