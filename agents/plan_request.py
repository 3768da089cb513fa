"""Asking a VLM for plans: one request, at most ``max_reasks`` more with the reason, then what can
be used of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm import prompts
from atari_vlm.agents.answering import check_free_to_answer
from atari_vlm.agents.messages import Conversation
from atari_vlm.agents.plans import Plans, plans_of, repair_plans
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.description import Facts
from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling


@dataclass(frozen=True)
class ProposedPlans:
    """Different plans of exactly the asked length, as action indices, in the VLM's order; perhaps
    fewer than asked, or none.

    ``problems`` says, per reply that was not as asked, why. ``repaired`` counts the plans of the
    last reply that were cut, continued with NOOP, or dropped.
    """

    plans: tuple[tuple[int, ...], ...]
    reasoning: str
    replies: tuple[Reply, ...]
    problems: tuple[str, ...]
    repaired: int


class PlanRequest:
    """Asks ``vlm`` for ``num_plans`` plans of ``plan_horizon`` actions about the observations it is
    shown.

    ``system_message`` stands in for the instructions. :meth:`observe` is called once a step, also
    when nothing is asked.
    """

    def __init__(
        self,
        vlm: VLM,
        num_plans: int,
        plan_horizon: int,
        options: VLMAgentOptions,
        *,
        prompt_type: str = "cot",
        examples: Sequence[Message] = (),
        system_message: str | None = None,
    ):
        if not isinstance(vlm, VLM):
            raise ConfigError(
                f"vlm must have name, capabilities, complete() and score_choices(), got {vlm!r}"
            )
        check_free_to_answer(vlm, "plans")
        check_positive(plan_horizon=plan_horizon, num_plans=num_plans)
        prompts.check_style(prompt_type)
        self.vlm, self.num_plans, self.plan_horizon, self._options = (
            vlm,
            num_plans,
            plan_horizon,
            options,
        )
        self._prompt_type, self._system_message = prompt_type, system_message
        self._conversation = Conversation(options, prompt_type, "plans", examples)
        self._seed: int | None = 0

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        self._seed = self._seed if seed is None else seed
        self._conversation.reset()

    def observe(self, observation: Mapping[str, Any]) -> None:
        """Take in the present observation's pictures."""
        self._conversation.observe(observation)

    def ask(self, observation: Mapping[str, Any], names: Sequence[str]) -> ProposedPlans:
        """The VLM's plans for the present observation; ``names`` are the legal actions."""
        question = self._conversation.question(observation)
        messages = self._conversation.messages(
            question, names, self._instructions(observation, names)
        )
        replies: list[Reply] = []
        problems: list[str] = []
        while True:
            replies.append(self.vlm.complete(messages, sampling=self._sampling(names)))
            read = plans_of(replies[-1], names, self.num_plans, self.plan_horizon)
            if not read.problems:
                break
            problems.append("; ".join(read.problems))
            if len(replies) > self._options.max_reasks:
                break
            messages = (
                *messages,
                Message.of("assistant", replies[-1].text or "(nothing)"),
                self._again(read.problems),
            )
        fill = names.index("NOOP") if "NOOP" in names else 0
        plans = repair_plans(read, self.num_plans, self.plan_horizon, fill=fill)
        if plans:
            self._conversation.add_turn(question, replies[-1].text)
        return ProposedPlans(
            plans,
            read.reasoning,
            tuple(replies),
            tuple(problems),
            _repaired(read, self.plan_horizon),
        )

    def _instructions(self, observation: Mapping[str, Any], names: Sequence[str]) -> str:
        if self._system_message is not None:
            return self._system_message
        return prompts.instructions(
            self._prompt_type,
            Facts.from_text(observation["text"]).game,
            names,
            answer="plans",
            num_plans=self.num_plans,
            plan_horizon=self.plan_horizon,
        )

    def _again(self, problems: Sequence[str]) -> Message:
        return Message.of(
            "user",
            f'That cannot be used: {"; ".join(problems)}. Answer with one JSON object with "reasoning" and '
            f'{self.num_plans} "plans" of exactly {self.plan_horizon} legal actions each.',
        )

    def _sampling(self, names: Sequence[str]) -> Sampling:
        options = self._options
        constrained = "schema" in self.vlm.capabilities
        return Sampling(
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            seed=self._seed if options.temperature else None,
            schema=plans_schema(names, self.num_plans, self.plan_horizon) if constrained else None,
        )


def _repaired(read: Plans, horizon: int) -> int:
    return sum(len(plan) != horizon for plan in read.plans)


def plans_schema(names: Sequence[str], num_plans: int, horizon: int) -> dict[str, Any]:
    """The JSON schema of an answer with plans."""
    action = {"type": "string", "enum": list(names)}
    plan = {
        "type": "object",
        "properties": {
            "actions": {"type": "array", "items": action, "minItems": horizon, "maxItems": horizon}
        },
        "required": ["actions"],
        "additionalProperties": False,
    }
    plans = {"type": "array", "items": plan, "minItems": num_plans, "maxItems": num_plans}
    return {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "plans": plans},
        "required": ["reasoning", "plans"],
        "additionalProperties": False,
    }
