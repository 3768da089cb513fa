"""Every gym id of the package, as strings: registering imports nothing."""

from __future__ import annotations

import gymnasium

from atari_vlm.games import game_names

NAMESPACE = "AtariVLM"


def register_all() -> None:
    """Register ``AtariVLM/<Game>-v5`` and its prompt styles for every game; a second call changes nothing."""
    for name in game_names():
        for suffix, prompt_type in (("", None), ("-basic", "basic"), ("-cot", "cot"), ("-expert", "expert")):
            env_id = f"{NAMESPACE}/{name}{suffix}-v5"
            if env_id not in gymnasium.registry:
                gymnasium.register(
                    id=env_id,
                    entry_point="atari_vlm.env:AtariVLMEnvironment",
                    kwargs={"game_name": f"{name}-v5"} | ({"prompt_type": prompt_type} if prompt_type else {}),
                )
