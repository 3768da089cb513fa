"""Dollars per call from a dated table. An unknown price is ``None``, never 0.

The table is ``data/prices.json``; the environment variable ``ATARI_VLM_PRICES`` names a file of the same form whose rows come
after it and so win.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.types import Usage


@dataclass(frozen=True)
class Price:
    """One row: dollars per million tokens, valid for prompts longer than ``above`` tokens between two dates."""

    model: str
    input: float
    output: float
    cached: float | None = None
    above: int = 0
    valid_from: str = "0000-00-00"
    valid_until: str = "9999-99-99"
    source: str = ""


def _rows(text: str) -> list[Price]:
    try:
        return [
            Price(
                model=row["model"],
                input=float(row["input"]),
                output=float(row["output"]),
                cached=row.get("cached"),
                above=row.get("above", 0),
                valid_from=row.get("from", "0000-00-00"),
                valid_until=row.get("until", "9999-99-99"),
                source=row.get("source", ""),
            )
            for row in json.loads(text)["prices"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"not a price table ({error!r}); see atari_vlm/data/prices.json for the form"
        ) from error


@functools.cache
def _table(override: str | None) -> tuple[Price, ...]:
    shipped = resources.files("atari_vlm").joinpath("data/prices.json").read_text(encoding="utf-8")
    extra = _rows(Path(override).read_text(encoding="utf-8")) if override else []
    return (*_rows(shipped), *extra)


def price_of(model: str, *, input_tokens: int = 0, day: str | None = None) -> Price | None:
    """The row for a model id on a day (ISO date, default today), or ``None``.

    A dated snapshot (``gpt-4o-2024-11-20``) has its family's price: a table id matches when the rest of the resolved id is a
    date; nothing else is guessed.
    """
    day = day or datetime.date.today().isoformat()
    prices = [
        row
        for row in _table(os.environ.get("ATARI_VLM_PRICES"))
        if _same_model(model, row.model)
        and row.valid_from <= day <= row.valid_until
        and input_tokens >= row.above
    ]
    return prices[-1] if prices else None


def _same_model(model: str, row_model: str) -> bool:
    rest = model.removeprefix(row_model)
    return model == row_model or (
        rest != model and rest.startswith("-") and rest.replace("-", "").isdigit()
    )


def cost_usd(model: str, usage: Usage, *, day: str | None = None) -> float | None:
    """Dollars for one call; ``None`` when the price or the token counts are unknown. Cached input is billed as such."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    price = price_of(model, input_tokens=usage.input_tokens, day=day)
    if price is None:
        return None
    cached = usage.cached_tokens or 0
    cached_price = price.input if price.cached is None else price.cached
    dollars = (
        (usage.input_tokens - cached) * price.input
        + cached * cached_price
        + usage.output_tokens * price.output
    )
    return dollars / 1e6
