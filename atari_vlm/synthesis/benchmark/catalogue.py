"""Which environments there are, under which names, and what a writer is told of each.

The benchmark of arXiv 2405.15383 has 18 environments of Gymnasium. Some of its ids are gone: Gymnasium 1.4 makes neither
CliffWalking-v0 nor Taxi-v3, and MuJoCo 3 no Pusher-v4. All of MuJoCo's are version 5 here. Old ids are still understood; what is
made instead, and what differs from it, stands in :meth:`BenchmarkEnv.record`, which belongs beside every number.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TimeLimit

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, UnknownNameError, reading
from atari_vlm.games import game
from atari_vlm.objects.in_words import table_in_words
from atari_vlm.objects.tables import TABLES
from atari_vlm.registration import object_game_id
from atari_vlm.synthesis.benchmark.manual_game import ManualGame

MANUAL_GAME, MANUAL_STEPS = "rtfm", 40
_SAME_SIZE = "version 5 has states of the same size, other rewards or models in part"
_OTHER_SIZE = "version 5 has states of {} numbers, version 4 of {}: no number is comparable"
_WELL = "; the reward for being well is not given for a fall any more"
_PAPER_IDS = {  # the paper's id -> what is made here, and what differs
    "Acrobot-v1": ("Acrobot-v1", ""),
    "Ant-v4": ("Ant-v5", _OTHER_SIZE.format(105, 27)),
    "Blackjack-v1": ("Blackjack-v1", ""),
    "CartPole-v1": ("CartPole-v1", ""),
    "CliffWalking-v0": ("CliffWalking-v1", "the same rules under another number"),
    "HalfCheetah-v4": ("HalfCheetah-v5", "the same rules under another number"),
    "Hopper-v4": ("Hopper-v5", _SAME_SIZE + _WELL),
    "Humanoid-v4": ("Humanoid-v5", _OTHER_SIZE.format(348, 376)),
    "HumanoidStandup-v4": ("HumanoidStandup-v5", _OTHER_SIZE.format(348, 376)),
    "InvertedDoublePendulum-v4": ("InvertedDoublePendulum-v5", _OTHER_SIZE.format(9, 11)),
    "InvertedPendulum-v4": ("InvertedPendulum-v5", _SAME_SIZE + _WELL),
    "MountainCar-v0": ("MountainCar-v0", ""),
    "Pendulum-v1": ("Pendulum-v1", ""),
    "Pusher-v4": ("Pusher-v5", _SAME_SIZE + "; the reward is of the state after the step"),
    "Reacher-v4": ("Reacher-v5", _OTHER_SIZE.format(10, 11)),
    "Swimmer-v4": ("Swimmer-v5", "the same rules under another number"),
    "Taxi-v3": ("Taxi-v4", "the same rules under another number"),
    "Walker2d-v4": ("Walker2d-v5", _SAME_SIZE + _WELL),
}
_PAPER_ID = {made: paper for paper, (made, _) in _PAPER_IDS.items()}


@dataclass(frozen=True)
class BenchmarkEnv:
    """An environment by name: ``env_id`` is what is made, ``asked`` what was asked for, ``paper_id`` the paper's name of it.

    ``paper_id`` is ``None`` for an environment that is not of the benchmark. ``note`` says what differs from the paper's.
    """

    env_id: str
    asked: str
    paper_id: str | None = None
    note: str = ""

    def make(self, **options: Any) -> gymnasium.Env[Any, Any]:
        """The environment with its step limit. Raises ``MissingDependencyError`` where it needs MuJoCo and that is not there."""
        if self.env_id == MANUAL_GAME:
            return TimeLimit(ManualGame(**options), MANUAL_STEPS)
        if "mujoco" in str(_spec(self.env_id).entry_point):
            require("mujoco", "mujoco")
        return gymnasium.make(self.env_id, **options)

    @property
    def max_episode_steps(self) -> int | None:
        """The step limit of an episode; ``None`` where there is none."""
        return MANUAL_STEPS if self.env_id == MANUAL_GAME else _spec(self.env_id).max_episode_steps

    @property
    def description(self) -> str:
        """What a writer is told: the rules in words where we have them, else the spaces."""
        name = self.env_id.split("-")[0]
        file = resources.files("atari_vlm") / "data" / "environments" / f"{name}.md"
        if self.paper_id is not None or self.env_id == MANUAL_GAME:
            return file.read_text(encoding="utf-8")
        env = self.make()
        if object_game_id(self.env_id) is not None:
            return _object_game_in_words(env)
        spaces = f"**State**: {env.observation_space}\n\n**Actions**: {env.action_space}\n"
        env.close()
        return f"# {self.env_id}\n\n{spaces}"

    @property
    def planner(self) -> str:
        """The planner of the paper: ``"mcts"`` for numbered actions, else ``"cem"``."""
        env = self.make()
        discrete = isinstance(env.action_space, Discrete)
        env.close()
        return "mcts" if discrete else "cem"

    def record(self) -> dict[str, str | None]:
        """What belongs beside a number of this environment: the three names, and what differs from the paper's."""
        return {
            "env_id": self.env_id,
            "asked": self.asked,
            "paper_id": self.paper_id,
            "note": self.note,
        }


