"""The agent that asks a VLM: messages out, a reply in, a decision with everything that led to it.

A reply that cannot be understood is asked for again with the reason, then becomes the fallback action with source FALLBACK.
A VLM that cannot be asked (wrong key, dead server, spent budget) raises: a failure never looks like play.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from atari_vlm.agents.answering import FORM_OF_MODE, AnswerMode, answer_mode, legal_actions
from atari_vlm.agents.messages import (
    Conversation,
    MessageOptions,
    check_counts,
    complete_answers,
    write_answer,
)
from atari_vlm.agents.parse import Answer, Problem, parse_reply
from atari_vlm.agents.thoughts import before_answer
from atari_vlm.errors import ConfigError, UnknownNameError, VLMError, check_positive
from atari_vlm.prompts import PROMPT_STYLES
from atari_vlm.settings import with_changes
from atari_vlm.types import Decision, Message, Proposal, Reply, Source, Transition
from atari_vlm.vlm.base import VLM, Sampling

Fallback = Literal["noop", "repeat", "random", "raise"]

_AGENT_KEYWORDS = ("prompt_type", "examples", "options")


@dataclass(frozen=True)
class VLMAgentOptions(MessageOptions):
    """What a message carries (:class:`MessageOptions`), and how the answer is had.

    ``answer``: ``json`` asks for a JSON object (constrained by a schema where the VLM can), ``choice`` for the bare action
    name (constrained likewise), ``scores`` takes the log-probability of each legal action (only where the VLM can), ``text``
    asks for a last line ``ACTION: <NAME>``. ``thoughts`` asks as ``text`` does, has the VLM write, and takes the log-probability
    of each legal action behind what it wrote before that line (only where the VLM scores). ``auto`` takes the first of
    ``json``, ``scores`` and ``choice`` that the VLM is capable of, else ``text``. ``max_reasks``: how often an answer that
    cannot be used is asked for again, with the reason.
    ``fallback``: what is done after that: NOOP, the last action once more, a random legal action, or raise ``VLMError``.
    ``temperature``: passed to the VLM; with ``scores`` it makes the agent draw from ``softmax(log p / temperature)``, and
    ``None`` or 0 take the best. ``max_tokens``: limit of a reply. ``decide_every``: ask at steps 0, n, 2n ... and repeat
    the last action in between (source BUFFER; FALLBACK while a fallback action is repeated, so that it counts).
    """

    answer: AnswerMode = "auto"
    max_reasks: int = 1
    fallback: Fallback = "noop"
    temperature: float | None = None
    max_tokens: int = 512
    decide_every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(
            max_reasks=self.max_reasks, max_tokens=self.max_tokens, decide_every=self.decide_every
        )
        check_positive(max_tokens=self.max_tokens, decide_every=self.decide_every)
        if self.answer not in get_args(AnswerMode):
            raise UnknownNameError("answer mode", self.answer, get_args(AnswerMode))
        if self.fallback not in get_args(Fallback):
            raise UnknownNameError("fallback", self.fallback, get_args(Fallback))
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ConfigError(
                f"temperature must be None or a number of at least 0, got {self.temperature!r}"
            )


DEFAULT_OPTIONS = VLMAgentOptions()


class VLMAgent:
    """Plays by asking ``vlm`` at every decision.

    ``observation`` is a dict with ``image`` (PIL or uint8 array, RGB or grey), ``text`` (facts) and ``action_space``
    (numbered list of names), as ``AtariVLM/<Game>-v5`` gives it; ``frames`` is used where it is there. ``prompt_type`` is
    ``basic``, ``cot`` or ``expert``. ``examples`` are pairs of a user message (pictures, then facts) and an assistant
    message that answers it in any of the answer forms.
    """

    def __init__(
        self,
        vlm: VLM,
        *,
        prompt_type: str = "cot",
        examples: Sequence[Message] = (),
        options: VLMAgentOptions = DEFAULT_OPTIONS,
    ):
        if not isinstance(vlm, VLM):
            raise ConfigError(
                f"vlm must have name, capabilities, complete() and score_choices(), got {vlm!r}"
            )
        if prompt_type not in PROMPT_STYLES:
            raise UnknownNameError("prompt type", prompt_type, PROMPT_STYLES)
        self.vlm, self.options, self.prompt_type = vlm, options, prompt_type
        self.answer = answer_mode(options.answer, vlm)
        self._conversation = Conversation(options, prompt_type, FORM_OF_MODE[self.answer], examples)
        self.reset(seed=0)

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode; without a seed the agent's random numbers go on where they were."""
        if seed is not None:
            self._rng, self._seed = np.random.default_rng(seed), seed
        self._conversation.reset()
        self._last: Decision | None = None
        self._step = 0

    def act(self, observation: Mapping[str, Any]) -> Decision:
        """Ask for the next action.

        Raises the VLM's ``VLMError`` and ``BudgetExhaustedError``, and ``MismatchError`` for an observation without image,
        text or action list.
        """
        return self._decide(observation, None)

    def select_action(self, observation: Mapping[str, Any], prompt: str | None = None) -> int:
        """:meth:`act`, but only the action; ``prompt`` is sent instead of the instructions."""
        return int(self._decide(observation, prompt).action)

    def observe(self, transition: Transition) -> None:
        """Note what was really done; the rest stands in the next observation."""
        if self._last is not None and transition.decision.action != self._last.action:
            self._last = transition.decision

    @property
    def is_due(self) -> bool:
        """Whether the next decision is asked for, and not a repetition."""
        return self._last is None or self._step % self.options.decide_every == 0

    def _decide(self, observation: Mapping[str, Any], prompt: str | None) -> Decision:
        names = legal_actions(observation)
        self._conversation.observe(observation)
        if not self.is_due:
            self._step += 1
            self._last = _repeated(self._last)
            return self._last
        question = self._conversation.question(observation, self._feedback(names))
        messages = self._conversation.messages(question, names, prompt)
        decision = self._decided(messages, names)
        if decision.source is Source.MODEL:
            self._conversation.add_turn(question, self._said(decision, names))
        self._last = decision
        self._step += 1
        return decision

    def _decided(self, messages: tuple[Message, ...], names: Sequence[str]) -> Decision:
        if self.answer == "scores":
            return self._score(messages, names, names)
        return (
            self._think(messages, names)
            if self.answer == "thoughts"
            else self._ask(messages, names)
        )

    def _said(self, decision: Decision, names: Sequence[str]) -> str:
        """What stands in later prompts as the answer."""
        name = names[int(decision.action)]
        if self.answer == "thoughts" and decision.proposal is not None:
            return write_answer("text", name, decision.proposal.reasoning)
        return decision.replies[-1].text if decision.replies else name

    def _feedback(self, names: Sequence[str]) -> str | None:
        if self._last is None or self._last.source is not Source.FALLBACK:
            return None
        return f"Your last answer could not be used ({self._last.problems[-1]}); {names[int(self._last.action)]} was played."

    def _ask(self, messages: tuple[Message, ...], names: Sequence[str]) -> Decision:
        replies: list[Reply] = []
        problems: list[str] = []
        for _ in range(self.options.max_reasks + 1):
            reply = self.vlm.complete(messages, sampling=self._sampling(names))
            replies.append(reply)
            prompt_text = "\n".join(
                message.text for message in messages if message.role != "assistant"
            )
            answer = parse_reply(reply, names, prompt=prompt_text)
            if isinstance(answer, Answer):
                proposal = Proposal((answer.action,), answer.reasoning, reply)
                details = {"answer": self.answer, "rung": answer.rung}
                return Decision(
                    answer.action, Source.MODEL, proposal, tuple(replies), tuple(problems), details
                )
            problems.append(str(answer))
            messages = (*messages, *self._conversation.again(reply.text, answer.text, names))
        return self._fall_back(names, replies, problems)

    def _think(self, messages: tuple[Message, ...], names: Sequence[str]) -> Decision:
        """A thought, then the scores of the complete answers that begin with it: their softmax is of actions behind it."""
        reply = self.vlm.complete(messages, sampling=self._sampling(names))
        if reply.finish_reason in ("refusal", "filter"):
            problem = Problem("refused", "the request was refused")
            return self._fall_back(names, [reply], [str(problem)])
        thought = before_answer(reply.text)
        decision = self._score(messages, names, complete_answers(thought, names), reply)
        if decision.proposal is None:
            return decision
        return dataclasses.replace(
            decision, proposal=Proposal(decision.proposal.actions, thought, reply)
        )

    def _score(
        self,
        messages: tuple[Message, ...],
        names: Sequence[str],
        answers: Sequence[str],
        *replies: Reply,
    ) -> Decision:
        """The likeliest of the complete ``answers``, which name the actions in their order."""
        scores = np.asarray(self.vlm.score_choices(messages, answers), np.float64)
        if scores.shape != (len(names),) or np.isnan(scores).any() or not np.isfinite(scores.max()):
            problem = Problem("missing", f"not a score for each action: {scores.tolist()}")
            return self._fall_back(names, replies, [str(problem)])
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        details = {
            "answer": self.answer,
            "probabilities": dict(zip(names, chances.round(6).tolist(), strict=True)),
        }
        action = int(scores.argmax())
        if self.options.temperature:
            drawn = np.exp((scores - scores.max()) / self.options.temperature)
            action = int(self._rng.choice(len(names), p=drawn / drawn.sum()))
        return Decision(action, Source.MODEL, Proposal((action,)), replies, details=details)

    def _fall_back(
        self, names: Sequence[str], replies: Sequence[Reply], problems: Sequence[str]
    ) -> Decision:
        how = self.options.fallback
        if how == "raise":
            raise VLMError(
                f"{self.vlm.name} gave no usable answer in {len(replies)} replies: {'; '.join(problems)}"
            )
        action = names.index("NOOP") if "NOOP" in names else 0
        if how == "repeat" and self._last is not None:
            action = int(self._last.action)
        if how == "random":
            action = int(self._rng.integers(len(names)))
        details = {"answer": self.answer, "fallback": how}
        return Decision(action, Source.FALLBACK, None, tuple(replies), tuple(problems), details)

    def _sampling(self, names: Sequence[str]) -> Sampling:
        sampling = Sampling(
            temperature=self.options.temperature,
            max_tokens=self.options.max_tokens,
            seed=self._seed if self.options.temperature else None,
        )
        if self.answer == "json":
            return dataclasses.replace(sampling, schema=answer_schema(names))
        if self.answer == "choice":
            return dataclasses.replace(sampling, choices=tuple(names))
        return sampling


