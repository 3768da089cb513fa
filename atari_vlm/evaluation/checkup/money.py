"""Whether what an endpoint says of tokens and dollars can be true.

Doubted are: an amount that is not the price list's for the tokens counted; no tokens, or numbers that cannot be numbers of
tokens of this question and this reply; a reply of a model that is listed at another price, or not at all, where the model that
was asked for has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atari_vlm.evaluation.checkup.desk import Asked
from atari_vlm.types import Reply
from atari_vlm.vlm.prices import Price, cost_usd, price_of
from atari_vlm.vlm.remote.answers import MISCOUNTED

_TOLERANCE = 0.1  # of an amount: fees and rounding
_WORDS_A_TOKEN = 5  # no tokeniser has fewer tokens than one for so many words
_MOST_OF_A_PICTURE = 20_000  # tokens; five tiles of LLaVA are 2,880
_MORE_THAN_ALLOWED = 2  # times; some servers let thoughts go on beyond the limit
_MOST_AROUND = 20_000  # tokens of what a server may put around a question


@dataclass(frozen=True)
class Doubt:
    """What cannot be true, as a sentence; ``prices`` is the option that mends it, empty where nothing has to be."""

    sentence: str
    prices: str = ""


def doubts(asked: Sequence[Asked], model: str) -> list[Doubt]:
    """What is doubted, each kind once; ``model`` is what was asked for."""
    found: dict[str, Doubt] = {}
    for one in asked:
        for kind, doubt in (
            ("count", _miscounted(one)),
            ("model", _other_model(one.reply, model)),
            ("amount", _other_amount(one.reply, model)),
        ):
            if doubt is not None:
                found.setdefault(kind, doubt)
    return list(found.values())


def _miscounted(one: Asked) -> Doubt | None:
    usage, reply = one.reply.usage, one.reply
    if reply.note.startswith(MISCOUNTED):
        return Doubt(reply.note, "none")
    read, written = usage.input_tokens, usage.output_tokens
    text = " ".join(message.text for message in one.messages)
    pictures = sum(len(message.images) for message in one.messages)
    if read is not None and read < max(1, len(text.split()) / _WORDS_A_TOKEN):
        return Doubt(
            f"{read} tokens are counted for a question of {len(text.split())} words", "none"
        )
    if read is not None and read > len(text) + _MOST_AROUND + _MOST_OF_A_PICTURE * pictures:
        return Doubt(f"{read:,} tokens are counted for a question of {len(text)} letters", "none")
    if written == 0 and reply.text.strip():
        return Doubt(f"0 tokens are counted for a reply of {len(reply.text)} letters", "none")
    said = (written or 0) - (usage.reasoning_tokens or 0)
    if said > _MORE_THAN_ALLOWED * one.tokens and len(reply.text) < one.tokens:
        return Doubt(f"{said:,} tokens are counted for a reply of {one.tokens} at most", "none")
    if (usage.cached_tokens or 0) > (read or 0) or (usage.reasoning_tokens or 0) > (written or 0):
        return Doubt("more tokens are counted as cached, or as thought, than there are", "none")
    return None


def _other_amount(reply: Reply, model: str) -> Doubt | None:
    listed = cost_usd(reply.model, reply.usage)
    listed = cost_usd(model, reply.usage) if listed is None else listed
    if reply.cost_usd is None or listed is None:
        return None
    if abs(reply.cost_usd - listed) <= _TOLERANCE * max(reply.cost_usd, listed) + 1e-7:
        return None
    return Doubt(
        f"a reply costs ${reply.cost_usd:.6g} by the server, ${listed:.6g} by the list", "list"
    )


def _other_model(reply: Reply, model: str) -> Doubt | None:
    asked, served = price_of(model), price_of(reply.model)
    if asked is None or reply.model.rpartition("/")[2].startswith(model):
        return None
    if served is None:
        return Doubt(
            f"{reply.model!r} answers where {model!r} was asked for, and only the latter has a price",
            "none",
        )
    if _rates(served) != _rates(asked):
        return Doubt(
            f"{reply.model!r} answers where {model!r} was asked for, at another price: ${served.input:g} and ${served.output:g} "
            f"per million tokens, not ${asked.input:g} and ${asked.output:g}; it is what costs are reckoned by"
        )
    return None


def _rates(price: Price) -> tuple[float, float]:
    return price.input, price.output
