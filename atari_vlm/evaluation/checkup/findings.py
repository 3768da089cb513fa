"""What a check found: as JSON, and as lines to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PROBLEMS = {
    "no-pictures": "it reads no pictures",
    "one-picture": "it reads one picture of several",
    "no-schema": "it does not keep to a JSON schema",
    "thinking-only": "it thinks and does not answer",
    "wrong-prices": "what it says of tokens or dollars, or of the model that answers, cannot be priced right",
}


@dataclass
class Findings:
    """What was found.

    ``pictures``: how many pictures of one question were read, each of them, in their order. ``choices``: a list of choices is
    kept to, or the VLM scores them. ``scores``: how it scores given answers: ``in process``, or by a server's
    ``prompt_logprobs`` or ``systemone``; empty if not, or not asked. ``thinking``: thoughts come with a reply's text, or
    instead of it. ``usage``: every reply counts its tokens. ``price_known``: every reply has a price. ``latency_s``: the
    median. ``problems``: words of :data:`PROBLEMS`. ``options``: what an agent needs to work with this endpoint. ``works``:
    with these a game's question was answered with a legal action at the first try. ``notes``: sentences on what was not as
    it should be.
    """

    pictures: int = 0
    picture_read: bool = False
    schema: bool = False
    choices: bool = False
    scores: str = ""
    thinking: bool = False
    usage: bool = False
    price_known: bool = False
    latency_s: float | None = None
    problems: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    works: bool = False
    model: str = ""
    model_served: str = ""
    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    notes: list[str] = field(default_factory=list)

    def problem(self, word: str, **options: Any) -> None:
        """Name a problem once, and what helps against it."""
        if word not in self.problems:
            self.problems.append(word)
            self.problems.sort(key=list(PROBLEMS).index)
        self.options |= options

    def note(self, sentence: str) -> None:
        """Keep a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of what there is to read."""
        yield "pictures read", f"{self.pictures} of one question" if self.picture_read else "none"
        yield "JSON schema", "kept to" if self.schema else "not kept to"
        yield "list of choices", "kept to" if self.choices else "not kept to, or not offered"
        if self.scores:
            yield "scores of answers", self.scores
        yield "thoughts in replies", "yes" if self.thinking else "no"
        yield (
            "tokens",
            f"{self.input_tokens} in, {self.output_tokens} out" if self.usage else "not counted",
        )
        yield (
            "price",
            "unknown" if self.cost_usd is None else f"${self.cost_usd:.6f} for this check",
        )
        yield "latency", "unknown" if self.latency_s is None else f"{self.latency_s:.2f} s (median)"
        yield "answered by", self.model_served or "not said"
        yield "calls", str(self.calls)
        for word in self.problems:
            yield "problem", f"{word}: {PROBLEMS[word]}"
        for sentence in self.notes:
            yield "note", sentence
        yield "a game's question", "answered" if self.works else "not answered with any options"
