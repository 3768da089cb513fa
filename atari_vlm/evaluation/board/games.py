"""Which games a board plays for a bundle's sake: those that no module of somebody's own and no file of somebody's is needed for.

Nothing is imported and no file is opened because a bundle names it, and numbers that would make an environment huge are refused.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import gymnasium
from ale_py import roms

from atari_vlm.agents.specs import split_outside
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.board.bundle import Refused
from atari_vlm.files import sha256_of
from atari_vlm.registration import is_dream
from atari_vlm.runs.game_names import CATCH, GameSpec, is_atari, module_of

_OUR_ENTRY_POINTS = ("gymnasium.envs.", "ale_py.", "atari_vlm.env:", "atari_vlm.env.")
_PLAIN_WORD = re.compile(r"[\w-]{0,64}")
_MOST_OF = {"frame_skip": 60, "resize_shape": 1024, "frame_stack": 32}
_MOST_NUMBER = 100_000
_VERSION = re.compile(r"v\d+$")


def facts_of(game: GameSpec) -> dict[str, Any]:
    """Which game this machine plays by a name: ``env_id``, ``version`` and, of a game of ALE, its ROM's SHA-256."""
    if is_atari(game.name):
        return {
            "env_id": f"AtariVLM/{game.name}-v5",
            "version": "v5",
            "rom_sha256": _rom_sha256(game.name),
        }
    version = _VERSION.search(game.name)
    return {"env_id": game.name, "version": version[0] if version else None, "rom_sha256": None}


def check_modules(games: Sequence[str], trusted: Collection[str]) -> None:
    """Raise :class:`Refused` for a game of a module that is not trusted, before it is looked up: to import is to run."""
    for word in games:
        pieces = split_outside(word)
        for place, piece in enumerate(pieces):
            module = module_of(piece) if place == 0 or "=" not in piece else ""
            if module and not _is_trusted(module, trusted):
                raise Refused(
                    f"{piece!r:.80} is of the module {module!r:.40}, and no module is imported for a bundle's sake; if you "
                    "trust it: --trust-module"
                )


def check_game(game: GameSpec, trusted: Collection[str]) -> None:
    """Raise :class:`Refused` for a game that needs a file of somebody's, or that an unknown package plays."""
    check_keywords(game.options)
    if is_atari(game.name) or game.name == CATCH:
        return
    if is_dream(game.name) or "checkpoint" in game.options:
        raise Refused(
            f"{game.name} is dreamed by a model that is not in the bundle: no board can play it again"
        )
    own, _, bare = game.name.rpartition(":")
    made_by = gymnasium.registry[bare].entry_point
    where = made_by if isinstance(made_by, str) else f"{getattr(made_by, '__module__', '')}:"
    module = where.partition(":")[0]
    if not where.startswith(_OUR_ENTRY_POINTS) and module != own and module not in trusted:
        raise Refused(f"{game.name} is of no package that a board plays games of")


def _is_trusted(module: str, trusted: Collection[str]) -> bool:
    """Whether nothing new is run when it is imported, or somebody said that it may be."""
    return module in trusted or module in sys.modules


def check_keywords(keywords: Mapping[str, Any]) -> None:
    """Plain values alone: no paths, no windows, nothing huge."""
    for name, value in keywords.items():
        values = value if isinstance(value, list) else [value]
        most = _MOST_OF.get(name, _MOST_NUMBER)
        sound = len(values) <= 16 and all(_is_plain(item, most) for item in values)
        if not sound or (name == "render_mode" and value not in (None, "rgb_array")):
            raise Refused(
                f"an environment with {name}={value!r:.60} is not made for a bundle's sake"
            )


def _is_plain(value: Any, most: float) -> bool:
    if isinstance(value, str):
        return _PLAIN_WORD.fullmatch(value) is not None
    return value is None or (isinstance(value, (int, float)) and abs(value) <= most)


@functools.cache
def _rom_sha256(game: str) -> str:
    rom: str = gymnasium.spec(f"ALE/{game}-v5").kwargs["game"]
    path = roms.get_rom_path(rom)
    if path is None:
        raise ConfigError(f"the ROM of {game} is not on this machine")
    return sha256_of(path)
