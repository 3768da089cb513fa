"""Ask an endpoint what it can do, with questions whose right answers are known; find the options with which it plays."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.errors import AtariVLMError, AuthenticationError, BudgetExhaustedError, ConfigError
from atari_vlm.evaluation.checkup import cards
from atari_vlm.evaluation.checkup.desk import CheckConfig, Desk
from atari_vlm.evaluation.checkup.findings import Findings
from atari_vlm.evaluation.checkup.money import doubts
from atari_vlm.evaluation.checkup.remedies import against_thinking, other_forms, without_schema
from atari_vlm.types import Decision, Message, Reply, Source
from atari_vlm.vlm.remote.answers import MISCOUNTED
from atari_vlm.vlm.remote.text import clip

SUM = (
    Message.of("system", "You answer briefly."),
    Message.of("user", "What is two and three? Answer with the number alone."),
)
GREETING = (
    Message.of("system", "You answer briefly."),
    Message.of("user", "Greet me in a few friendly words."),
)
WORDS = ("MAPLE-17", "CEDAR-42")  # nobody greets like this who is not held to it
GREETING_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": list(WORDS)}},
    "required": ["word"],
    "additionalProperties": False,
}
COUNTS = (1, 2, 4)
SCORES = (
    "prompt_logprobs",
    "systemone",
)  # the ways of a server, the one with complete answers first
_TRIES = 2  # with other pictures: a model may misread once


def checkup(config: CheckConfig) -> Findings:
    """Ask what there is to ask, at most some twenty short questions, of a healthy endpoint seven.

    Raises what the VLM raises at the first of them (nobody is there, a wrong key), and ``BudgetExhaustedError`` at any.
    """
    config.spec({})
    with Desk(config) as desk:
        return Checkup(desk).run()


class Checkup:
    """One endpoint's check: each step leaves what it learned in ``found``, and the next ones ask with its options."""

    def __init__(self, desk: Desk):
        self.desk, self.dialect = desk, desk.dialect
        self.found = Findings(options=dict(desk.config.vlm_options))
        self._remedies = against_thinking(self.dialect, desk.config.vlm_options)

    def run(self) -> Findings:
        """All steps; a model that was trained to be scored alone is asked for nothing in words."""
        if {"only scores", "only thoughts"} & self.desk.vlm(self.found.options).capabilities:
            return self._scored()
        speaks = self._speaks()
        self._constraints()
        if speaks or self.found.schema:
            self._look()
        self._money()
        self._play()
        self._sum_up()
        return self.found

    def _scored(self) -> Findings:
        found = self.found
        found.model = self.desk.entrant(found.options).model
        found.note(
            "it was trained to be scored and answers nothing else, so no questions were asked"
        )
        self._constraints()
        self._play()
        self._sum_up()
        return found

    def _speaks(self) -> bool:
        """Whether a question without pictures is answered in words, after whatever helps against silent thinking."""
        found = self.found
        found.model = self.desk.entrant(found.options).model
        reply = self.desk.ask(SUM, found.options)
        found.thinking = bool(split_thinking(reply.text)[0])
        if is_said(reply):
            return True
        if not is_thought(reply):
            found.note(
                f"a question of words alone was answered with nothing ({reply.finish_reason})"
            )
            return False
        found.thinking = True
        found.problem("thinking-only")
        if reply.note:
            found.note(reply.note)
        if self._keeps_schema():
            found.options["answer"] = "json"
            found.note("held to a JSON schema it answers, without one it only thinks")
            return True
        for remedy in self._remedies:
            said = self._try(SUM, {**found.options, **remedy})
            if said is not None and is_said(said):
                found.options |= remedy
                return True
        found.note("nothing that was tried made it answer")
        return False

    def _constraints(self) -> None:
        """Whether it keeps to a schema and to choices that the question says nothing of."""
        found, able = self.found, self.desk.vlm(self.found.options).capabilities
        found.schema = "schema" in able and self._keeps_schema()
        if "scores" in able:
            way = str(self.desk.config.vlm_options.get("scores", "in process"))
            found.scores = way if self._scores_by({}) else ""
            found.choices = bool(found.scores)
        elif "choices" in able or (able and self.dialect == "openai"):
            more = {} if "choices" in able else {"structured": "choice"}
            reply = self._try(GREETING, {**found.options, **more}, choices=WORDS)
            found.choices = reply is not None and _visible(reply) in WORDS
            self._served_scores()
        if "schema" in able and not found.schema:
            found.problem("no-schema", **without_schema(self.dialect, found.choices, found.scores))

    def _served_scores(self) -> None:
        """By which of its addresses a server scores given answers, if that was asked for or may be what makes it play."""
        found, asked = self.found, self.desk.config.scores
        if not self.desk.is_served or not (asked or not (found.schema or found.choices)):
            return
        ways = (way for way in SCORES if self._scores_by({"scores": way}, tell=asked))
        found.scores = next(ways, "")

    def _scores_by(self, more: Mapping[str, Any], tell: bool = True) -> bool:
        """Whether choices are scored with these options; if not, why is noted where it was asked for."""
        refusal = self.desk.refusal_of_scores(GREETING, WORDS, {**self.found.options, **more})
        if refusal and tell:
            self.found.note(clip(refusal))
        return not refusal

    def _keeps_schema(self) -> bool:
        reply = self._try(GREETING, self.found.options, schema=GREETING_SCHEMA)
        try:
            answer = json.loads(_visible(reply)) if reply is not None else None
        except (ValueError, RecursionError):
            return False
        return isinstance(answer, dict) and list(answer) == ["word"] and answer["word"] in WORDS

    def _look(self) -> None:
        """How many pictures are read: one, two, four (three, where four are too many)."""
        found = self.found
        for count in COUNTS:
            if not self._reads(count):
                if count == 4 and self._reads(3):
                    found.pictures = 3
                break
            found.pictures = count
        found.picture_read = found.pictures > 0
        if found.pictures == 0:
            found.problem("no-pictures", text="objects-only")
        elif found.pictures == 1:
            found.problem("one-picture", frames=1)

    def _reads(self, count: int) -> bool:
        """Whether all of ``count`` pictures are named in their order; asked again with others if not."""
        for attempt in range(_TRIES):
            shown = cards.deal(count, self.desk.config.seed * _TRIES + attempt)
            form = cards.schema(count) if self.found.schema else None
            reply = self._try(cards.question(shown), self.found.options, schema=form)
            if reply is None:
                return False
            named = cards.read(reply.text)
            if named == shown:
                return True
            right = [str(place + 1) for place, card in enumerate(shown) if card in named]
            self.found.note(
                f"shown {count} picture{'s' * (count > 1)} ({_listed(shown)}), it said {clip(_visible(reply), 80)!r}: "
                f"read {'none' if not right else 'number ' + ' and '.join(right)}"
            )
        return False

    def _money(self) -> None:
        found = self.found
        for doubt in doubts(self.desk.asked, found.model):
            found.problem("wrong-prices")
            found.note(doubt.sentence)
            if doubt.prices and self.dialect and found.options.get("prices") != "none":
                found.options["prices"] = doubt.prices

    def _play(self) -> None:
        """Ask what a game asks, with the options so far, then with others until an action is named."""
        decision = self._decides({})
        if decision is None or decision.source is Source.MODEL:
            return
        silent = bool(decision.replies) and is_thought(decision.replies[-1])
        if silent:
            self.found.thinking = True
            self.found.problem("thinking-only")
        for change in self._remedies if silent else other_forms(self.dialect):
            decision = self._decides(change)
            if decision is not None and decision.source is Source.MODEL:
                return

    def _decides(self, change: Mapping[str, Any]) -> Decision | None:
        """A game's first decision with changed options, which are kept if it is the model's; ``None`` if it cannot be asked."""
        found, options = self.found, {**self.found.options, **change}
        try:
            decision = self.desk.decide(options)
        except (AuthenticationError, BudgetExhaustedError, ConfigError):
            raise
        except AtariVLMError as error:
            found.note(clip(str(error)))
            return None
        if decision.source is Source.MODEL:
            found.options, found.works = options, True
        else:
            said = decision.replies[-1].text if decision.replies else ""
            found.note(f"asked for an action: {decision.problems[-1]}; it said {clip(said, 80)!r}")
        return decision

    def _try(
        self,
        messages: Sequence[Message],
        options: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
        choices: tuple[str, ...] | None = None,
    ) -> Reply | None:
        """The reply, or ``None`` where the endpoint refuses to be asked so; why is noted, but of choices, which few offer."""
        try:
            reply = self.desk.ask(messages, options, schema, choices)
        except (AuthenticationError, BudgetExhaustedError, ConfigError):
            raise
        except AtariVLMError as error:
            if choices is None:
                self.found.note(clip(str(error)))
            return None
        self.found.thinking |= bool(split_thinking(reply.text)[0])
        return reply

    def _sum_up(self) -> None:
        found, replies = self.found, self.desk.replies
        usages = [reply.usage for reply in replies]
        found.usage = all(None not in (usage.input_tokens, usage.output_tokens) for usage in usages)
        if found.usage:
            found.input_tokens = sum(usage.input_tokens or 0 for usage in usages)
            found.output_tokens = sum(usage.output_tokens or 0 for usage in usages)
        found.price_known = all(reply.cost_usd is not None for reply in replies)
        if found.price_known:
            found.cost_usd = self.desk.budget.spent["usd"]
        if replies:
            found.latency_s = statistics.median(reply.latency_s for reply in replies)
        found.model_served = " | ".join(dict.fromkeys(clip(r.model, 80) for r in replies))
        found.calls = int(self.desk.budget.spent["calls"])


def is_said(reply: Reply) -> bool:
    """Whether there is something besides thoughts in a reply that was not refused."""
    return reply.finish_reason not in ("refusal", "filter") and bool(_visible(reply))


def is_thought(reply: Reply) -> bool:
    """Whether a reply holds thoughts and no answer: between marks, in a field of their own, or so long that nothing followed."""
    if reply.finish_reason in ("refusal", "filter") or _visible(reply):
        return False
    apart = bool(reply.note) and not reply.note.startswith(MISCOUNTED)
    return bool(
        split_thinking(reply.text)[0]
        or apart
        or reply.usage.reasoning_tokens
        or reply.finish_reason == "length"
    )


def _visible(reply: Reply) -> str:
    return split_thinking(reply.text)[1].strip()


def _listed(shown: Sequence[cards.Card]) -> str:
    return ", ".join(map(str, shown))


def rows(config: CheckConfig, found: Findings) -> Iterator[tuple[str, str]]:
    """What there is to read, and the word that names this endpoint to a study."""
    yield from found.lines()
    yield "agent", f'--agents "{config.spec(found.options).text}"'
