"""The facts of a step as text, and the list of actions as text; each with its exact inverse.

An environment writes these strings (``obs["text"]``, ``obs["action_space"]``); an agent that needs the numbers reads them
back with the same module. They hold only facts that a world model can supply too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atari_vlm.errors import ConfigError

_FACT_LINE = re.compile(r"^(Game|Step|Last action|Last reward|Return): (.*)$", re.MULTILINE)
_ACTION_LINE = re.compile(r"^(\d+): (\S+)", re.MULTILINE)
_ACTION_NAME = re.compile(r"\S+")


@dataclass(frozen=True)
class Facts:
    """What is true about the current step. ``last_action`` is ``None`` before the first step.

    ``game`` is one line of text and ``last_action`` one word other than ``none``; ``ConfigError`` otherwise.
    """

    game: str
    step: int = 0
    last_action: str | None = None
    last_reward: float = 0.0
    episode_return: float = 0.0

    def __post_init__(self) -> None:
        _check_words(self.game, self.last_action)

    def to_text(self) -> str:
        """Five lines of ``Name: value``. Numbers are the shortest text that reads back as the same float."""
        return (
            f"Game: {self.game}\nStep: {self.step}\nLast action: {self.last_action or 'none'}\n"
            f"Last reward: {_number(self.last_reward)}\nReturn: {_number(self.episode_return)}"
        )

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """Read the lines of :meth:`to_text`, wherever they stand in ``text``; raise ``ConfigError`` if one is missing."""
        facts = dict(_FACT_LINE.findall(text))
        try:
            last_action = facts["Last action"]
            return cls(
                game=facts["Game"],
                step=int(facts["Step"]),
                last_action=None if last_action == "none" else last_action,
                last_reward=float(facts["Last reward"]),
                episode_return=float(facts["Return"]),
            )
        except KeyError as error:
            raise ConfigError(f"the description has no line {error.args[0]!r}: {text!r}") from error


@functools.lru_cache(maxsize=256)
def _check_words(game: str, action: str | None) -> None:
    """Every step brings the same few words, so each is looked at once."""
    if "\n" in game:
        raise ConfigError(f"a game's name is one line of text, got {game!r}")
    if action is not None and (action == "none" or not _ACTION_NAME.fullmatch(action)):
        raise ConfigError(f"an action's name is one word other than 'none', got {action!r}")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def list_actions(names: Sequence[str], plain_words: Mapping[str, str] | None = None) -> str:
    """``0: NOOP (do nothing)``, one line an action; the words in brackets come from ``plain_words`` where it has them.

    A name is one word (no blanks), else ``ConfigError``.
    """
    if wrong := [name for name in names if not _ACTION_NAME.fullmatch(name)]:
        raise ConfigError(f"an action's name is one word without blanks, got {wrong}")
    words = plain_words or {}
    return "\n".join(
        f"{i}: {name}" + (f" ({words[name]})" if name in words else "")
        for i, name in enumerate(names)
    )


def read_actions(action_list: str) -> tuple[str, ...]:
    """The action names of :func:`list_actions`, in index order."""
    numbered = [(int(index), name) for index, name in _ACTION_LINE.findall(action_list)]
    if not numbered or [index for index, _ in numbered] != list(range(len(numbered))):
        raise ConfigError(f"not a numbered list of actions starting at 0: {action_list!r}")
    return tuple(name for _, name in numbered)
