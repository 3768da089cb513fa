"""Putting a move into the form of answer that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from atari_vlm.vlm.scripted.reading import Request
from atari_vlm.vlm.scripted.scene import Move


def write_answer(move: Move, request: Request) -> str:
    """The reply's text; every action in it is one of the request's legal names."""
    return _WRITERS[request.form.kind](move, request)


def _write_text(move: Move, request: Request) -> str:
    return f"{move.saw}\nACTION: {move.action}"


def _write_json(move: Move, request: Request) -> str:
    return json.dumps({"reasoning": move.saw, "action": move.action}, ensure_ascii=False)


def _write_choice(move: Move, request: Request) -> str:
    return move.action


def _write_plans(move: Move, request: Request) -> str:
    """The chosen action held; the chosen action once, then nothing; then other actions held, drawn without repetition."""
    form, names, dice = request.form, request.actions, request.dice()
    rest = "NOOP" if "NOOP" in names else names[0]
    others = dice.sample(names, len(names))
    plans = [[move.action] * form.horizon, [move.action] + [rest] * (form.horizon - 1)]
    while len(plans) < form.num_plans:
        plans.append([move.action] + [others[len(plans) % len(others)]] * (form.horizon - 1))
    listed = [{"actions": plan[: form.horizon]} for plan in plans[: form.num_plans]]
    return json.dumps({"reasoning": move.saw, "plans": listed}, ensure_ascii=False)


_WRITERS: Mapping[str, Callable[[Move, Request], str]] = {
    "text": _write_text,
    "json": _write_json,
    "choice": _write_choice,
    "plans": _write_plans,
}
