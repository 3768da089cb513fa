"""The whole prompt of a step."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Dict, Text

from atari_vlm.errors import ConfigError
from atari_vlm.prompts import check_style, render_prompt
from atari_vlm.spaces import MAX_PROMPT, PrintableText

_LONGEST_INSTRUCTIONS = 8192


class VLMPrompt(gymnasium.ObservationWrapper[Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Add ``obs["prompt"]``: instructions in a style, then the facts. Nothing else is needed to ask a model for an action.

    Args:
        env: an environment whose observation has the texts ``text`` and ``action_space``.
        style: ``basic``, ``cot`` or ``expert``.

    Raises ``UnknownNameError`` for another style, ``ConfigError`` where the texts are missing: ``TextDescription`` adds them.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], style: str = "basic"):
        gymnasium.utils.RecordConstructorArgs.__init__(self, style=style)
        super().__init__(env)
        check_style(style)
        self.style = style
        spaces = (
            dict(env.observation_space.spaces) if isinstance(env.observation_space, Dict) else {}
        )
        text, actions = spaces.get("text"), spaces.get("action_space")
        if not isinstance(text, Text) or not isinstance(actions, Text):
            raise ConfigError(
                "VLMPrompt needs the texts 'text' and 'action_space' in the observation; "
                f"wrap the environment in TextDescription first. It has {env.observation_space}"
            )
        longest = text.max_length + actions.max_length + _LONGEST_INSTRUCTIONS
        self.observation_space = Dict({**spaces, "prompt": PrintableText(max(MAX_PROMPT, longest))})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation with ``prompt``."""
        prompt = render_prompt(self.style, observation["text"], observation["action_space"])
        return {**observation, "prompt": prompt}
