"""What a VLM is told: the constant instructions of a prompt style, and the whole prompt of one step.

The texts are data: ``data/prompts/<style>.md``. The first line of a file is ``version: N``; sections in brackets follow, each
a ``string.Template``. What never changes within an episode stands first and the facts of the step stand last, so that
vendors and local backends can keep the prefix in their cache.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Literal, get_args

from atari_vlm import games
from atari_vlm.description import Facts, list_actions, read_actions
from atari_vlm.errors import UnknownNameError, check_positive

PromptStyle = Literal["basic", "cot", "expert"]
AnswerForm = Literal["text", "json", "choice", "plans"]

PROMPT_STYLES: tuple[str, ...] = get_args(PromptStyle)
ANSWER_FORMS: tuple[str, ...] = get_args(AnswerForm)


def check_style(style: object) -> None:
    """Raise ``UnknownNameError`` (a ``ValueError``) unless ``style`` is one of ``PROMPT_STYLES``."""
    if style not in PROMPT_STYLES:
        raise UnknownNameError("prompt style", style, PROMPT_STYLES)


def prompt_version(style: str) -> int:
    """The number in the first line of a style's file; it grows with every change of wording."""
    check_style(style)
    return _style_file(style)[0]


@functools.cache
def prompt_hash(style: str) -> str:
    """The first 12 hex digits of the SHA-256 of a style's file: equal hashes, equal wording."""
    check_style(style)
    raw = (resources.files("atari_vlm") / "data" / "prompts" / f"{style}.md").read_bytes()
    return hashlib.sha256(raw).hexdigest()[:12]


def instructions(
    style: str,
    game_name: str,
    action_names: Sequence[str],
    *,
    answer: str = "text",
    num_plans: int = 3,
    plan_horizon: int = 5,
) -> str:
    """The constant prefix: role, goal, controls in plain words, for ``expert`` the game's strategy, how to answer.

    ``answer`` says what the reply must look like: ``text`` ends in the line ``ACTION: <NAME>``; ``json`` is an object with
    ``reasoning`` and ``action``; ``choice`` is the bare action name; ``plans`` is an object with ``reasoning`` and
    ``num_plans`` ``plans`` of ``plan_horizon`` actions each. A name outside the known games (somebody's own game) gets the
    general text. Raises ``UnknownNameError`` for another style or answer, ``ConfigError`` for an empty list of actions.
    """
    check_style(style)
    if answer not in ANSWER_FORMS:
        raise UnknownNameError("answer form", answer, ANSWER_FORMS)
    check_positive(num_plans=num_plans, plan_horizon=plan_horizon)
    action_list = list_actions(action_names, games.game_or_generic(game_name).controls)
    return _instructions(style, game_name, action_list, answer, (num_plans, plan_horizon))


def render_prompt(style: str, text: str, action_list: str) -> str:
    """The whole prompt of one step, made from ``obs["text"]`` and ``obs["action_space"]`` alone.

    The instructions (answer form ``text``) come first, then the facts ``text`` as it stands. Raises ``ConfigError`` if
    ``text`` is not the text of :class:`~atari_vlm.description.Facts` or ``action_list`` not a numbered list of actions.
    """
    check_style(style)
    constant = _instructions(style, Facts.from_text(text).game, action_list, "text")
    return f"{constant}\n\n{_fill(style, 'now', {'text': text})}"


@functools.lru_cache(maxsize=256)
def _instructions(
    style: str, game_name: str, action_list: str, answer: str, plans: tuple[int, int] = (0, 0)
) -> str:
    """The constant prefix around an action list; ``plans`` is the number of plans and their length."""
    game = games.game_or_generic(game_name)
    blanks = {
        "game": game.title,
        "goal": game.goal,
        "actions": action_list,
        "strategy": game.strategy or games.generic_game().strategy,
        "num_plans": plans[0],
        "plan_horizon": plans[1],
        "example": read_actions(action_list)[-1],
    }
    return _fill(
        style, "instructions", {**blanks, "answer": _fill(style, f"answer {answer}", blanks)}
    )


def _fill(style: str, section: str, blanks: Mapping[str, object]) -> str:
    return _style_file(style)[1][section].substitute(blanks)


@functools.cache
def _style_file(style: str) -> tuple[int, Mapping[str, Template]]:
    """The version and the sections of ``data/prompts/<style>.md``; a section starts with its name in brackets on a line."""
    raw = (resources.files("atari_vlm") / "data" / "prompts" / f"{style}.md").read_text(
        encoding="utf-8"
    )
    first, *sections = raw.split("\n[")
    parts = (section.partition("]\n") for section in sections)
    return int(first.removeprefix("version:")), {
        name: Template(body.strip("\n")) for name, _, body in parts
    }
