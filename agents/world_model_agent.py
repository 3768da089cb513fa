"""A VLM proposes plans, a world model judges them, an action buffer remembers them.

One request asks for ``num_plans`` plans of ``plan_horizon`` actions; all of them are scored in one batched rollout; the best is
followed as far as ``follow`` says and the others wait in the buffer. The buffer is cleared at a reset, a lost life, and a
*surprise*: the real reward, end, or picture differs from what the model predicted. Waiting plans are judged anew from the
present state before one is followed, which costs no request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from PIL import Image as PILImage

from atari_vlm import prompts
from atari_vlm.agents.action_buffer import ActionBuffer
from atari_vlm.agents.messages import Conversation
from atari_vlm.agents.plans import parse_plans, repair_plans
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.agents.world_view import FrameSource, WorldView
from atari_vlm.description import Facts, list_actions, read_actions
from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.planning.scoring import PlanScores, ValueFunction, score_plans
from atari_vlm.types import Decision, Message, Proposal, Reply, Source, Transition
from atari_vlm.vlm.base import VLM, Sampling
from atari_vlm.vlm.load import load_vlm
from atari_vlm.world_models.base import WorldModel, take_rows

Follow = Literal["first", "whole"] | int

# What the VLM World Model system called its models.
_SOURCE_MODELS = {"gpt4": "gpt-4o", "gpt4o": "gpt-4o", "claude": "claude", "qwen": "qwen-vl", "rand": "scripted"}


@dataclass(frozen=True)
class PlanOptions(VLMAgentOptions):
    """How plans are judged and followed, besides everything of :class:`VLMAgentOptions`.

    ``follow``: how much of a plan is executed before plans are judged anew: the ``"first"`` action, so many actions, or the
    ``"whole"`` plan; without a buffer it is always the first. ``num_futures`` futures are sampled per plan, and ``pessimism``
    standard deviations over them are subtracted. A real reward that differs by more than ``reward_tolerance`` from the
    prediction is a surprise; so is an unpredicted end; so is, where ``picture_tolerance`` is given, a mean absolute pixel
    difference (0..255) above it, which costs one decoded frame a step.
    """

    follow: Follow = "whole"
    discount: float = 1.0
    num_futures: int = 1
    pessimism: float = 0.0
    reward_tolerance: float = 0.5
    picture_tolerance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.follow, bool) or (isinstance(self.follow, str) and self.follow not in ("first", "whole")):
            raise UnknownNameError("follow", self.follow, ("first", "whole", "a number of actions"))
        if isinstance(self.follow, int):
            check_positive(follow=self.follow)
        check_positive(discount=self.discount, num_futures=self.num_futures)
        if self.discount > 1 or self.pessimism < 0 or self.reward_tolerance < 0:
            raise ConfigError("discount is in (0, 1]; pessimism and reward_tolerance are not negative")


@dataclass(frozen=True)
class _Expected:
    """What the model predicts for the step that was just decided; ``state`` only where pictures are compared."""

    reward: float
    over: bool
    state: Any = None


class VLMWorldModelAgent:
    """Plays the best of a VLM's plans. Without a world model the VLM's first plan counts as best.

    ``action_buffer`` keeps plans between requests; without one every step asks anew. ``frame_source`` and ``value`` as
    :class:`~atari_vlm.agents.planners.MCTSAgent`. The keywords of the VLM World Model system work too: ``model_name`` (gpt4o,
    gemini, claude, qwen, or any ``--vlm`` name) and ``model`` in place of ``vlm``, ``system_message`` in place of the
    instructions, ``env`` for :meth:`generate_response`; its ``tokenizer`` belongs to our world models, and ``device`` to
    their loading, so both are accepted and must be ``None`` or empty.
    """

    def __init__(
        self,
        vlm: VLM | None = None,
        *,
        world_model: WorldModel[Any] | None = None,
        plan_horizon: int = 5,
        num_plans: int = 3,
        use_world_model: bool = True,
        action_buffer: ActionBuffer | None = None,
        prompt_type: str = "cot",
        examples: Sequence[Message] = (),
        options: PlanOptions | None = None,
        value: ValueFunction | None = None,
        frame_source: FrameSource | None = None,
        model_name: str | None = None,
        model: str | None = None,
        system_message: str | None = None,
        env: gymnasium.Env[Any, Any] | None = None,
        tokenizer: None = None,
        device: str | None = None,
    ):
        check_positive(plan_horizon=plan_horizon, num_plans=num_plans)
        prompts.check_style(prompt_type)
        if tokenizer is not None:
            raise ConfigError("tokenizer must be None: a world model of this package brings its own")
        if (vlm is None) == (model_name is None):
            raise ConfigError("give either vlm or model_name")
        self.vlm = load_vlm(_SOURCE_MODELS.get(model_name, model_name), model=model) if model_name else vlm
        self.world_model = world_model if use_world_model else None
        self.plan_horizon, self.num_plans, self.buffer = plan_horizon, num_plans, action_buffer
        self.options, self.prompt_type, self._value = options or PlanOptions(), prompt_type, value
        self._system_message, self._env = system_message, env
        self._conversation = Conversation(self.options, prompt_type, "plans", examples)
        self._view = WorldView(self.world_model, frame_source) if self.world_model is not None else None
        self.reset(seed=0)

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode with an empty buffer."""
        if seed is not None:
            self._rng, self._seed = np.random.default_rng(seed), seed
        self._conversation.reset()
        if self._view is not None:
            self._view.reset()
        if self.buffer is not None:
            self.buffer.clear()
        self._expected: list[_Expected] = []
        self._followed = 0
        self._lives: int | None = None

    def act(self, observation: Mapping[str, Any]) -> Decision:
        """The next action of a good plan: from the buffer, from waiting plans judged anew, or from a new request."""
        names = read_actions(observation["action_space"])
        self._conversation.look(observation)
        if self._view is not None:
            self._view.look(observation)
        follow = self.options.follow
        limit = follow if isinstance(follow, int) else {"first": 1, "whole": self.plan_horizon}[follow]
        if self.buffer is not None and self.buffer.is_following:
            if self._followed < limit:
                return self._continue(names)
            self.buffer.stop_following()
        waiting = self._judge_waiting()
        if waiting is not None:
            return self._begin(waiting, names, Source.BUFFER, (), ())
        return self._request(observation, names)

    def observe(self, transition: Transition) -> None:
        """Compare what happened with what was predicted; clear the buffer on a surprise or a lost life."""
        if self._view is not None:
            self._view.did(transition.decision.action)
        lives = transition.info.get("lives")
        lost_life = lives is not None and self._lives is not None and lives < self._lives
        self._lives = lives
        expected = self._expected.pop(0) if self._expected else None
        if self.buffer is not None and (
            lost_life or (expected is not None and self._is_surprise(expected, transition))
        ):
            self.buffer.clear()
            self._expected = []

    def generate_response(self, path: str) -> tuple[int, dict[str, Any]]:
        """The VLM World Model system's call: the picture at ``path`` to ``(action, response)``; needs ``env`` for the actions."""
        if self._env is None:
            raise ConfigError("generate_response needs env=, whose actions are the legal ones")
        base: Any = self._env.unwrapped
        names = list(base.get_action_meanings())
        with PILImage.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        text = Facts(getattr(base, "game_name", "Unknown")).to_text()
        decision = self.act({"image": image, "text": text, "action_space": list_actions(names)})
        response = {
            "reasoning": decision.proposal.reasoning if decision.proposal else "",
            "action": decision.action,
            "from_buffer": decision.source is Source.BUFFER,
            **decision.details,
        }
        return decision.action, response

    def _continue(self, names: Sequence[str]) -> Decision:
        assert self.buffer is not None
        action = self.buffer.get_action()
        assert action is not None
        self._followed += 1
        return Decision(action, Source.BUFFER, details=self._details({}))

    def _judge_waiting(self) -> PlanScores | None:
        """The buffer's waiting plans scored from the present state; ``None`` if none is left that reaches the threshold."""
        if self.buffer is None or self.world_model is None:
            return None
        waiting = [plan.actions for plan in self.buffer.take_waiting()]
        if not waiting:
            return None
        scores = self._score([(*plan, *[0] * self.plan_horizon)[: self.plan_horizon] for plan in waiting])
        if scores.scores[scores.best] < self.buffer.score_threshold or not scores.scores[scores.best] > 0:
            return None
        return scores

    def _request(self, observation: Mapping[str, Any], names: Sequence[str]) -> Decision:
        """Ask the VLM for plans, at most once again with the reason, and follow the best."""
        assert self.vlm is not None
        question = self._conversation.question(observation)
        system = self._system_message or prompts.instructions(
            self.prompt_type, Facts.from_text(observation["text"]).game, names,
            answer="plans", num_plans=self.num_plans, plan_horizon=self.plan_horizon,
        )  # fmt: skip
        messages = self._conversation.messages(question, names, system)
        replies: list[Reply] = []
        problems: list[str] = []
        plans: tuple[tuple[int, ...], ...] = ()
        for _ in range(self.options.max_reasks + 1):
            replies.append(self.vlm.complete(messages, sampling=self._sampling(names)))
            read = parse_plans(replies[-1].text, names, self.num_plans, self.plan_horizon)
            plans = repair_plans(read, self.num_plans, self.plan_horizon)
            if not read.problems:
                break
            problems.append("; ".join(read.problems))
            messages = (*messages, Message.of("assistant", replies[-1].text or "(nothing)"), self._again(read.problems))
        if not plans:
            noop = names.index("NOOP") if "NOOP" in names else 0
            return Decision(noop, Source.FALLBACK, None, tuple(replies), tuple(problems), {"answer": "plans"})
        reasoning = parse_plans(replies[-1].text, names, self.num_plans, self.plan_horizon).reasoning
        self._conversation.remember(question, replies[-1].text)
        return self._begin(self._score(plans), names, Source.MODEL, tuple(replies), tuple(problems), reasoning)

    def _again(self, problems: Sequence[str]) -> Message:
        return Message.of(
            "user",
            f'That cannot be used: {"; ".join(problems)}. Answer with one JSON object with "reasoning" and '
            f'{self.num_plans} "plans" of exactly {self.plan_horizon} legal actions each.',
        )

    def _score(self, plans: Sequence[Sequence[int]]) -> PlanScores:
        """Judge plans by the model; without one all are worth 0, so that the VLM's order decides."""
        if self.world_model is None or self._view is None:
            array = np.array(plans, np.int64)
            zeros = np.zeros(len(array))
            return PlanScores(array, zeros, np.zeros(array.shape), np.full(len(array), array.shape[1]), zeros)
        return score_plans(
            self.world_model,
            self._view.state(self._rng),
            plans,
            discount=self.options.discount,
            rng=self._rng,
            value=self._value,
            num_futures=self.options.num_futures,
            pessimism=self.options.pessimism,
        )

    def _begin(
        self,
        scores: PlanScores,
        names: Sequence[str],
        source: Source,
        replies: tuple[Reply, ...],
        problems: tuple[str, ...],
        reasoning: str = "",
    ) -> Decision:
        """Start the best plan; the others, and the rest of it, go to the buffer."""
        best = scores.best
        plan = tuple(int(action) for action in scores.plans[best])
        self._expected = self._predictions(scores, best)
        self._followed = 1
        action = plan[0]
        if self.buffer is not None:
            for i in scores.order:
                self.buffer.add_plan(scores.plans[i], float(scores.scores[i]))
            if self.buffer.is_empty():
                self._expected = self._expected[:1]
            else:
                self.buffer.get_action()
        listed = [
            {"actions": [names[a] for a in p], "score": _number(s), "rewards": r.round(4).tolist()}
            for p, s, r in zip(scores.plans, scores.scores, scores.rewards, strict=True)
        ]
        details = self._details({"plans": listed, "chosen": best, "judged": self.world_model is not None})
        return Decision(
            action, source, Proposal(plan, reasoning, replies[-1] if replies else None), replies, problems, details
        )

    def _predictions(self, scores: PlanScores, best: int) -> list[_Expected]:
        """Reward and end predicted for each step of the chosen plan; nothing without a model."""
        if self.world_model is None or self._view is None:
            return []
        horizon, length = scores.rewards.shape[1], float(scores.lengths[best])
        states: list[Any] = [None] * horizon
        if self.options.picture_tolerance is not None:
            state = take_rows(self._view.state(self._rng), [0])
            for t in range(horizon):
                state = self.world_model.step(state, scores.plans[best, t : t + 1], rng=self._rng).state
                states[t] = state
        return [_Expected(float(scores.rewards[best, t]), length <= t + 1 < horizon, states[t]) for t in range(horizon)]

    def _is_surprise(self, expected: _Expected, transition: Transition) -> bool:
        if abs(transition.reward - expected.reward) > self.options.reward_tolerance:
            return True
        if transition.terminated != expected.over:
            return True
        if expected.state is None or self.world_model is None or self._view is None:
            return False
        predicted = self.world_model.decode(expected.state)[0].astype(np.float32)
        real = self._view.frame(transition.next_observation).astype(np.float32)
        return float(np.abs(predicted - real).mean()) > (self.options.picture_tolerance or 0.0)

    def _details(self, more: dict[str, Any]) -> dict[str, Any]:
        """What the report shows of a step."""
        predicted = self._expected[0].reward if self._expected else None
        status = self.buffer.get_buffer_status() if self.buffer is not None else None
        return {**more, "predicted_reward": predicted, "buffer": status}

    def _sampling(self, names: Sequence[str]) -> Sampling:
        options = self.options
        schema = plans_schema(names, self.num_plans, self.plan_horizon) if "schema" in self.vlm.capabilities else None  # type: ignore[union-attr]
        seed = self._seed if options.temperature else None
        return Sampling(temperature=options.temperature, max_tokens=options.max_tokens, seed=seed, schema=schema)


def plans_schema(names: Sequence[str], num_plans: int, horizon: int) -> dict[str, Any]:
    """The JSON schema of an answer with plans."""
    action = {"type": "string", "enum": list(names)}
    plan = {
        "type": "object",
        "properties": {"actions": {"type": "array", "items": action, "minItems": horizon, "maxItems": horizon}},
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


def _number(score: float) -> float | None:
    """A score as JSON data; minus infinity has none."""
    return round(float(score), 4) if np.isfinite(score) else None
