"""Every gym id of the package, as strings: registering imports nothing."""

from __future__ import annotations

import gymnasium

from atari_vlm.games import game_names

NAMESPACE = "AtariVLM"
MAX_EPISODE_STEPS = 10_000
_DREAM = "atari_vlm.wrappers.dreamed_game:for_gymnasium"
_DREAMS_AT_ONCE = "atari_vlm.wrappers.dreamed_vector:DreamedVectorEnv"
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