def benchmark_ids() -> tuple[str, ...]:
    """The 18 ids as they are made here, by plain string order, then ``rtfm``: the list in which an index counts."""
    return (*sorted(_PAPER_ID), MANUAL_GAME)


def find_env(name: str | int) -> BenchmarkEnv:
    """The environment of a name: one of the benchmark's ids, old or new, ``rtfm``, any other id of Gymnasium, or an index.

    A game's name (``Pong``, ``Pong-v5``) is the game as a table of its objects.

    Of ``package:Name-v0`` the package is imported, so such a name is never taken from a file.

    Raises ``UnknownNameError`` for a name that nobody knows, ``ConfigError`` for an index outside the list.
    """
    if isinstance(name, int):
        return find_env(_by_index(name))
    if name == MANUAL_GAME:
        return BenchmarkEnv(MANUAL_GAME, name)
    if (objects := object_game_id(name)) is not None:
        return BenchmarkEnv(objects, name)
    paper_id = name if name in _PAPER_IDS else _PAPER_ID.get(name)
    if paper_id is None:
        return BenchmarkEnv(_spec(name).id, name)
    env_id, note = _PAPER_IDS[paper_id]
    if env_id not in registry:  # an older Gymnasium
        env_id, note = paper_id, ""
    return BenchmarkEnv(env_id, name, paper_id, note)


def env_of_buffer(name: str) -> BenchmarkEnv | None:
    """The benchmark's environment of a name that stands in a file; ``None`` for any other, since a name can import code."""
    known = name == MANUAL_GAME or name in _PAPER_IDS or name in _PAPER_ID or object_game_id(name)
    return find_env(name) if known else None


def _object_game_in_words(env: gymnasium.Env[Any, Any]) -> str:
    with contextlib.closing(env):
        meanings = env.get_wrapper_attr("get_action_meanings")()
        return table_in_words(env.get_wrapper_attr("game"), meanings)


def _by_index(index: int) -> str:
    ids = benchmark_ids()
    if isinstance(index, bool) or not 0 <= index < len(ids):
        raise ConfigError(f"an index of an environment is from 0 to {len(ids) - 1}, got {index!r}")
    return ids[index]


def _spec(name: str) -> EnvSpec:
    """What is registered under a name; of ``package:Name-v0`` once the package is imported, which registers it."""
    package, colon, own = name.rpartition(":")
    if colon:
        with reading(f"the package {package!r} of {name!r}", ConfigError):
            importlib.import_module(package)
    try:
        return gymnasium.spec(own)
    except (gymnasium.error.Error, ImportError, ValueError):
        known = dict.fromkeys((*benchmark_ids(), *_PAPER_IDS))
        unread = _game_without_objects(own)
        if unread is not None:
            raise UnknownNameError("game with objects", unread, TABLES) from None
        raise UnknownNameError("environment", name, known) from None


def _game_without_objects(name: str) -> str | None:
    """The game of Atari that a name means, if its memory is not read; ``None`` for any other name."""
    try:
        meant = game(name.replace("-Objects-v5", "-v5")).name
    except UnknownNameError:
        return None
    return None if meant in TABLES else meant
