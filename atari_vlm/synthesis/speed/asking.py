"""What a language model is asked about one transition, and what its reply foretells. Every transition has its own question."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

import gymnasium
from gymnasium.spaces import Box, Discrete

from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import Sampling

_DIGITS = 9  # of a number in a question: a hundred times finer than what counts as right
_NAMES = ("next_state", "reward", "done")
_MOST_TRIES = 200  # beginnings of JSON in a reply that are looked at, from its end


@dataclass(frozen=True)
class Foretold:
    """What a reply says of a step; ``problem`` says why it says nothing."""

    next_state: Any = None
    reward: float = math.nan
    done: bool | None = None
    problem: str = ""

    @property
    def as_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        if self.problem:
            return {"problem": self.problem}
        return {"next_state": self.next_state, "reward": self.reward, "done": self.done}


def question_about(buffer: TransitionBuffer, row: int, description: str) -> tuple[Message, ...]:
    """The question about one row of a buffer: rules, its own state and action, never what came of it."""
    step = buffer.row(row)
    words = _template("simulate").substitute(
        env=buffer.env_id,
        description=description.strip(),
        state=json.dumps(_rounded(step["state"])),
        action=json.dumps(_rounded(step["action"])),
    )
    system = _template("simulator").template.strip()
    return Message.of("system", system), Message.of("user", words.strip())


def sampling_for(buffer: TransitionBuffer, reply_tokens: int, seed: int) -> Sampling:
    """How is drawn: at temperature 0, with a schema where the states are numbers or arrays of one axis."""
    return Sampling(
        temperature=0.0,
        max_tokens=reply_tokens,
        seed=seed,
        schema=_schema(buffer.observation_space),
    )


def foretold_by(reply: Reply) -> Foretold:
    """What a reply foretells: the last JSON object in it that has the three names."""
    if reply.finish_reason == "length":
        return Foretold(problem="the reply was cut by its limit")
    text = reply.text
    decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
    at = len(text)
    for _ in range(_MOST_TRIES):
        at = text.rfind("{", 0, at)
        if at < 0:
            break
        try:
            found, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if set(_NAMES) <= found.keys():
            return _foretold(found)
    return Foretold(problem="the reply holds no JSON with next_state, reward and done")


def _finite(word: str) -> float:
    """A number that JSON knows: no NaN, nothing infinite."""
    if not math.isfinite(number := float(word)):
        raise ValueError(f"{word} is no number")
    return number


def _foretold(found: dict[str, Any]) -> Foretold:
    reward, done = found["reward"], found["done"]
    if type(reward) not in (int, float) or type(done) is not bool:
        return Foretold(problem="reward is a number, and done true or false")
    try:
        return Foretold(found["next_state"], float(reward), done)
    except OverflowError:
        return Foretold(problem="the reward is no number that can be compared")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return (
        {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value
    )


def _schema(space: gymnasium.Space[Any]) -> dict[str, Any] | None:
    state: dict[str, Any]
    if isinstance(space, Box) and len(space.shape) == 1:
        state = {"type": "array", "items": {"type": "number"}}
    elif isinstance(space, Discrete):
        state = {"type": "integer"}
    else:
        return None
    kinds = {"next_state": state, "reward": {"type": "number"}, "done": {"type": "boolean"}}
    return {
        "type": "object",
        "properties": kinds,
        "required": list(_NAMES),
        "additionalProperties": False,
    }


def _template(name: str) -> Template:
    file = resources.files("atari_vlm.synthesis") / "prompts" / f"{name}.md"
    return Template(file.read_text(encoding="utf-8"))
