"""Families of world models: one row of strings each, and the only place that spells one.

A package of your own adds a row by :func:`register_family`, or by an entry point of the group ``atari_vlm.families`` whose object
is a :class:`Family`. Nothing here loads a model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from atari_vlm._lazy import load
from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError
from atari_vlm.plugins import installed, twin
from atari_vlm.registration import register_dreams

ENTRY_POINTS = "atari_vlm.families"


@dataclass(frozen=True)
class Family:
    """What belongs to one kind of world model; every part but ``kind`` and ``model`` may be absent.

    ``kind`` stands in checkpoints, run folders and on the command line (``dream KIND``); ``gym_suffix`` makes the dreamed ids
    (``"-REM"``: ``AtariVLM/Pong-REM-v5``). The parts are ``"module:attribute"``:

    - ``model``: ``(Checkpoint, **options) -> WorldModel``
    - ``policy``: ``(Checkpoint, device) -> Policy``
    - ``settings``: ``(preset, GameFacts) -> frozen dataclass``, for each name in ``presets``, the default first
    - ``learner``: ``(settings, GameFacts, Workplace) -> Learner``

    - ``shipped``: ``(game, **options) -> WorldModel``, one that comes with the package; dreams without a checkpoint are in it
    - ``words``: ``(words of a command line) -> Experiment``: further words that ``dream KIND`` takes

    ``extra`` is the extra of this package that brings what the parts need.
    """

    kind: str
    model: str
    gym_suffix: str | None = None
    policy: str | None = None
    settings: str | None = None
    learner: str | None = None
    presets: tuple[str, ...] = ()
    extra: str | None = None
    words: str | None = None
    shipped: str | None = None


_OURS = (
    Family("catch", "atari_vlm.world_models.catch:load"),
    Family("cue", "atari_vlm.world_models.cue:load"),
    Family("solo-pong", "atari_vlm.world_models.toy_pong:load"),
    Family(
        kind="rem",
        model="atari_vlm.world_models.rem.model:load",
        gym_suffix="-REM",
        policy="atari_vlm.world_models.rem.model:load_policy",
        settings="atari_vlm.world_models.rem.settings:preset",
        learner="atari_vlm.world_models.rem.learner:make_learner",
        presets=("rem", "rem-plus", "tiny"),
        extra="train",
    ),
    Family(
        kind="dreamer",
        model="atari_vlm.world_models.dreamer.model:load",
        gym_suffix="-Dreamer",
        policy="atari_vlm.world_models.dreamer.model:load_policy",
        settings="atari_vlm.world_models.dreamer.settings:preset",
        learner="atari_vlm.world_models.dreamer.learner:make_learner",
        presets=(
            "12m",
            "tiny",
            "1m",
            "25m",
            "50m",
            "100m",
            "200m",
            "400m",
            "xs",
            "s",
            "m",
            "l",
            "xl",
        ),
        extra="train",
    ),
    Family(
        kind="llm-dreamer-v3",
        model="atari_vlm.world_models.dreamer.model:load",
        policy="atari_vlm.world_models.dreamer.model:load_policy",
        settings="atari_vlm.world_models.dreamer.llm:preset",
        learner="atari_vlm.world_models.dreamer.learner:make_learner",
        presets=("default", "tiny", "source"),
        extra="train",
        words="atari_vlm.world_models.dreamer.experiment:experiment_of",
    ),
    Family(
        kind="code",
        model="atari_vlm.world_models.code.model:load",
        gym_suffix="-Code",
        shipped="atari_vlm.world_models.code.shipped:golden",
    ),
)
_FAMILIES: dict[str, tuple[Family, str]] = {}  # by kind, with the package that brought it


def register_family(family: Family, package: str = "this program") -> None:
    """Add a family, and its dreamed gym ids. Raises ``ConfigError`` where another package has the kind already."""
    known, owner = _FAMILIES.get(family.kind, (family, package))
    if known != family:
        raise twin("family of world models", family.kind, owner, package)
    _FAMILIES[family.kind] = (family, owner)
    if family.gym_suffix is not None:
        register_dreams(family.gym_suffix, family.kind)


def family(kind: object) -> Family:
    """The family of a kind; ``UnknownNameError`` for none."""
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise UnknownNameError("kind of world model", kind, _FAMILIES)
    return _FAMILIES[kind][0]


def families() -> tuple[Family, ...]:
    """Every family, ours first."""
    return tuple(row for row, _ in _FAMILIES.values())


def with_part(part: str) -> tuple[str, ...]:
    """Kinds of the families that have a part: ``"learner"``, ``"policy"`` ..."""
    return tuple(row.kind for row in families() if getattr(row, part) is not None)


def load_part(kind: object, part: str) -> Callable[..., Any]:
    """What a family's entry point names. Raises ``UnknownNameError`` for a kind that does not exist,
    ``NotSupportedError`` for a part that the family lacks, or whose module, and no other, is absent.
    """
    row = family(kind)
    entry_point = getattr(row, part)
    if entry_point is None:
        able = ", ".join(with_part(part)) or "none"
        raise NotSupportedError(f"the family {row.kind!r} has no {part}; families with one: {able}")
    module = entry_point.split(":")[0]
    try:
        loaded: Callable[..., Any] = load(entry_point)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise NotSupportedError(
            f"world models of the kind {row.kind!r} cannot be run: there is no module {error.name}"
        ) from error
    return loaded


def register_families() -> None:
    """Register our families and those of installed packages; one that is broken is warned of and left out."""
    for row in _OURS:
        register_family(row, "atari_vlm")
    for entry_point, package in installed(ENTRY_POINTS):
        try:
            register_family(_checked(entry_point.load(), entry_point.value), package)
        except Exception as error:  # whatever a foreign package may come up with at import
            warnings.warn(
                f"the world models of {package} are left out: {type(error).__name__}: {error}",
                stacklevel=2,
            )


def _checked(row: Any, source: str) -> Family:
    if not isinstance(row, Family):
        raise ConfigError(f"the entry point {source} is a Family, got {type(row).__name__}")
    return row


def kinds_in(settings: Any) -> Iterator[str]:
    """The kinds whose settings a run's ``settings`` hold: one for a run that trained a world model, else none."""
    return (
        row.kind
        for row in families()
        if isinstance(settings, dict) and isinstance(settings.get(row.kind), dict)
    )
