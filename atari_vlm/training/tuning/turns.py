"""Games played side by side by the model that learns: every decision of all of them is scored in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.stating import Middles, StateReader
from atari_vlm.training.tuning.teaching import NotingVLM, TaughtDecision
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.vlm.local.adapter import THOUGHTS


@dataclass(frozen=True)
class PlayedGame:
    """A game: the name that results give it, and what makes a new environment of it."""

    name: str
    make: Callable[[], Env]


@dataclass(frozen=True)
class Ended:
    """An episode that is over: its return and its length in steps."""

    episode_return: float
    length: int


class Lane:
    """One game after another in :attr:`env`; :attr:`asked` is what the model is to decide now.

    ``seeds`` gives the seed of the n-th episode of the lane. A lane is restored by its episode's number and actions: the game
    is exact. :attr:`game` is the number of its game among those that are played side by side.
    """

    game = 0

    def __init__(
        self,
        env: Env,
        prompt_type: str,
        options: VLMAgentOptions,
        seeds: Callable[[int], int],
        max_steps: int,
    ):
        if options.turns:
            raise ConfigError("games side by side keep no turns in their prompts")
        self.env, self._seeds, self._max_steps = env, seeds, max_steps
        self._vlm = NotingVLM()
        answer = options.answer if options.answer == THOUGHTS else "scores"
        scored = dataclasses.replace(options, answer=answer, decide_every=1)
        self._pupil = VLMAgent(self._vlm, prompt_type=prompt_type, options=scored)
        self._reader: StateReader | None = None
        self._before: Middles = {}
        self._moved: tuple[Middles, Middles] = {}, {}
        self.episode = -1
        self.begin(0)

    def read_states(self, reader: StateReader) -> None:
        """From now on the game's state is read before and after each step."""
        self._reader, self._before = reader, reader.read()

    def was_stated(self, thought: str) -> bool:
        """Whether a thought before the last step stated the state after it; ``False`` where no states are read."""
        return self._reader is not None and self._reader.is_right(thought, *self._moved)

    def begin(self, episode: int) -> None:
        """Begin the lane's n-th episode."""
        self.episode = episode
        self.begin_with(self._seeds(episode))

    def begin_with(self, seed: int) -> None:
        """Begin an episode with a seed, the number staying as it is."""
        self.actions: list[int] = []
        self._total = 0.0
        self._pupil.reset(seed=seed)
        self._observation, _ = self.env.reset(seed=seed)
        self._ask()

    def _ask(self) -> None:
        self._pupil.act(self._observation)
        assert self._vlm.asked is not None
        names = read_actions(self._observation["action_space"])
        self.asked = TaughtDecision(self._vlm.asked[0], names, 0, self.episode)
        if self._reader is not None:
            self._before = self._reader.read()

    def step(self, action: int) -> tuple[float, bool, Ended | None, TaughtDecision | None]:
        """Play: the reward, whether the decision was the episode's last, the episode if so, and where it was cut if it was.

        The next episode has begun then.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._reader is not None:
            self._moved = self._before, self._reader.read()
        self.actions.append(action)
        self._total += float(reward)
        truncated = bool(truncated) or len(self.actions) == self._max_steps
        decision = Decision(action, Source.MODEL)
        over = bool(terminated or truncated)
        self._observe(
            Transition(
                self._observation,
                decision,
                float(reward),
                observation,
                bool(terminated),
                truncated,
                info,
            )
        )
        self._observation = observation
        if not over:
            self._ask()
            return float(reward), False, None, None
        cut = None
        if not terminated:
            self._ask()
            cut = self.asked
        ended = Ended(self._total, len(self.actions))
        self.begin(self.episode + 1)
        return float(reward), True, ended, cut

    def _observe(self, transition: Transition) -> None:
        self._pupil.observe(transition)

    def restore(self, episode: int, actions: Sequence[int]) -> None:
        """Play the episode's first actions again."""
        self.begin(episode)
        for action in actions:
            _, over, _, _ = self.step(int(action))
            if over:
                raise ConfigError("the game does not repeat: its settings are not those of the run")

    def close(self) -> None:
        """Close the game."""
        self.env.close()


def whole_games(
    lanes: Sequence[Lane],
    policy: Callable[[Sequence[TaughtDecision]], list[np.ndarray]],
    episodes: int,
) -> list[float]:
    """Returns of ``episodes`` games, the likeliest answer always taken: the n-th is lane n's, and so on in turn."""
    returns = dict[int, float]()
    while True:
        going = [
            (n, lane) for n, lane in enumerate(lanes) if lane.episode * len(lanes) + n < episodes
        ]
        if not going:
            return [returns[number] for number in range(episodes)]
        scores = policy([lane.asked for _, lane in going])
        for (n, lane), row in zip(going, scores, strict=True):
            number = lane.episode * len(lanes) + n
            _, _, ended, _ = lane.step(int(row.argmax()))
            if ended is not None:
                returns[number] = ended.episode_return


def drawn(scores: Sequence[np.ndarray], rng: np.random.Generator) -> list[int]:
    """An action of each row, drawn from the softmax of its log-probabilities."""
    actions = []
    for row in scores:
        chances = np.exp(row - row.max())
        actions.append(int(rng.choice(len(row), p=chances / chances.sum())))
    return actions


def log_softmax(row: np.ndarray) -> Any:
    """Log-probabilities among the legal answers, float64 ``(A,)``."""
    shifted = row - row.max()
    return shifted - np.log(np.exp(shifted).sum())
