"""What a proof ends with: its page, what was measured beside it, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

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
