"""What a proof ends with: its page, what was measured beside it, and an exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.conditions import hardware
from atari_vlm.files import atomic_write
from atari_vlm.scores.statistics import aggregate


def shown(out: Path, name: str, page: str, measured: object, passed: bool) -> int:
    """Write ``out/name.md`` and ``out/name.json`` and print the page; 0 when all goals were reached, else 3."""
    atomic_write(out / f"{name}.md", page)
    atomic_write(out / f"{name}.json", json.dumps(measured, indent=1) + "\n")
    print(page)
    return 0 if passed else 3


def interval(values: np.ndarray, digits: int) -> str:
    """The 95 % interval of a mean over values ``(N,)`` in brackets, empty below three."""
    if len(values) < 3:
        return ""
    estimate = aggregate(values[:, None], "mean")
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def conditions() -> dict[str, str]:
    """What a seed was measured on: the machine's line, and the commit of the checkout, with ``+`` where files of it differ."""
    here = Path(__file__).parent
    words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git
        found = ""
    return {"hardware": hardware(), **({"commit": found} if found else {})}


def measured_on(rows: Sequence[dict[str, Any]]) -> str:
    """The machine and the commit of all rows, or each with its seeds where there were several.

    A row that does not name its machine is of this one.
    """
    seeds: dict[str, list[str]] = {}
    for row in rows:
        commit = f"Commit {row['commit']}. " if "commit" in row else ""
        where = commit + (row.get("hardware") or hardware())
        seeds.setdefault(where, []).append(str(row["seed"]))
    if len(seeds) == 1:
        return next(iter(seeds))
    return "\n\n".join(f"Seed {', '.join(of)}: {where}" for where, of in seeds.items())
