"""What a model that learns from rewards learns from: lanes played side by side, and what their decisions were worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from atari_vlm.training.tuning.ppo import PPOConfig, Turns, generalised_advantages, normalised
from atari_vlm.training.tuning.rl_learner import ReinforcedLearner
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.thoughts import Thought
from atari_vlm.training.tuning.turns import Ended, Lane, drawn


@dataclass(frozen=True)
class Played:
    """``T`` decisions of ``N`` lanes: what was asked, thought and answered in the order ``(T, N)``, rewards and ends ``(T, N)``,
    values ``(T + 1, N)``, hidden states ``(T, N, D)``, and the episodes that ended, each with its lane.

    ``stated`` says of every thought whether it told the next state rightly, and is empty where nobody judges.
    """

    asked: list[TaughtDecision] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    first_scores: list[np.ndarray] = field(default_factory=list)
    thoughts: list[Thought] = field(default_factory=list)
    stated: list[bool] = field(default_factory=list)
    hidden: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    rewards: list[np.ndarray] = field(default_factory=list)
    ends: list[np.ndarray] = field(default_factory=list)
    episodes: list[tuple[int, Ended]] = field(default_factory=list)

    def turns(self, games: Sequence[int], ppo: PPOConfig) -> tuple[Turns, np.ndarray]:
        """What is learned from, and the returns ``(T * N,)`` that the value heads should have said.

        ``games`` ``(N,)`` is the number of each lane's game; the advantages of a game are normalised among themselves.
        """
        values = np.stack(self.values)
        advantages = generalised_advantages(
            np.stack(self.rewards), values, np.stack(self.ends), ppo
        )
        returns = advantages + values[:-1]
        for game in set(games):
            own = np.asarray(games) == game
            advantages[:, own] = normalised(advantages[:, own])
        chances = [row[action] for row, action in zip(self.scores, self.actions, strict=True)]
        reference = tuple(self.first_scores or self.scores)
        numbers = (np.array(self.actions), np.array(chances), advantages.ravel())
        return Turns(*numbers, reference, tuple(self.thoughts)), returns.ravel()

    def of_thoughts(self) -> dict[str, float]:
        """How long the thoughts are, and where it is judged the share of those that state the next state rightly."""
        if not self.thoughts:
            return {}
        judged = {"stated": float(np.mean(self.stated))} if self.stated else {}
        return {"thought_tokens": float(np.mean([len(t) for t in self.thoughts])), **judged}


def play_turns(
    lanes: Sequence[Lane],
    learner: ReinforcedLearner,
    rng: np.random.Generator,
    between: Callable[[], None],
) -> Played:
    """``learner.ppo.steps`` decisions of every lane; ``between`` is called after each step of all of them."""
    played, games = Played(), [lane.game for lane in lanes]
    for _ in range(learner.ppo.steps):
        asked = [lane.asked for lane in lanes]
        decided = learner.decide(asked, rng)
        actions = drawn(decided.scores, rng)
        played.asked.extend(asked)
        played.actions.extend(actions)
        played.scores.extend(decided.scores)
        played.first_scores.extend(decided.first_scores)
        played.thoughts.extend(decided.thoughts)
        played.hidden.append(decided.hidden)
        played.values.append(learner.values(decided.hidden, games))
        _step(lanes, actions, learner, played)
        between()
    played.values.append(learner.worth([lane.asked for lane in lanes], games))
    return played


def _step(
    lanes: Sequence[Lane], actions: Sequence[int], learner: ReinforcedLearner, played: Played
) -> None:
    rewards, ends = np.zeros(len(lanes)), np.zeros(len(lanes))
    for number, (lane, action) in enumerate(zip(lanes, actions, strict=True)):
        rewards[number], ends[number], ended, cut = lane.step(action)
        if learner.state_reward:
            thought = played.thoughts[number - len(lanes)]
            played.stated.append(lane.was_stated(thought.text))
            rewards[number] += learner.state_reward * played.stated[-1]
        if ended is not None:
            played.episodes.append((number, ended))
        if cut is not None:  # the game would have gone on
            rewards[number] += learner.ppo.discount * learner.worth([cut], [lane.game])[0]
    played.rewards.append(rewards)
    played.ends.append(ends)
