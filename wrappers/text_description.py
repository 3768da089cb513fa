"""The facts of a step and the list of actions, as text."""

from __future__ import annotations

import dataclasses
import string
from typing import Any

import gymnasium
from gymnasium.spaces import Dict

from atari_vlm import games
from atari_vlm.actions import as_index
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import ConfigError
from atari_vlm.spaces import MAX_ACTION_LIST, MAX_TEXT, PrintableText
from atari_vlm.wrappers.atari_objects import describe_objects, read_objects, table_of
from atari_vlm.wrappers.views import action_names, as_dict, dict_spaces, game_name, picture_space

_LONGEST_NAME = 100
_LONGEST_OBJECTS = 4096


class TextDescription(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Add ``obs["text"]``, the lines of ``description.Facts``, and ``obs["action_space"]``, the numbered list of action names.

    A plain picture becomes a dictionary with it under ``image``. Actions without names of their own are called ``A0``, ``A1``.

    Args:
        env: an environment with a picture and Discrete actions.
        game_name: the name in the facts; taken from the environment if not given.
        objects: add where the objects are, read from the console's memory, in games that have a table. That is more than
            the picture's viewer is given, so ``metadata["privileged"]`` becomes true.

    Raises ``ConfigError`` for an observation without picture, actions that cannot be listed, a name that is not one line of
    printable ASCII, and ``objects`` without an emulator; ``UnknownNameError`` for ``objects`` of a game that has no reader.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], game_name: str | None = None, objects: bool = False
    ):
        gymnasium.utils.RecordConstructorArgs.__init__(self, game_name=game_name, objects=objects)
        super().__init__(env)
        picture_space(env.observation_space, "TextDescription")
        self._names = action_names(env, "TextDescription")
        self._start = Facts(_checked_name(game_name, env))
        for name in self._names:
            dataclasses.replace(self._start, last_action=name)
        self._action_list = list_actions(
            self._names, games.game_or_generic(self._start.game).controls
        )
        self._objects = table_of(env, self._start.game) if objects else None
        if objects:
            self.metadata = {**env.metadata, "privileged": True}
        text = PrintableText(MAX_TEXT + (_LONGEST_OBJECTS if objects else 0))
        actions = PrintableText(max(MAX_ACTION_LIST, len(self._action_list)))
        self.observation_space = Dict(
            {**dict_spaces(env.observation_space), "text": text, "action_space": actions},
        )
        self._facts = self._start

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode: step 0, no last action."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._facts = self._start
        return self._describe(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Play an action; the facts count steps and add up rewards."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._facts = Facts(
            self._start.game,
            self._facts.step + 1,
            self._names[as_index(action)],
            float(reward),
            self._facts.episode_return + float(reward),
        )
        return self._describe(observation), reward, terminated, truncated, info

    def _describe(self, observation: Any) -> dict[str, Any]:
        text = self._facts.to_text()
        if self._objects:
            objects = read_objects(self.env, self._objects).objects
            text = f"{text}\n{describe_objects(objects)}"
        return {**as_dict(observation), "text": text, "action_space": self._action_list}


def _checked_name(name: str | None, env: gymnasium.Env[Any, Any]) -> str:
    checked = game_name(env) if name is None else name
    if (
        not isinstance(checked, str)
        or not set(checked) <= set(string.printable)
        or not 0 < len(checked) <= _LONGEST_NAME
    ):
        raise ConfigError(
            f"game_name must be 1 to {_LONGEST_NAME} characters of printable ASCII, got {checked!r}"
        )
    return checked
