"""What a study's agents see, beside what they score: the rows of ``perceive``, from a stranger's file within limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, reading
from atari_vlm.files import read_real
from atari_vlm.plain_json import plain_json

FILE = "perception.json"
_MOST_BYTES = 1 << 24
_MOST_ROWS = 5_000
_MOST_CONDITIONS = 50
_LONGEST = 400  # characters of a name or a condition


@dataclass(frozen=True)
class Perceived:
    """Rows under the columns of ``perception.csv``, and what they rest on."""

    rows: tuple[Mapping[str, Any], ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)


def perceived(folder: Path) -> Perceived:
    """What the ``perception.json`` of a folder holds; nothing where there is none, ``ConfigError`` where it is another file."""
    path = folder / FILE
    if not path.is_symlink() and not path.exists():
        return Perceived()
    with reading(path, ConfigError):
        content = plain_json(read_real(path, _MOST_BYTES))
        rows, conditions = content["rows"], content["conditions"]
        if not isinstance(rows, list) or len(rows) > _MOST_ROWS:
            raise ValueError(f"it holds no list of at most {_MOST_ROWS:,} rows")
        if not isinstance(conditions, dict) or len(conditions) > _MOST_CONDITIONS:
            raise ValueError(f"it holds no mapping of at most {_MOST_CONDITIONS} conditions")
        words = {_text("condition", name): _text(name, v) for name, v in conditions.items()}
        return Perceived(tuple(_row(row) for row in rows), words)


def _row(row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise ValueError("a row is no mapping")
    return {name: read(name, row.get(name)) for name, read in _COLUMNS.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"{name[:40]!r} is no text of at most {_LONGEST} characters")
    return value


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError(f"{name} is no count: {str(value)[:40]!r}")
    return value


def _share(name: str, value: Any) -> float | None:
    found = _amount(name, value)
    if found is not None and found > 1:
        raise ValueError(f"{name} is no share from 0 to 1: {found:g}")
    return found


def _amount(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e12:
        raise ValueError(f"{name} is no number of at least 0: {str(value)[:40]!r}")
    return float(value)


_COLUMNS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("agent", "model", "game"), _text),
    "questions": _count,
    **dict.fromkeys(("f1", "field_accuracy", "direction_accuracy", "direction_chance"), _share),
    **dict.fromkeys(("flip_rate", "decoy_echo"), _share),
    "failed": _count,
    "cost_usd": _amount,
}


def beside_scores(
    rows: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Each row with the score (an item of results.json's ``games``) of its agent on its game; by game, as the study has them."""
    by_part = {(score["game"], score["agent"]): score for score in scores}
    order = {part: place for place, part in enumerate(by_part)}
    found = [(row, by_part.get((row["game"], row["agent"]))) for row in rows]
    return sorted(found, key=lambda one: order.get((one[0]["game"], one[0]["agent"]), len(order)))