def _repeated(last: Decision | None) -> Decision:
    assert last is not None  # nothing is repeated before something was decided
    fell_back = last.source is Source.FALLBACK
    return Decision(
        last.action,
        Source.FALLBACK if fell_back else Source.BUFFER,
        problems=last.problems if fell_back else (),
    )


def split_options(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords for :class:`VLMAgent` (option fields gathered into ``options``), and the rest, which is for ``load_vlm``.

    Raises ``ConfigError`` for an option of another type, by its name.
    """
    fields = {field.name for field in dataclasses.fields(VLMAgentOptions)}
    agent = {name: keywords[name] for name in _AGENT_KEYWORDS if name in keywords}
    options = {name: value for name, value in keywords.items() if name in fields}
    rest = {
        name: value
        for name, value in keywords.items()
        if name not in fields and name not in _AGENT_KEYWORDS
    }
    if options:
        base = agent.get("options", DEFAULT_OPTIONS)
        agent["options"] = with_changes(base, options, "the agent's options")
    return agent, rest


def answer_schema(names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of one answer: ``reasoning`` first, so that the model thinks before it names the action."""
    return {
        "type": "object",
        "properties": {
            "reasoning": {"type": "string"},
            "action": {"type": "string", "enum": list(names)},
        },
        "required": ["reasoning", "action"],
        "additionalProperties": False,
    }
