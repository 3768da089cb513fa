"""What it took to make a model, as far as its checkpoint or the run around it says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.errors import AtariVLMError
from atari_vlm.files import read_real

_MOST_BYTES = 64 << 20
_FILE, _SECONDS = "metrics.jsonl", "epoch/cpu_seconds"


@dataclass(frozen=True)
class Costs:
    """Dollars paid for replies, and seconds of a processor; ``None`` where nobody noted them."""

    usd: float | None = None
    cpu_seconds: float | None = None


def costs_of(folder: Path, provenance: Mapping[str, Any]) -> Costs:
    """Of a checkpoint: what its provenance says, else the seconds of the epochs in the metrics of its run."""
    seconds = _number(provenance.get("cpu_seconds"))
    if seconds is None:
        last = _number(provenance.get("epoch"))
        runs = folder.resolve().parents[:2]  # RUN/model, RUN/checkpoints/epoch-000100
        found = (_of_run(run / _FILE, last) for run in runs)
        seconds = next((one for one in found if one is not None), None)
    return Costs(_number(provenance.get("cost_usd")), seconds)


def _of_run(file: Path, last: float | None) -> float | None:
    """The sum over the epochs up to ``last``; ``None`` where the file says nothing of them."""
    try:
        text = read_real(file, _MOST_BYTES).decode(errors="replace")
    except (OSError, AtariVLMError):
        return None
    total: list[float] = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict):
            continue
        seconds, epoch = _number(entry.get(_SECONDS)), _number(entry.get("epoch"))
        if seconds is not None and (last is None or epoch is None or epoch <= last):
            total.append(seconds)
    return sum(total) if total else None


def _number(value: Any) -> float | None:
    """A number of at least 0 as such; what a stranger's file holds may be anything."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and value >= 0 else None
