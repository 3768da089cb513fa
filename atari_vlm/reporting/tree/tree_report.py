"""The page of a run folder that holds a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.errors import check_positive
from atari_vlm.files import atomic_write
from atari_vlm.reporting.tree.tree_data import read_entries, shortened
from atari_vlm.reporting.tree.tree_page import Facts, render_tree
from atari_vlm.runs.command_line import recorded_line
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.run_folder import read_config
from atari_vlm.settings import flat

_CHIEF = ("method", "preset", "scorer", "budget", "seed", "parallel")


def holds_search(config: Mapping[str, Any]) -> bool:
    """Whether a run's config.yaml is that of a search."""
    return isinstance(config["settings"].get("search"), dict)


def write_tree(run: str | Path, out: str | Path | None = None, max_mb: float = 24.0) -> Path:
    """Write the page of a search to ``out`` (default ``tree.html`` in its folder); returns its path.

    Long texts of a long search are cut so that the page has about ``max_mb`` megabytes at most; it says so where it does.
    The run may still be going on. Raises ``ConfigError`` when ``run`` is no run folder and ``RunError`` when its journal is
    damaged.
    """
    check_positive(max_mb=max_mb)
    folder = Path(run)
    config = read_config(folder)
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        entries = read_entries(journal)
    title = folder.resolve().name
    facts, line = _facts(config), recorded_line(config)
    page = render_tree(title, facts, line, shortened(entries, int(max_mb * 1e6)))
    target = Path(out) if out is not None else folder / "tree.html"
    atomic_write(target, page)
    return target


def _facts(config: Mapping[str, Any]) -> Facts:
    """What a search was made with, the chief things first."""
    searched = flat(config["settings"].get("search") or {})
    others = {**config["settings"], "search": {}, "atari-vlm": config.get("atari_vlm", "unknown")}
    first = {"env": others.pop("env", None), "writer": others.pop("endpoint", None)}
    values = {
        **first,
        **{name: searched.pop(name, None) for name in _CHIEF},
        **searched,
        **flat(others),
    }
    return [
        (name.replace("_", " "), str(value))
        for name, value in values.items()
        if value not in (None, "", [], {})
    ]
