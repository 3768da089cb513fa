"""What a reply with plans means: ``{"reasoning", "plans": [{"actions": [names]}, ...]}`` read, checked and repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atari_vlm.agents.action_words import resolve, shown, unwrapped
from atari_vlm.agents.json_values import json_objects
from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.types import Reply


@dataclass(frozen=True)
class Plans:
    """The plans of a reply as action indices, each up to its first illegal entry, and what is wrong with them.

    ``problems`` is empty if and only if there are as many plans as asked for, each of exactly the asked length and legal
    throughout; its sentences can be shown to the model.
    """

    plans: tuple[tuple[int, ...], ...]
    reasoning: str = ""
    problems: tuple[str, ...] = ()


def plans_of(reply: Reply, names: Sequence[str], num_plans: int, horizon: int) -> Plans:
    """:func:`parse_plans` of a reply: a refused one holds no plans, and what is known about an empty one is said."""
    if reply.finish_reason in ("refusal", "filter"):
        return Plans((), "", ("the request was refused",))
    plans = parse_plans(reply.text, names, num_plans, horizon)
    if reply.note and not plans.plans:
        return Plans((), plans.reasoning, (*plans.problems, reply.note))
    return plans


def parse_plans(text: str, names: Sequence[str], num_plans: int, horizon: int) -> Plans:
    """Read the last JSON object with ``plans`` in ``text``: lists of names or indices, bare or under ``actions``.

    Never raises, whatever the text.
    """
    objects = list(json_objects(split_thinking(text)[1], "plans"))
    if not objects:
        return Plans((), "", ('the reply holds no JSON object with "plans"',))
    listed, reasoning = objects[-1]["plans"], objects[-1].get("reasoning")
    if not isinstance(listed, list):
        return Plans((), "", ('"plans" is not a list',))
    problems: list[str] = []
    plans = [
        _plan(number, entry, names, horizon, problems)
        for number, entry in enumerate(listed, start=1)
    ]
    if len(plans) != num_plans:
        problems.insert(0, f"{num_plans} plans were asked for, not {len(plans)}")
    return Plans(tuple(plans), reasoning if isinstance(reasoning, str) else "", tuple(problems))


def _plan(
    number: int, entry: object, names: Sequence[str], horizon: int, problems: list[str]
) -> tuple[int, ...]:
    """One plan's legal beginning; what is wrong is added to ``problems``."""
    listed = entry.get("actions") if isinstance(entry, dict) else entry
    if not isinstance(listed, list):
        problems.append(f"plan {number} has no list of actions")
        return ()
    actions: list[int] = []
    for value in listed:
        action = resolve(unwrapped(value), names)
        if action is None:
            problems.append(f"plan {number}: {shown(value)} is not one of the legal actions")
            return tuple(actions)
        actions.append(action)
    if len(actions) != horizon:
        problems.append(f"plan {number} has {len(actions)} actions, not {horizon}")
    return tuple(actions)


def repair_plans(
    plans: Plans, num_plans: int, horizon: int, *, fill: int = 0
) -> tuple[tuple[int, ...], ...]:
    """What can be used of ``plans``: at most ``num_plans`` different ones of exactly ``horizon`` actions.

    A longer plan is cut, a shorter one is continued with ``fill`` (NOOP), an empty one is dropped. No plan is invented: the
    result may hold fewer than ``num_plans``, or none.
    """
    whole = [(plan + (fill,) * horizon)[:horizon] for plan in plans.plans if plan]
    return tuple(dict.fromkeys(whole))[:num_plans]
