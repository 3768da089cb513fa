"""Plain data becomes options in one way: types as annotated, unknown names refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.settings import flat, from_plain, is_same, with_changes


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (0, "")
    rate: float = 1.0


@dataclass(frozen=True)
class Outer:
    count: int
    mode: Literal["a", "b"] = "a"
    path: Path | None = None
    either: Literal["all"] | int = "all"
    names: list[str] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)
    anything: Any = None


def test_values_are_taken_as_annotated():
    given = {
        "count": 3,
        "mode": "b",
        "path": "x/y",
        "either": 4,
        "names": ("p",),
        "inner": {"sizes": [5], "rate": 2},
    }
    assert from_plain(Outer, {"count": 1, "anything": {"a": [1]}}).anything == {"a": [1]}
    made = from_plain(Outer, given)
    assert made == Outer(3, "b", Path("x/y"), 4, ["p"], Inner((5,), (0, ""), 2.0))
    assert from_plain(Outer, {"count": 1, "path": None, "either": "all"}) == Outer(1)
    assert from_plain(Inner, {"rate": "1e-4"}).rate == 1e-4  # as YAML reads it
    assert with_changes(made, {"inner": {"pair": [1, "z"]}}).inner == Inner((5,), (1, "z"), 2.0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"count": True},
        {"count": "3"},
        {"count": 1.0},
        {"count": None},
        {"count": 1, "mode": "c"},
        {"count": 1, "path": 5},
        {"count": 1, "either": "some"},
        {"count": 1, "names": "abc"},
        {"count": 1, "inner": {"sizes": ["a"]}},
        {"count": 1, "inner": {"pair": [1]}},
        {"count": 1, "inner": 4},
        {"count": 1, "inner": {"rate": "fast"}},
        [1],
    ],
)
def test_other_values_are_refused(given):
    with pytest.raises(ConfigError):
        from_plain(Outer, given)


def test_an_unknown_name_is_offered_the_nearest():
    with pytest.raises(UnknownNameError, match=r"settings.inner.*did you mean sizes"):
        from_plain(Outer, {"count": 1, "inner": {"sises": [1]}})


def test_compared_and_flattened():
    assert (
        is_same((32, 16), [32, 16])
        and is_same({"a": Path("x")}, {"a": "x"})
        and not is_same([1], [2])
    )
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
