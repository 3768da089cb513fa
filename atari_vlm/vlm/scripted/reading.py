"""What a request says: the picture and facts of the moment, the legal names, and the form of answer that is asked for."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.description import Facts, read_actions
from atari_vlm.errors import ConfigError
from atari_vlm.types import Image, Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.scripted.scene import Scene
from atari_vlm.vlm.scripted.sight import Sight

_LIST = re.compile(r"^0: \S.*(?:\n\d+: \S.*)*", re.MULTILINE)
_GAME = re.compile(r"(?:^Game: |\bvideo game )([A-Za-z0-9]+)", re.MULTILINE)
_PLANS = re.compile(r"Propose (\d{1,3}) .{0,80}?exactly (\d{1,3}) actions", re.DOTALL)
_JSON = re.compile(r'\{"reasoning": .{0,80}?"action": ')


@dataclass(frozen=True)
class Form:
    """How to answer: ``text``, ``json``, ``choice``, or ``plans`` (``num_plans`` of ``horizon`` actions each)."""

    kind: str = "text"
    num_plans: int = 0
    horizon: int = 0


@dataclass(frozen=True)
class Request:
    """The latest picture and the one before it, the facts, the legal names (none, if none could be read), the form."""

    images: tuple[Image, ...]
    facts: Facts
    actions: tuple[str, ...]
    form: Form

    def scene(self) -> Scene | None:
        """The request as a player sees it; ``None`` without a picture."""
        if not self.images:
            return None
        now, *before = (Sight(image) for image in reversed(self.images[-2:]))
        return Scene(now, before[0] if before else None, self.facts, self.actions, self.dice())

    def dice(self) -> random.Random:
        """Random numbers that depend on nothing but the latest picture, the step and the names."""
        text = f"{self.facts.step} {self.facts.last_action} {self.actions}"
        seed = zlib.crc32(text.encode("utf-8", "surrogatepass"))
        if self.images:
            seed = zlib.crc32(self.images[-1].pixels[::7, ::5].tobytes(), seed)
        return random.Random(seed)


def read_request(messages: Sequence[Message], sampling: Sampling) -> Request:
    """Read what the last question asks; a question without pictures is about the pictures shown last."""
    asked = [message for message in messages if message.role == "user"]
    question = next(
        (message for message in reversed(asked) if message.images), asked[-1] if asked else None
    )
    texts = [message.text for message in messages if message.role == "system"]
    texts += [question.text] if question else []
    form, names = _constraint(sampling)
    return Request(
        images=question.images if question else (),
        facts=_facts(texts),
        actions=names or _listed_actions(texts),
        form=form or _form_in_words("\n".join(texts)),
    )


def _facts(texts: Sequence[str]) -> Facts:
    for text in reversed(texts):
        try:
            return Facts.from_text(text)
        except (ConfigError, ValueError):
            continue  # not the text with the facts
    named = _GAME.search("\n".join(reversed(texts)))
    return Facts(named[1] if named else "")


def _listed_actions(texts: Sequence[str]) -> tuple[str, ...]:
    for text in reversed(texts):
        for block in _LIST.findall(text):
            try:
                return read_actions(block)
            except ConfigError:
                continue  # a numbered list of something else
    return ()


def _constraint(sampling: Sampling) -> tuple[Form | None, tuple[str, ...]]:
    """The form that the sampling demands and the only names it allows."""
    if sampling.choices:
        return Form("choice"), tuple(sampling.choices)
    properties = (sampling.schema or {}).get("properties", {})
    if "plans" in properties:
        plans = properties["plans"]
        actions = plans.get("items", {}).get("properties", {}).get("actions", {})
        return Form("plans", _length(plans, 3), _length(actions, 5)), _enum(
            actions.get("items", {})
        )
    return (Form("json"), _enum(properties.get("action", {}))) if sampling.schema else (None, ())


def _length(array: Mapping[str, Any], default: int) -> int:
    """How many entries a JSON schema's array shall have."""
    return int(array.get("maxItems", array.get("minItems", default)))


def _enum(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in entry.get("enum", ()))


def _form_in_words(text: str) -> Form:
    plans = _PLANS.search(text)
    if plans and '"plans"' in text:
        return Form("plans", int(plans[1]), int(plans[2]))
    return Form("json" if _JSON.search(text) else "text")
