"""The weights that learn from rewards with thoughts: write, then be scored behind what was written.

It is how :class:`~atari_vlm.agents.vlm_agent.VLMAgent` plays with ``answer="thoughts"``: what is scored are the complete
answers that begin with the thought, and the policy is their softmax, in which the thought itself cancels out. So thought
and answers stand in one pass: drawn tokens and complete answers are branches behind one prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from atari_vlm.agents.messages import complete_answers
from atari_vlm.agents.thoughts import before_answer
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, UpdateConfig
from atari_vlm.training.tuning.memory import within_memory
from atari_vlm.training.tuning.ppo import PPOConfig, Turns, ppo_loss, thought_loss
from atari_vlm.training.tuning.rl_learner import Decided, ReinforcedLearner
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.thoughts import ThinkingConfig, Thought
from atari_vlm.training.tuning.turns import log_softmax
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.adapter import Adapter
from atari_vlm.vlm.local.engine import AnswerRequest, ScoreRequest
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.sampling import TokenSampler
from atari_vlm.world_models.learned.team import Team

_SEEDS = 2**31
_NOTHING = -1  # no token
_PLAIN = LocalOptions()


class ThinkingLearner(ReinforcedLearner):
    """A :class:`~atari_vlm.training.tuning.rl_learner.ReinforcedLearner` whose decisions begin with thoughts."""

    def __init__(
        self,
        base: Base,
        method: Method,
        config: UpdateConfig,
        ppo: PPOConfig,
        start: Adapter | None = None,
        *,
        thinking: ThinkingConfig,
        team: Team | None = None,
        games: int = 1,
    ):
        super().__init__(base, method, config, ppo, start, team=team, games=games)
        self.thinking, self.state_reward = thinking, thinking.state_reward
        base.engine.prefixes = None  # keys and values of other weights are of no use

    def think(
        self, asked: Sequence[TaughtDecision], rng: np.random.Generator | None = None
    ) -> list[Thought]:
        """Thoughts drawn at temperature 1 by seeds from ``rng``; without it the likeliest tokens."""
        self.tuned.eval()
        most, (own, count) = self.thinking.tokens, self._own(asked)
        samplers = [self._sampler(rng) for _ in asked]
        requests = [AnswerRequest(self._prompt(asked[n]), samplers[n], most, True) for n in own]
        with within_memory(asked):
            written = self.base.engine.answer(requests)[:count]
        rows = np.full((count, most + 1), _NOTHING)
        for row, one in zip(rows, written, strict=True):
            row[: len(one.ids)], row[-1] = one.ids, one.stopped
        every = self.team.gather(torch.from_numpy(rows)).tolist()
        return [self._thought(d, row) for d, row in zip(asked, every, strict=True)]

    def _sampler(self, rng: np.random.Generator | None) -> TokenSampler:
        seed = None if rng is None else int(rng.integers(_SEEDS))
        return TokenSampler(Sampling(temperature=float(rng is not None), seed=seed), _PLAIN)

    def _thought(self, decision: TaughtDecision, written: Sequence[int]) -> Thought:
        """From the tokens, which nothing follows, and at the end whether an end was drawn."""
        encoder, drawn = self.base.encoder, tuple(t for t in written[:-1] if t != _NOTHING)
        text = before_answer(encoder.decode(drawn))
        answers = complete_answers(text, decision.names)
        ids = tuple(tuple(encoder.choice_ids(answer)) for answer in answers)
        return Thought(drawn, bool(written[-1]), text, ids)

    def weigh(
        self, asked: Sequence[TaughtDecision], thoughts: Sequence[Thought]
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """With gradients: log-probabilities of complete answers ``(A,)``, of the thoughts' tokens ``(K,)``, and the last hidden
        states behind the prompts ``(B, D)``.
        """
        requests = [
            ScoreRequest(self._prompt(d), (thought.ids, *thought.answers))
            for d, thought in zip(asked, thoughts, strict=True)
        ]
        with within_memory(asked):
            rows, hidden = self.base.engine.words(requests)
        written = [
            torch.cat(
                [
                    row.tokens[: len(thought.ids)],
                    row.behind(0, self.base.engine.end_ids)[: int(thought.ended)],
                ]
            )
            for row, thought in zip(rows, thoughts, strict=True)
        ]
        return [row.of_choices[1:] for row in rows], written, hidden

    def _weighed(
        self, asked: Sequence[TaughtDecision], thoughts: Sequence[Thought]
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """:meth:`weigh` as arrays; of the answers what is legal alone."""
        self.tuned.eval()
        own, count = self._own(asked)
        with torch.no_grad():
            answers, words, hidden = self.weigh([asked[n] for n in own], [thoughts[n] for n in own])
        rows = [log_softmax(row.cpu().numpy()) for row in answers][:count]
        drawn = [row.cpu().numpy() for row in words][:count]
        states = self.team.gather(hidden[:count].float().cpu())
        names, lengths = [len(d.names) for d in asked], [len(t) for t in thoughts]
        return self._gathered(rows, names), self._gathered(drawn, lengths), states.numpy()

    def policy(self, asked: Sequence[TaughtDecision]) -> tuple[list[np.ndarray], np.ndarray]:
        """As evaluation plays: behind the likeliest tokens."""
        rows, _, hidden = self._weighed(asked, self.think(asked))
        return rows, hidden

    def worth(self, asked: Sequence[TaughtDecision], games: Sequence[int]) -> np.ndarray:
        """Values float64 ``(B,)``; nothing is written for them."""
        return self.values(super().policy(asked)[1], games)

    def decide(self, asked: Sequence[TaughtDecision], rng: np.random.Generator) -> Decided:
        """Thoughts, and the policy behind them."""
        thoughts = self.think(asked, rng)
        rows, words, hidden = self._weighed(asked, thoughts)
        first, reference = list[np.ndarray](), words
        if self.ppo.kl:
            with self.first_weights():
                first, reference, _ = self._weighed(asked, thoughts)
        noted = [
            dataclasses.replace(thought, log_probs=now, reference=then)
            for thought, now, then in zip(thoughts, words, reference, strict=True)
        ]
        return Decided(rows, hidden, first, noted)

    def _loss(
        self, asked: Sequence[TaughtDecision], turns: Turns
    ) -> tuple[Tensor, dict[str, float]]:
        answers, words, _ = self.weigh(asked, turns.thoughts)
        acted, parts = ppo_loss(answers, turns, self.ppo)
        thought, more = thought_loss(words, turns.thoughts, turns.advantages, self.ppo)
        return acted + thought, {**parts, **more}
