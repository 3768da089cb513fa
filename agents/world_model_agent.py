"""A VLM proposes plans, a world model judges them, an action buffer remembers them.

One request asks for ``num_plans`` plans of ``plan_horizon`` actions; all of them are scored in one
batched rollout; the best is followed as far as ``follow`` says and the others wait in the buffer.
The buffer is cleared at a reset, a lost life, and a *surprise*: the real reward, end, or picture
differs from what the model predicted. Waiting plans are judged anew from the present state before
one is followed, which costs no request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atari_vlm.agents.action_buffer import ActionBuffer
from atari_vlm.agents.plan_judge import Expected, Judge, PlanOptions
from atari_vlm.agents.plan_request import PlanRequest, ProposedPlans
from atari_vlm.description import read_actions
from atari_vlm.planning.scoring import PlanScores, Valuing
from atari_vlm.types import Decision, Proposal, Source, Transition
from atari_vlm.vlm.base import VLM
from atari_vlm.world_models.base import WorldModel
from atari_vlm.world_models.seeing import FrameSource

_NOTHING = ProposedPlans((), "", (), (), 0)


class WorldModelAgent:
    """Plays the best of a VLM's plans. Without a world model the VLM's first plan counts as best.

    ``action_buffer`` keeps plans between requests; without one every step asks anew.
    ``frame_source`` and ``value`` as :class:`~atari_vlm.agents.planners.MCTSAgent`.
    ``request_options`` are those of :class:`~atari_vlm.agents.plan_request.PlanRequest`:
    ``prompt_type``, ``examples``, ``system_message``.
    :class:`~atari_vlm.agents.compat.VLMWorldModelAgent` takes the keywords of the VLM World Model
    system besides.
    """

    def __init__(
        self,
        vlm: VLM,
        *,
        world_model: WorldModel[Any] | None = None,
        plan_horizon: int = 5,
        num_plans: int = 3,
        action_buffer: ActionBuffer | None = None,
        options: PlanOptions | None = None,
        value: Valuing = "own",
        frame_source: FrameSource | None = None,
        **request_options: Any,
    ):
        self.options, self.buffer = options or PlanOptions(), action_buffer
        self._requests = PlanRequest(vlm, num_plans, plan_horizon, self.options, **request_options)
        self._judge = Judge(world_model, self.options, value, frame_source)
        self.reset(seed=0)

    @property
    def vlm(self) -> VLM:
        """Who proposes."""
        return self._requests.vlm

    @property
    def world_model(self) -> WorldModel[Any] | None:
        """Who judges; ``None``: nobody."""
        return self._judge.world_model

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode with an empty buffer."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._requests.reset(seed)
        self._judge.reset()
        if self.buffer is not None:
            self.buffer.clear()
        self._expected: list[Expected] = []
        self._followed = self._calls = self._calls_saved = self._surprises = 0
        self._lives: int | None = None

    def act(self, observation: Mapping[str, Any]) -> Decision:
        """The next action of a good plan: from the buffer, from waiting plans judged anew, or from
        a new request.
        """
        names = read_actions(observation["action_space"])
        self._requests.observe(observation)
        self._judge.observe(observation)
        decision = self._from_buffer(names)
        if decision is not None:
            return decision
        proposed = self._requests.ask(observation, names)
        self._calls += 1
        if not proposed.plans:
            return self._fall_back(names, proposed, proposed.problems)
        return self._begin(
            self._judge.score(proposed.plans, self._rng), names, Source.MODEL, proposed
        )

    def observe(self, transition: Transition) -> None:
        """Compare what happened with what was predicted; clear the buffer on a surprise or a lost
        life.
        """
        self._judge.executed(transition.decision.action)
        lives = transition.info.get("lives")
        lost_life = lives is not None and self._lives is not None and lives < self._lives
        self._lives = lives
        expected = self._expected.pop(0) if self._expected else None
        surprised = expected is not None and self._judge.is_surprised(expected, transition)
        self._surprises += surprised
        if self.buffer is not None and (lost_life or surprised):
            self.buffer.clear()
            self._expected = []

    def _from_buffer(self, names: Sequence[str]) -> Decision | None:
        """The next action of the plan being followed, or of waiting plans judged anew; ``None`` if
        a request is due.
        """
        if self.buffer is None:
            return None
        if self.buffer.is_following and self._followed < self.options.steps(
            self._requests.plan_horizon
        ):
            action = self.buffer.get_action()
            self._followed += 1
            if action is not None and action < len(names):
                self._calls_saved += 1
                return Decision(action, Source.BUFFER, details=self._details({}))
            self.buffer.clear()
        self.buffer.stop_following()
        waiting = self._judge_waiting(len(names))
        return None if waiting is None else self._begin(waiting, names, Source.BUFFER, _NOTHING)

    def _judge_waiting(self, num_actions: int) -> PlanScores | None:
        """The buffer's waiting plans scored from the present state; ``None`` unless the best
        promises a reward.

        Without a model nobody can tell what they are worth now, so they are given up.
        """
        assert self.buffer is not None
        horizon = self._requests.plan_horizon
        plans = [plan.actions for plan in self.buffer.take_waiting()]
        fitting = [(*plan, *[0] * horizon)[:horizon] for plan in plans if max(plan) < num_actions]
        if not fitting or self.world_model is None:
            return None
        scores = self._judge.score(fitting, self._rng)
        best = scores.scores[scores.best]
        return scores if best >= self.buffer.score_threshold and best > 0 else None

    def _begin(
        self, scores: PlanScores, names: Sequence[str], source: Source, proposed: ProposedPlans
    ) -> Decision:
        """Start the best plan; its rest and the others go to the buffer, where they are good
        enough.
        """
        best = scores.best
        plan = tuple(int(action) for action in scores.plans[best])
        listed = [
            {
                "actions": [names[a] for a in p],
                "score": _number(s),
                "predicted_rewards": r.round(4).tolist(),
            }
            for p, s, r in zip(scores.plans, scores.scores, scores.rewards, strict=True)
        ]
        judged = {
            "plans": listed,
            "judged": self.world_model is not None,
            "repaired": proposed.repaired,
        }
        if not np.isfinite(scores.scores[best]):
            problem = "the world model predicted no number for any plan"
            return self._fall_back(names, proposed, (*proposed.problems, problem), judged)
        self._expected, self._followed = self._judge.expect(scores, best, self._rng), 1
        self._calls_saved += source is Source.BUFFER
        if self.buffer is None or not self._keep(scores):
            self._expected = self._expected[:1]
        last = proposed.replies[-1] if proposed.replies else None
        proposal = Proposal(plan, proposed.reasoning, last)
        details = self._details({**judged, "chosen": best})
        return Decision(plan[0], source, proposal, proposed.replies, proposed.problems, details)

    def _keep(self, scores: PlanScores) -> bool:
        """Offer all plans to the buffer and take the first action of the best; whether it held any."""
        assert self.buffer is not None
        for i in scores.order:
            self.buffer.add_plan(scores.plans[i], float(scores.scores[i]))
        return self.buffer.get_action() is not None

    def _fall_back(
        self,
        names: Sequence[str],
        proposed: ProposedPlans,
        problems: tuple[str, ...],
        more: Mapping[str, Any] | None = None,
    ) -> Decision:
        self._expected = []
        noop = names.index("NOOP") if "NOOP" in names else 0
        return Decision(
            noop, Source.FALLBACK, None, proposed.replies, problems, self._details(dict(more or {}))
        )

    def _details(self, more: dict[str, Any]) -> dict[str, Any]:
        """What the report shows of a step."""
        predicted = self._expected[0].reward if self._expected else None
        counts = {
            "requests": self._calls,
            "requests_saved": self._calls_saved,
            "surprises": self._surprises,
        }
        status = self.buffer.get_buffer_status() if self.buffer is not None else None
        return {**more, "predicted_reward": predicted, **counts, "buffer": status}


def _number(score: float) -> float | None:
    """A score as JSON data; minus infinity has none."""
    return round(float(score), 4) if np.isfinite(score) else None
