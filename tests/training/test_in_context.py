import dataclasses
import json

import numpy as np
import pytest

from atari_vlm.agents import VLMAgent
from atari_vlm.agents.in_context.demonstrations import (
    Demonstration,
    DemonstrationLibrary,
    DemonstrationRecorder,
    Example,
    ExampleOptions,
    digest_of,
)
from atari_vlm.agents.in_context.examples import (
    STRATEGIES,
    ExampleIndex,
    InContextOptions,
    SimilarExamplesVLM,
    estimate_tokens,
    example_messages,
    select,
)
from atari_vlm.agents.simple import NoopAgent
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError
from atari_vlm.pil_images import to_image
from atari_vlm.runs.rollout import play_episode
from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import Sampling


def png(value):
    return Image(np.full((64, 64, 3), value, dtype=np.uint8)).png


def demonstration(episode, episode_return, outcomes, frames=1):
    examples = tuple(
        Example(
            episode,
            4 * i,
            tuple(png((40 * episode + i + k) % 256) for k in range(frames)),
            f"Game: Pong\nStep: {4 * i}",
            "UP" if outcome >= 0 else "DOWN",
            outcome,
            window=(4 * i // 40) * 40 + 39 if outcome else None,
        )
        for i, outcome in enumerate(outcomes)
    )
    return Demonstration("Pong", episode, episode, episode_return, 4 * len(outcomes), examples)


def library(*demonstrations):
    memory = DemonstrationLibrary()
    memory.add(demonstrations)
    return memory


LOSING = (
    demonstration(0, -21.0, [-1, -1, 0, 0, 0]),
    demonstration(1, -17.0, [0, 1, 1, 0, -1]),
    demonstration(2, -20.0, [0, 0, 1, -1, -1]),
    demonstration(3, -19.0, [0, 0, 0, -1, 0]),
)


@pytest.fixture(scope="module")
def played():
    """A real episode that only ever loses."""
    recorder = DemonstrationRecorder(7, ExampleOptions(horizon=12, spacing=4, stride=8))
    trajectory = play_episode(
        AtariVLMEnvironment("Pong-v5"), NoopAgent(), seed=0, max_steps=120, on_step=recorder.see
    )
    return trajectory, recorder.finish(trajectory)


def test_ranks_are_relative_to_the_games_own_episodes():
    memory = library(*LOSING)
    assert [d.episode for d in memory.snapshot()] == [1, 3, 2, 0]
    assert [memory.rank(d) for d in LOSING] == [0.125, 0.875, 0.375, 0.625]
    shifted = library(
        *(dataclasses.replace(d, episode_return=d.episode_return + 1000) for d in LOSING)
    )
    assert [d.episode for d in shifted.snapshot()] == [1, 3, 2, 0]


def test_games_that_only_lose_give_examples_too():
    for strategy in ("best", "recent", "reward-centred", "random"):
        chosen = select(
            library(*LOSING).snapshot(), InContextOptions(strategy=strategy, max_examples=4)
        )
        assert len(chosen) == (3 if strategy == "reward-centred" else 4), (
            strategy
        )  # three led to a point
    never_won = library(LOSING[0], LOSING[3]).snapshot()
    chosen = select(never_won, InContextOptions(strategy="reward-centred"))
    assert chosen and all(example.outcome == 0 for example in chosen)


def test_a_real_losing_episode_gives_windows_with_pictures(played):
    trajectory, made = played
    losses = [step for step, reward in enumerate(trajectory.rewards) if reward < 0]
    assert losses and (made.episode_return, made.length) == (-len(losses), 120)
    for example in made.examples:
        ahead = trajectory.rewards[example.step : example.step + 12]
        assert example.outcome == ahead.sum() and example.action == "NOOP"
        assert f"Step: {example.step}" in example.text
        assert example.window is None or (
            example.window in losses and 0 <= example.window - example.step < 12
        )
    assert {loss - ahead for loss in losses for ahead in (0, 4, 8)} <= {
        example.step for example in made.examples
    }
    assert {step for step in range(0, 120, 8)} <= {example.step for example in made.examples}
    assert all(len(example.frames) == 2 for example in made.examples if example.step > 0)


def test_example_pictures_are_the_environments_pixels(played):
    env = AtariVLMEnvironment("Pong-v5")
    observation, _ = env.reset(seed=0)
    shown = to_image(observation["image"])
    for _ in range(8):
        observation = env.step(0)[0]
    example = next(example for example in played[1].examples if example.step == 8)
    assert example.images[-1] == to_image(observation["image"]) and example.images[-1] != shown
    assert example.images[-1].indices is not None and example.images[-1] is example.images[-1]


def test_strategies():
    shown = library(*LOSING).snapshot()

    def episodes(strategy, **more):
        options = InContextOptions(strategy=strategy, max_examples=3, **more)
        return [(example.episode, example.step) for example in select(shown, options)]

    assert {episode for episode, _ in episodes("best", episodes=1)} == {1}
    assert {episode for episode, _ in episodes("recent", episodes=1)} == {3}
    assert {example.outcome for example in select(shown, InContextOptions(max_examples=3))} == {1}
    assert episodes("random") == episodes("random") != episodes("random", seed=5)
    assert episodes("none") == episodes("most-similar-frame") == []
    assert all(episodes(strategy) == sorted(episodes(strategy)) for strategy in STRATEGIES)
    assert select((), InContextOptions()) == ()


def test_the_budget_is_kept():
    shown = library(*(demonstration(n, float(n), [1] * 20, frames=2) for n in range(4))).snapshot()
    for strategy in ("best", "recent", "reward-centred", "random"):
        for limits in (
            {"max_images": 5},
            {"max_tokens": 700},
            {"max_examples": 3},
            {"max_images": 2},
        ):
            options = InContextOptions(strategy=strategy, **limits)
            chosen = select(shown, options)
            assert 1 <= len(chosen) <= options.max_examples
            assert sum(len(example.frames) for example in chosen) <= options.max_images
            assert sum(map(estimate_tokens, chosen)) <= options.max_tokens
    with pytest.raises(ConfigError, match="less than one example"):
        InContextOptions(max_images=1)


def test_the_library_forgets_the_worst_but_keeps_the_latest():
    memory = DemonstrationLibrary(best=3, recent=2)
    for episode in range(10):
        memory.add([demonstration(episode, float(-episode), [0])])
    assert [d.episode for d in memory.demonstrations] == [0, 1, 2, 8, 9]
    assert memory.rank(memory.demonstrations[0]) == 0.95


def test_how_a_round_was_split_does_not_matter():
    once, piecewise = library(*LOSING), DemonstrationLibrary()
    for one in LOSING:
        piecewise.add([one])
    assert digest_of(once.snapshot()) == digest_of(piecewise.snapshot())
    assert digest_of(once.snapshot()) != digest_of(once.snapshot()[1:])


def test_messages():
    example = demonstration(1, 1.0, [0, 2], frames=2).examples[1]
    user, assistant = example_messages([example])
    assert (user.role, assistant.role) == ("user", "assistant")
    assert user.images == example.images and user.text.startswith("Example:\nGame: Pong\nStep: 4")
    assert "reward +2 followed" in user.text and assistant.text.splitlines()[-1] == "ACTION: UP"
    assert json.loads(example_messages([example], "json")[1].text)["action"] == "UP"
    assert example_messages([example], "choice")[1].text == "UP"


class Keeps:
    """Remembers what it was asked."""

    name, capabilities = "keeps", frozenset()

    def __init__(self):
        self.asked = []

    def complete(self, messages, *, sampling):
        self.asked.append(messages)
        return Reply("ACTION: NOOP", "keeps")

    def score_choices(self, messages, choices):
        raise NotImplementedError


def test_examples_come_behind_the_instructions_and_stay_the_same(played):
    vlm = Keeps()
    examples = example_messages(select((played[1],), InContextOptions(max_examples=2)))
    play_episode(
        AtariVLMEnvironment("Pong-v5"), VLMAgent(vlm, examples=examples), seed=1, max_steps=4
    )
    prefixes = [messages[:-1] for messages in vlm.asked]
    assert [message.role for message in prefixes[0]] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert all(prefix == prefixes[0] for prefix in prefixes)
    assert prefixes[0][1].images == examples[0].images


def test_the_most_similar_frames_are_found_at_every_step():
    shown = library(*(demonstration(n, float(n), [1] * 5) for n in range(4))).snapshot()
    vlm = Keeps()
    options = InContextOptions("most-similar-frame", max_examples=1)
    asking = SimilarExamplesVLM(vlm, ExampleIndex(shown, options))
    for value in (40 * 3 + 2, 40 * 2 + 4, 0):
        question = Message.of(
            "user", Image(np.full((64, 64, 3), value, dtype=np.uint8)), "what now?"
        )
        asking.complete([Message.of("system", "rules"), question], sampling=Sampling())
        system, user, assistant, asked = vlm.asked[-1]
        assert (system.text, asked) == ("rules", question) and assistant.text.endswith("ACTION: UP")
        found = int(user.images[0].pixels[0, 0, 0])
        candidates = [40 * n + i for n in (2, 3) for i in range(5)]  # the better half
        assert found == min(candidates, key=lambda candidate: abs(candidate - value))


@pytest.mark.parametrize(
    "wrong", [{"strategy": "bset"}, {"max_examples": 0}, {"candidates": -1}, {"episodes": 0}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        InContextOptions(**wrong)
    with pytest.raises(ConfigError):
        ExampleOptions(horizon=0)
