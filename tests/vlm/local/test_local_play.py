"""The families, built offline and loaded as real weights are, play Pong."""

import gymnasium
import pytest

import atari_vlm  # noqa: F401 - registers the ids
from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.checker import check_vlm
from atari_vlm.types import Source

STEPS = 50


def play(agent, steps=STEPS):
    env = gymnasium.make("AtariVLM/Pong-v5", frame_stack=2, max_episode_steps=steps)
    agent.reset(seed=0)
    observation, _ = env.reset(seed=0)
    decisions = []
    for _ in range(steps):
        decisions.append(agent.act(observation))
        observation, _, terminated, truncated, _ = env.step(decisions[-1].action)
        assert not terminated
    assert truncated and observation["text"].count(f"Step: {steps}") == 1
    env.close()
    return decisions


@pytest.mark.parametrize("family", ["qwen2-vl", "llava-next", "video-llava", "idefics2", "glm4v"])
def test_fifty_steps_by_scores(model, family):
    """By default an agent scores the legal actions: every decision is the model's, and repeatable."""
    decisions = play(VLMAgent(model(family), prompt_type="basic"))
    assert len(decisions) == STEPS and all(d.source is Source.MODEL for d in decisions)
    again = play(VLMAgent(model(family, prefix_cache=False), prompt_type="basic"), steps=8)
    assert [d.action for d in again] == [d.action for d in decisions[:8]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["qwen2-vl", "llava-next", "video-llava", "idefics2", "glm4v", "qwen3-vl", "idefics3"]
)
def test_fifty_steps_by_text(model, family):
    """Random weights answer noise: each reply is understood or counted as a fallback, never an exception.

    ``pytest -n 0 -m slow tests/vlm/local/test_local_play.py``
    """
    options = VLMAgentOptions(answer="text", max_tokens=8)
    decisions = play(VLMAgent(model(family), prompt_type="basic", options=options))
    assert {d.source for d in decisions} <= {Source.MODEL, Source.FALLBACK}
    assert all(reply.usage.output_tokens <= 8 for d in decisions for reply in d.replies)
    assert max(reply.usage.cached_tokens for d in decisions for reply in d.replies) > 100


def test_contract(model):
    check_vlm(model("qwen2-vl"))
    check_vlm(model("idefics2", max_batch=1))


@pytest.mark.slow
@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
@pytest.mark.parametrize("family", ["qwen2-vl", "llava-next", "idefics2"])
def test_quantised_on_the_cpu(model, request_of, family, load_in):
    """``pytest -n 0 -m slow tests/vlm/local/test_local_play.py -k quantised``"""
    import numpy as np

    pytest.importorskip("bitsandbytes")
    quantised, whole = model(family, load_in=load_in), model(family)
    names = {type(module).__name__ for module in quantised._engine.model.modules()}
    assert {"4bit": "Linear4bit", "8bit": "Linear8bitLt"}[load_in] in names
    assert quantised.name.endswith(load_in)
    actions = ("NOOP", "FIRE", "RIGHT", "LEFT")
    ours, exact = (vlm.score_choices(request_of(1), actions) for vlm in (quantised, whole))
    np.testing.assert_allclose(ours, exact, atol=1.0)
    assert not np.array_equal(ours, exact)
    assert len(play(VLMAgent(quantised, prompt_type="basic"), steps=3)) == 3
