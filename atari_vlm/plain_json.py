"""JSON of a stranger's as plain data: no name twice in one object, no NaN or infinity, nothing that the standard lacks."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def plain_json(raw: bytes | str) -> Any:
    """The value of a JSON text; ``ValueError`` or ``RecursionError`` for what is none (``errors.reading``)."""
    return json.loads(
        raw, object_pairs_hook=_without_twins, parse_constant=_no_number, parse_float=_finite
    )


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)
