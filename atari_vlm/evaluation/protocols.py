"""Suites and protocols: which games are played and under which conditions, as named and versioned data files.

A *protocol* is everything that decides what a score means; numbers of two protocols are never put side by side. A *suite* is
a list of games with the protocol that they are played under unless another is named.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from atari_vlm.errors import UnknownNameError
from atari_vlm.games import game_names
from atari_vlm.runs.game_names import is_atari
from atari_vlm.settings import from_plain, plain

_FOLDERS = {"suite": "suites", "protocol": "protocols"}
_AS_THE_ENVIRONMENT = {  # what AtariVLMEnvironment does when it is told nothing
    "frame_skip": 4,
    "repeat_action_probability": 0.25,
    "full_action_space": False,
    "resize_shape": [224, 224],
    "max_episode_steps": 10_000,
}
_NO_CONDITIONS = ("name", "title", "source", "seeds", "episodes", "agent")


@dataclass(frozen=True)
class Protocol:
    """The conditions of a study.

    ``frame_skip``, ``repeat_action_probability``, ``full_action_space``, ``resize_shape`` are the environment's, and
    ``games`` holds what is otherwise for single games. Episodes begin with ``noops`` (least, most) no-ops that are no steps,
    and are cut after ``max_steps`` (``None``: the environment's own 10,000). ``through_game_overs``: a game over ends no
    episode. Every agent plays NOOP for the first ``opening_noops`` steps, decides at every ``act_every``-th step after them,
    and plays NOOP in between. ``agent`` is how agents that ask a model do so, ``seeds`` and ``episodes`` how much is played,
    unless the study says otherwise. ``references`` names the scores that human-normalised numbers are made with.
    Games that are none of ALE's are played as they are: only the limits and the pace hold for them.
    """

    name: str
    version: int
    frame_skip: int = 4
    repeat_action_probability: float = 0.25
    full_action_space: bool = False
    resize_shape: tuple[int, int] = (224, 224)
    noops: tuple[int, int] | None = None
    max_steps: int | None = None
    through_game_overs: bool = False
    opening_noops: int = 0
    act_every: int = 1
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    episodes: int = 1
    agent: Mapping[str, Any] = field(default_factory=dict)
    games: Mapping[str, Any] = field(default_factory=dict)
    references: Literal["atari57"] | None = "atari57"
    title: str = ""
    source: str = ""

    def environment(self, game: str) -> dict[str, Any]:
        """What :func:`~atari_vlm.runs.environments.make_env` needs for a game, but for its name."""
        settings: dict[str, Any] = {"env": self._keywords(game), "latency": None}
        if is_atari(game) and self.noops is not None:
            settings["noops"] = list(self.noops)
        if self.through_game_overs:
            settings["through_game_overs"] = True
        return settings

    def _keywords(self, game: str) -> dict[str, Any]:
        """The environment's keywords, where they are not its defaults."""
        if not is_atari(game):
            return {}
        own = {name: getattr(self, name) for name in _AS_THE_ENVIRONMENT if hasattr(self, name)}
        own["max_episode_steps"] = max(10_000, self.max_steps or 0)
        keywords = plain({**own, **self.games.get(game, {})})
        return {k: v for k, v in keywords.items() if v != _AS_THE_ENVIRONMENT[k]}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for results: the name, the version and all conditions."""
        values: dict[str, Any] = plain(self)
        return {name: value for name, value in values.items() if name not in ("title", "source")}


@dataclass(frozen=True)
class Suite:
    """Games by name, and the protocol that they are played under unless another is named."""

    name: str
    version: int
    games: tuple[str, ...]
    protocol: str
    why: str = ""


def conditions_of_protocol(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What two protocols (as plain data) must agree in for their numbers to be put side by side."""
    return {name: value for name, value in protocol.items() if name not in _NO_CONDITIONS}


def names(kind: Literal["suite", "protocol"]) -> tuple[str, ...]:
    """The suites or protocols that there are."""
    folder = resources.files("atari_vlm") / "data" / _FOLDERS[kind]
    return tuple(sorted(file.name.removesuffix(".json") for file in folder.iterdir()))


@functools.cache
def suite(name: str) -> Suite:
    """A suite by name; ``UnknownNameError`` with the nearest names."""
    content = _content("suite", name)
    games = game_names() if content["games"] == "all" else content["games"]
    return from_plain(Suite, {**content, "games": tuple(games), "name": name}, f"suite {name}")


@functools.cache
def protocol(name: str) -> Protocol:
    """A protocol by name; ``UnknownNameError`` with the nearest names."""
    return from_plain(Protocol, {**_content("protocol", name), "name": name}, f"protocol {name}")


def changed(base: Protocol, changes: Mapping[str, Any]) -> Protocol:
    """``base`` with some conditions otherwise; its name then says which."""
    real = {
        name: value for name, value in changes.items() if plain(value) != plain(getattr(base, name))
    }
    words = [f"{name}={_word(value)}" for name, value in real.items()]
    return dataclasses.replace(base, **real, name=", ".join([base.name, *words]))


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}:{_word(item)}" for name, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _content(kind: Literal["suite", "protocol"], name: str) -> dict[str, Any]:
    if name not in names(kind):
        raise UnknownNameError(kind, name, names(kind))
    file = resources.files("atari_vlm") / "data" / _FOLDERS[kind] / f"{name}.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
