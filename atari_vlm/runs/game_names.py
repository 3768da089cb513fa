"""The games that runs play: ALE's, the toys Catch and SoloPong, any gymnasium id (dreams, and ``module:Id`` of one's own).

A word is ``NAME[,KEYWORD=VALUE...]``: keywords go to the environment, as in ``AtariVLM/Pong-REM-v5,checkpoint=FOLDER``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from atari_vlm import games
from atari_vlm.agents.specs import read_options, split_outside
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.own_classes import from_here, imported

CATCH, SOLO_PONG = "Catch", "SoloPong"
TOYS = (CATCH, SOLO_PONG)


@dataclass(frozen=True)
class GameSpec:
    """A game: ``name`` is what it is called in every table, ``options`` the keywords of its environment."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The word that :func:`parse_games` reads as this."""
        return ",".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])


def recorded_game(word: str) -> GameSpec:
    """A game from the :attr:`GameSpec.text` that a run's settings hold: nothing is looked up, and no module is imported."""
    name, *options = split_outside(word) or [""]
    if not name or not name.isprintable():
        raise ConfigError(f"{word!r:.80} is no game")
    return GameSpec(name, read_options(options, f"game {name}"))


def game_name(name: str) -> str:
    """The name under which a game is known everywhere: ``Pong`` for every spelling of it, else the id as it is.

    Raises ``UnknownNameError`` with the nearest names for what is no game. The module of ``module:Id`` is imported.
    """
    if not isinstance(name, str):
        raise ConfigError(f"a game is a name, got {name!r}")
    for toy in TOYS:
        if name.strip().casefold().replace("-", "") == toy.casefold():
            return toy
    try:
        return games.game(name).name
    except UnknownNameError as error:
        if is_registered(name):
            return name.strip()
        module = module_of(name)
        known = [f"{module}:{env_id}" if module else env_id for env_id in gymnasium.registry]
        raise UnknownNameError("game", error.name, [*games.game_names(), *TOYS, *known]) from None


def is_atari(name: str) -> bool:
    """Whether a name of :func:`game_name` is one of ALE's games."""
    return name in games.game_names()


def is_registered(env_id: str) -> bool:
    """Whether gymnasium knows an id, after its module was imported."""
    module, _, bare = env_id.strip().rpartition(":")
    if module:
        imported(module, "game")
    return bare in gymnasium.registry


def module_of(env_id: str) -> str:
    """The module that an id is found in: ``my_games`` of ``my_games:MyGame-v0``; empty where none is named."""
    return env_id.rpartition(":")[0]


def make_registered(env_id: str, options: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """The environment of an id as it is; ``ConfigError`` in one sentence when it cannot be made."""
    try:
        with from_here():
            return gymnasium.make(env_id, disable_env_checker=True, **options)
    except gymnasium.error.UnregisteredEnv as error:
        raise UnknownNameError(
            "game", env_id, [*games.game_names(), *gymnasium.registry]
        ) from error
    except ConfigError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"the game {env_id} cannot be made: {reason}") from error


def parse_games(words: str | Sequence[str]) -> list[GameSpec]:
    """The games that some words mean, each once, in order; ``ConfigError`` for one that is given twice with other keywords."""
    found: dict[str, GameSpec] = {}
    for spec in _specs([words] if isinstance(words, str) else words):
        if found.setdefault(spec.name, spec) != spec:
            raise ConfigError(f"the game {spec.name} is given twice with different keywords")
    return list(found.values())


def _specs(words: Sequence[str]) -> Iterator[GameSpec]:
    for word in words:
        group: list[str] = []
        for piece in split_outside(word) if isinstance(word, str) else [word]:
            if group and "=" not in piece:
                yield _spec(group)
                group = []
            group.append(piece)
        if group:
            yield _spec(group)


def _spec(pieces: Sequence[str]) -> GameSpec:
    name = game_name(pieces[0])
    options = read_options(pieces[1:], f"game {name}")
    return GameSpec(name, options)
