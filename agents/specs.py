"""Who plays, as one word: ``[LABEL=]NAME[,OPTION=VALUE...]``, the same on a command line and in a file.

NAME is what ``--vlm`` takes, a baseline (``random``, ``noop``, ``scripted``), ``PLANNER@MODEL``, or ``module:Class``. Values are
YAML; a comma inside quotes, brackets or braces does not end one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from atari_vlm.agents.make import SIMPLE_NAMES, agent_names
from atari_vlm.errors import ConfigError, UnknownNameError, reading
from atari_vlm.own_classes import is_own
from atari_vlm.settings import check_names
from atari_vlm.vlm.catalogue import family_of
from atari_vlm.vlm.remote.keys import refuse_keys
from atari_vlm.yaml_files import plain_yaml

Kind = Literal["simple", "vlm", "planner", "own"]
PLANNERS = ("plan", "mcts", "cem", "policy")
_IN_FILE = ("label", "agent", "options")
_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "\"'"
_NOT_IN_A_LABEL = "@:/=,"


@dataclass(frozen=True)
class AgentSpec:
    """An agent by name. ``label`` is what it is called in every table, ``options`` are plain data under names with ``_``.

    Raises ``ConfigError`` (or its ``UnknownNameError`` with the nearest names) for what names no agent.
    """

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.label.strip() or not self.label.isprintable():
            raise ConfigError(f"an agent's label is one line of text, got {self.label!r}")
        kind_of(self.name)
        if "api_key" in self.options:
            raise ConfigError(
                f"the agent {self.label!r} holds an API key; name the environment variable that holds it (api_key_env=NAME)"
            )
        refuse_keys(
            {f"an option of the agent {self.label!r}": str(v) for v in self.options.values()}
        )

    @property
    def kind(self) -> Kind:
        """What sort of agent it is."""
        return kind_of(self.name)

    @property
    def planner(self) -> tuple[str, str]:
        """Of ``PLANNER@MODEL`` the two parts."""
        planner, _, model = self.name.partition("@")
        return planner, model

    @property
    def text(self) -> str:
        """The word that :func:`parse_agents` reads as this."""
        head = [] if self.label == self.name else [f"{self.label}="]
        options = [f",{name}={_written(value)}" for name, value in self.options.items()]
        return "".join([*head, self.name, *options])

    def with_options(self, **options: Any) -> AgentSpec:
        """The same agent with other options."""
        return AgentSpec(self.label, self.name, {**self.options, **options})


def kind_of(name: str) -> Kind:
    """What sort of agent a name means; ``UnknownNameError`` for a name that means none."""
    if "@" in name:
        planner, _, model = name.partition("@")
        if planner not in PLANNERS:
            raise UnknownNameError("planner", planner, PLANNERS)
        if not model:
            raise ConfigError(
                f"{name} names no model: give emulator, catch or the folder of a checkpoint, as in {planner}@emulator"
            )
        return "planner"
    if is_own(name):
        return "own"
    if name not in agent_names():
        family = family_of(name)
        hint = f"it is a model of a family: {family},model={name};" if family else ""
        raise UnknownNameError("agent", name, [*agent_names(), "mcts@emulator"], hint)
    return "simple" if name in SIMPLE_NAMES else "vlm"


def parse_agents(
    words: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
) -> list[AgentSpec]:
    """The agents that some words (or mappings ``{label, agent, options}``) mean, in order; a word may hold several.

    Raises ``ConfigError`` where two have one label.
    """
    if isinstance(words, (str, Mapping)):
        words = [words]
    specs = [spec for word in words for spec in _specs(word)]
    labels = [spec.label for spec in specs]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(
                f"two agents are called {label!r}; give each a label of its own (LABEL={label},...)"
            )
    return specs


def _specs(word: str | Mapping[str, Any]) -> Iterator[AgentSpec]:
    if isinstance(word, Mapping):
        yield _from_file(word)
        return
    if not isinstance(word, str):
        raise ConfigError(f"an agent is LABEL=NAME,OPTION=VALUE or a mapping, got {word!r}")
    group: list[str] = []
    for piece in split_outside(word):
        if group and "=" not in piece:  # a name: the next agent begins
            yield _from_pieces(group)
            group = []
        group.append(piece)
    if group:
        yield _from_pieces(group)


def _from_pieces(pieces: Sequence[str]) -> AgentSpec:
    head, *rest = pieces
    label, equals, name = head.partition("=")
    if not equals or set(label) & set(_NOT_IN_A_LABEL):
        label = name = head
    return AgentSpec(label.strip(), name.strip(), read_options(rest, f"agent {label.strip()!r}"))


def read_options(pieces: Sequence[str], what: str) -> dict[str, Any]:
    """``OPTION=VALUE`` pieces as a mapping; ``ConfigError`` in the name of ``what`` for others, and for one given twice."""
    options: dict[str, Any] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ConfigError(f"{what}: options are OPTION=VALUE, got {piece!r}")
        if name in options:
            raise ConfigError(f"{what}: the option {name!r} is given twice")
        with reading(f"{what}, option {name}", ConfigError):
            options[name] = plain_yaml(value)
    return options


def _from_file(entry: Mapping[str, Any]) -> AgentSpec:
    check_names(entry, _IN_FILE, "name of an agent's entry")
    name, options = entry.get("agent"), entry.get("options") or {}
    if not isinstance(name, str):
        raise ConfigError(f"an agent's entry has agent: NAME, got {dict(entry)!r}")
    if not isinstance(options, Mapping):
        raise ConfigError(f"the options of the agent {name!r} are a mapping, got {options!r}")
    named = {str(key).replace("-", "_"): value for key, value in options.items()}
    return AgentSpec(str(entry.get("label") or name), name, named)


def split_outside(word: str, mark: str = ",") -> list[str]:
    """The pieces of a word between commas that stand in no quotes, brackets or braces; empty pieces are left out."""
    pieces, depth, quote = [""], 0, ""
    for character in word:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and pieces[-1][-1:] in ("", "=", " ", *_OPENING, ",", ":"):
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif character == mark and depth == 0:
            pieces.append("")
            continue
        pieces[-1] += character
    return [piece.strip() for piece in pieces if piece.strip()]


def _written(value: Any) -> str:
    """A value as YAML that stands in a word: bare where that reads back as the same text, else as JSON."""
    if isinstance(value, str) and value and not set(value) & set(f"{_OPENING}{_CLOSING}{_QUOTES},"):
        try:
            if plain_yaml(value) == value:
                return value
        except Exception:  # whatever YAML has to say of it, it is quoted then
            pass
    written = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and "e" in written and "." not in written:
        return written.replace(
            "e", ".0e"
        )  # YAML 1.1 takes a number with an exponent for a word unless it has a point
    return written
