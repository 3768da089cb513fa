"""The in-context learner: it does what the most similar example did, so examples in the prompt show in the score."""

import json
import re

import gymnasium
import numpy as np
import pytest

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.agents import VLMAgent
from atari_vlm.agents.vlm_agent import answer_schema
from atari_vlm.checker import check_vlm
from atari_vlm.description import Facts, list_actions, read_actions
from atari_vlm.pil_images import to_image
from atari_vlm.types import Image, Message
from atari_vlm.vlm import NearestExampleVLM, ScriptedVLM
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.nearest_example import distances

NAMES = ("NOOP", "FIRE", "RIGHT", "LEFT")


def screen(x, y=100):
    pixels = np.full((210, 160, 3), (144, 72, 17), np.uint8)
    pixels[y : y + 8, x : x + 8] = 236
    return Image(pixels)


def example(image, action, form="ACTION: {}"):
    answer = (
        json.dumps({"reasoning": "", "action": action}) if form == "json" else form.format(action)
    )
    return Message.of("user", image, f"Example:\n{Facts('Pong').to_text()}"), Message.of(
        "assistant", answer
    )


def ask(examples, question, **sampling):
    messages = [message for pair in examples for message in pair]
    last = Message.of("user", question, f"{list_actions(NAMES)}\n{Facts('Pong').to_text()}")
    return NearestExampleVLM().complete([*messages, last], sampling=Sampling(**sampling)).text


def test_keeps_the_protocol():
    check_vlm(NearestExampleVLM())


@pytest.mark.parametrize("form", ["ACTION: {}", "The ball falls.\nACTION: {}", "{}", "json"])
def test_does_what_the_nearest_example_did(form):
    examples = [
        example(screen(20), "LEFT", form),
        example(screen(70), "FIRE", form),
        example(screen(120), "RIGHT", form),
    ]
    for x, action in (
        (12, "LEFT"),
        (30, "LEFT"),
        (60, "FIRE"),
        (85, "FIRE"),
        (110, "RIGHT"),
        (140, "RIGHT"),
    ):
        assert ask(examples, screen(x)).endswith(f"ACTION: {action}")


def test_of_equals_the_latest():
    examples = [
        example(screen(40), "LEFT"),
        example(screen(40), "RIGHT"),
        example(screen(100), "FIRE"),
    ]
    assert ask(examples, screen(40)).endswith("ACTION: RIGHT")


def test_without_examples_it_says_so():
    text = ask([], screen(40))
    assert "no examples" in text and text.endswith("ACTION: NOOP")


def test_answers_without_a_legal_action_are_no_examples():
    examples = [
        example(screen(40), "JUMP"),
        example(screen(100), "FIRE"),
        example(screen(40), "LEFT", "I think {} is good"),
    ]
    assert ask(examples, screen(40)).endswith("ACTION: FIRE")


def test_json_when_a_schema_asks_for_it():
    reply = json.loads(ask([example(screen(40), "LEFT")], screen(44), schema=answer_schema(NAMES)))
    assert reply["action"] == "LEFT" and "Example 1 of 1" in reply["reasoning"]


def test_distance_grows_with_the_way_between_objects():
    far = distances([screen(20)], [[screen(x)] for x in (20, 24, 40, 80)])
    assert far[0] == 0 and (np.diff(far) > 0).all()


def test_the_picture_before_counts_where_both_have_one():
    to_left, to_right = [screen(60), screen(50)], [screen(40), screen(50)]
    assert np.argmin(distances([screen(42), screen(50)], [to_left, to_right])) == 1
    assert np.ptp(distances([screen(50)], [to_left, to_right])) == 0


def test_pictures_of_other_sizes():
    small = Image(np.zeros((20, 30, 3), np.uint8))
    assert distances([small], [[screen(10)], [small]]).shape == (2,)


def demonstrations(count, steps):
    """Examples from the scripted player's Pong: moments at which the ball is about to arrive."""
    env, agent = gymnasium.make("AtariVLM/Pong-v5"), VLMAgent(ScriptedVLM())
    agent.reset(seed=100)
    observation, _ = env.reset(seed=100)
    before, found = observation, []
    for _ in range(steps):
        decision = agent.act(observation)
        arrival = re.search(r"in (\d+) steps", decision.proposal.reasoning)
        if arrival and int(arrival[1]) <= 7:
            images = (to_image(before["image"]), to_image(observation["image"]))
            name = read_actions(observation["action_space"])[decision.action]
            question = Message.of("user", *images, f"Example:\n{observation['text']}")
            found.append((question, Message.of("assistant", f"ACTION: {name}")))
        before = observation
        observation, _, terminated, truncated, _ = env.step(decision.action)
        if terminated or truncated:
            break
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return [message for index in chosen for message in found[index]]


def pong_return(examples, seed, steps):
    env, agent = (
        gymnasium.make("AtariVLM/Pong-v5"),
        VLMAgent(NearestExampleVLM(), examples=examples),
    )
    agent.reset(seed=seed)
    observation, _ = env.reset(seed=seed)
    total = 0.0
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation).action)
        total += reward
        if terminated or truncated:
            break
    return total


def test_demonstrations_reach_the_model():
    examples = demonstrations(48, steps=2000)
    assert pong_return(examples, 1, 350) > pong_return([], 1, 350) + 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_demonstrations_beat_none_on_the_same_seeds():
    """pytest -n 0 -s -m slow tests/vlm/test_nearest_example.py"""
    examples = demonstrations(48, steps=3000)
    gains = [pong_return(examples, seed, 400) - pong_return([], seed, 400) for seed in range(8)]
    print(
        f"gain in return over 400 steps, {len(examples) // 2} examples, seeds 0-7: {gains}, mean {np.mean(gains):.2f}"
    )
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / len(gains) ** 0.5
