"""A game as a table of its objects: what programs are written about, and what a planner in them looks at."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.wrappers.atari_objects import AtariObjects


class ObjectTable(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """``info["object_table"]`` of :class:`~atari_vlm.wrappers.AtariObjects` is the observation, float32 ``(len(columns),)``.

    The info holds what the game's own does. ``env`` may be wrapped by :class:`~atari_vlm.wrappers.AtariObjects` already.
    :attr:`columns` names the entries. Privileged, as that wrapper is. Raises what it raises.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]):
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env if env.has_wrapper_attr("columns") else AtariObjects(env))
        self.columns: tuple[str, ...] = self.env.get_wrapper_attr("columns")
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (len(self.columns),), np.float32
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        return _told(info)

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Play an action."""
        _, reward, terminated, truncated, info = self.env.step(action)
        table, info = _told(info)
        return table, reward, terminated, truncated, info


def _told(info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """The table, and the info without what it says."""
    kept = {name: value for name, value in info.items() if name not in ("objects", "object_table")}
    return info["object_table"].copy(), kept


def for_gymnasium(
    game_name: str,
    *,
    frame_skip: int = 4,
    repeat_action_probability: float = 0.0,
    full_action_space: bool = False,
    render_mode: str | None = None,
) -> ObjectTable:
    """The entry point of the ids ``AtariVLM/<Game>-Objects-v5``: ale-py's own environment as a table.

    Without sticky actions unless one asks for them, as programs are judged step by step.
    """
    import ale_py

    gymnasium.register_envs(ale_py)
    env = gymnasium.make(
        f"ALE/{game_name}-v5",
        frameskip=frame_skip,
        repeat_action_probability=repeat_action_probability,
        full_action_space=full_action_space,
        render_mode=render_mode,
    ).unwrapped
    return ObjectTable(env)


for_gymnasium.metadata = {  # type: ignore[attr-defined]
    "render_modes": ["human", "rgb_array"],
    "render_fps": 60,
    "privileged": True,
}
