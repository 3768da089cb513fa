"""Every gym id of the package, as strings: registering imports nothing."""

from __future__ import annotations

import gymnasium

from atari_vlm.errors import UnknownNameError
from atari_vlm.games import game_names
from atari_vlm.objects.tables import TABLES

NAMESPACE = "AtariVLM"
MAX_EPISODE_STEPS = 10_000
_DREAM = "atari_vlm.wrappers.dreamed_game:for_gymnasium"
_DREAMS_AT_ONCE = "atari_vlm.wrappers.dreamed_vector:DreamedVectorEnv"
_OBJECTS = "atari_vlm.wrappers.object_table:for_gymnasium"
_CONTROL = "atari_vlm.env.control_suite:ControlSuite"
_CONTROL_TASKS = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse"),
    "cheetah": ("run",),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("swim", "upright"),
    "hopper": ("hop", "stand"),
    "humanoid": ("run", "stand", "walk"),
    "manipulator": ("bring_ball",),
    "pendulum": ("swingup",),
    "point_mass": ("easy",),
    "reacher": ("easy", "hard"),
    "swimmer": ("swimmer15", "swimmer6"),
    "walker": ("run", "stand", "walk"),
}  # the suite's benchmark
_PROMPT_SUFFIXES = {"-basic": "basic", "-cot": "cot", "-expert": "expert"}


def register_all() -> None:
    """Register ``AtariVLM/<Game>-v5`` and its prompt styles for every game; a second call changes nothing.

    The plain ids have a vectorised fast path (:mod:`atari_vlm.env.vector`). The prompt styles have none, as it shows no text:
    ``make_vec`` makes a synchronous vector of them.
    """
    for name in game_names():
        _register(
            f"{name}-v5", {"game_name": f"{name}-v5"}, "atari_vlm.env.vector:AtariVLMVectorEnv"
        )
        for suffix, prompt_type in _PROMPT_SUFFIXES.items():
            _register(
                f"{name}{suffix}-v5", {"game_name": f"{name}-v5", "prompt_type": prompt_type}, None
            )


def register_dreams(suffix: str, kind: str) -> None:
    """Register ``AtariVLM/<Game><suffix>-v5`` for every game: dreams of a kind of world model, which need ``checkpoint=PATH``."""
    for name in game_names():
        _register(
            f"{name}{suffix}-v5", {"game_name": f"{name}-v5", "kind": kind}, _DREAMS_AT_ONCE, _DREAM
        )


def register_object_games() -> None:
    """Register ``AtariVLM/<Game>-Objects-v5``, the game as a table of its objects, for every game whose memory is read."""
    for name in TABLES:
        _register(f"{name}-Objects-v5", {"game_name": name}, None, _OBJECTS)


def object_game_id(name: str) -> str | None:
    """The id of a game as a table of its objects, named as ``Pong``, ``Pong-v5`` or by that id; ``None`` for any other name."""
    ids = {game: f"{NAMESPACE}/{game}-Objects-v5" for game in TABLES}
    known = {**{f"{game}-v5": full for game, full in ids.items()}, **ids}
    return known.get(name, name if name in ids.values() else None)


def register_control_suite() -> None:
    """Register ``DMC/<domain>-<task>-v0`` for every task of the control suite, which need the extra ``dmc``."""
    for domain, task in _control_tasks():
        env_id = _control_id(domain, task)
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, _CONTROL, kwargs={"domain": domain, "task": task})


def control_id(name: str) -> str:
    """The id of a task named as ``cartpole_swingup_sparse``, or by that id; ``UnknownNameError`` for any other."""
    known = {f"{domain}_{task}": _control_id(domain, task) for domain, task in _control_tasks()}
    if name not in known and name not in known.values():
        raise UnknownNameError("task of the control suite", name, known)
    return known.get(name, name)


def _control_tasks() -> list[tuple[str, str]]:
    return [(domain, task) for domain, tasks in _CONTROL_TASKS.items() for task in tasks]


def _control_id(domain: str, task: str) -> str:
    return f"DMC/{domain}-{task}-v0"


def is_dream(env_id: str) -> bool:
    """Whether an id is of a dreamed game."""
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    return spec is not None and spec.entry_point == _DREAM


def _register(
    name: str,
    kwargs: dict[str, str],
    vector_entry_point: str | None,
    entry_point: str = "atari_vlm.env:for_gymnasium",
) -> None:
    env_id = f"{NAMESPACE}/{name}"
    if env_id not in gymnasium.registry:
        gymnasium.register(
            id=env_id,
            entry_point=entry_point,
            vector_entry_point=vector_entry_point,
            max_episode_steps=MAX_EPISODE_STEPS,
            kwargs=kwargs,
        )
