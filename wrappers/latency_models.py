"""How long replies take: models that draw seconds from a seeded generator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive


class LatencyModel(Protocol):
    """Draws one latency in seconds, finite and not below 0."""

    def draw(self, rng: np.random.Generator) -> float:
        """Seconds for one reply."""
        ...


def checked_seconds(value: Any, name: str = "latency") -> float:
    """``value`` as a float; ``ConfigError`` unless it is a finite number of seconds, not below 0."""
    number = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(
        value, bool
    )
    if not number or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} must be a finite number of seconds, not below 0; got {value!r}")
    return float(value)


@dataclass(frozen=True)
class Constant:
    """Every reply takes the same time."""

    seconds: float

    def __post_init__(self) -> None:
        checked_seconds(self.seconds)

    def draw(self, rng: np.random.Generator) -> float:
        """The constant; draws nothing."""
        return float(self.seconds)


@dataclass(frozen=True)
class Lognormal:
    """The logarithm is normal around ``log(median_s)`` with standard deviation ``sigma``: many quick replies, a long tail."""

    median_s: float
    sigma: float

    def __post_init__(self) -> None:
        check_positive(median_s=self.median_s)
        checked_seconds(self.median_s, "median_s")
        checked_seconds(self.sigma, "sigma")

    def draw(self, rng: np.random.Generator) -> float:
        """One latency."""
        return float(self.median_s * math.exp(self.sigma * rng.standard_normal()))


@dataclass(frozen=True)
class Uniform:
    """Any time from ``low_s`` to ``high_s`` is equally likely."""

    low_s: float
    high_s: float

    def __post_init__(self) -> None:
        if checked_seconds(self.low_s, "low_s") > checked_seconds(self.high_s, "high_s"):
            raise ConfigError(f"low_s must not be above high_s, got {self.low_s} and {self.high_s}")

    def draw(self, rng: np.random.Generator) -> float:
        """One latency."""
        return float(rng.uniform(self.low_s, self.high_s))


@dataclass(frozen=True)
class Empirical:
    """One of the ``seconds`` that were measured before, each equally likely."""

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.seconds, (list, tuple)) or not self.seconds:
            raise ConfigError(
                f"seconds must be a list of at least one latency, got {self.seconds!r}"
            )
        for value in self.seconds:
            checked_seconds(value, "seconds")

    def draw(self, rng: np.random.Generator) -> float:
        """One latency."""
        return float(self.seconds[int(rng.integers(len(self.seconds)))])


KINDS: dict[str, type[Constant] | type[Lognormal] | type[Uniform] | type[Empirical]] = {
    "constant": Constant,
    "lognormal": Lognormal,
    "uniform": Uniform,
    "empirical": Empirical,
}


def latency_model(latency: Any) -> LatencyModel:
    """The model that a number of seconds or a dictionary ``{"kind": ..., <its fields>}`` describes.

    Raises ``UnknownNameError`` for another kind and ``ConfigError`` for fields that it does not take.
    """
    if not isinstance(latency, Mapping):
        return Constant(
            checked_seconds(
                latency, "latency (if neither 'measured' nor a dictionary with a 'kind')"
            )
        )
    kind = latency.get("kind")
    if kind not in KINDS:
        raise UnknownNameError("kind of latency", kind, KINDS)
    wanted = [field.name for field in dataclasses.fields(KINDS[kind])]
    given = {key: value for key, value in latency.items() if key != "kind"}
    if sorted(given) != sorted(wanted):
        raise ConfigError(
            f"a latency of kind {kind!r} takes {', '.join(wanted)}; got {', '.join(map(str, given))}"
        )
    return KINDS[kind](**given)
