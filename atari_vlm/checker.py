"""Hold an implementation to its protocol: three lines in somebody's own tests.

``check_vlm(my_vlm)``, ``check_agent(make_agent, env)``, ``check_world_model(my_model)``,
``check_learner(make_learner)``: each raises ``ContractError`` naming the first broken promise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import gymnasium
import numpy as np

from atari_vlm._lazy import load
from atari_vlm.agents.base import Agent
from atari_vlm.checker_models import check_world_model
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import NotSupportedError
from atari_vlm.errors import require as _require
from atari_vlm.types import Decision, FinishReason, Image, Message, Reply, Source, Transition
from atari_vlm.vlm.base import VLM, Capability, Sampling

__all__ = ["check_agent", "check_learner", "check_vlm", "check_world_model", "example_messages"]
_LEARNER = "atari_vlm.world_models.learned.checking:check_learner"
_ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")


def check_learner(make_learner: Callable[[Any], Any], *, updates: int = 2, seed: int = 0) -> None:
    """Check the :class:`~atari_vlm.world_models.learned.learner.Learner` protocol on random play; see
    :func:`atari_vlm.world_models.learned.checking.check_learner`. ``make_learner`` takes a workplace.
    """
    load(_LEARNER)(make_learner, updates=updates, seed=seed)


def example_messages(step: int = 1) -> tuple[Message, ...]:
    """A small request such as an agent sends: instructions, one picture, the facts."""
    pixels = np.zeros((210, 160, 3), np.uint8)
    pixels[100 + step % 50 : 104 + step % 50, 80:82] = 236
    facts = Facts("Pong", step=step, last_action="NOOP")
    return (
        Message.of(
            "system",
            f"You play Pong. Legal actions:\n{list_actions(_ACTIONS)}\nEnd with the line ACTION: <NAME>.",
        ),
        Message.of("user", Image(pixels), facts.to_text()),
    )


def check_vlm(vlm: VLM, *, threads: int = 4) -> None:
    """Check the :class:`~atari_vlm.vlm.base.VLM` protocol with a few small requests (about ``threads + 3`` calls)."""
    _require(isinstance(vlm, VLM), "a VLM has name, capabilities, complete() and score_choices()")
    _require(isinstance(vlm.name, str) and bool(vlm.name), "name is a non-empty string")
    unknown = set(vlm.capabilities) - set(get_args(Capability))
    _require(not unknown, f"capabilities are among {get_args(Capability)}, not {sorted(unknown)}")
    messages = example_messages()
    before = [(m.role, m.text, [i.digest for i in m.images]) for m in messages]
    _check_reply(vlm.complete(messages, sampling=Sampling(max_tokens=64)))
    _require(
        before == [(m.role, m.text, [i.digest for i in m.images]) for m in messages],
        "messages are not changed",
    )
    _check_scores(vlm, messages)

    def ask(step: int) -> Reply:
        return vlm.complete(example_messages(step), sampling=Sampling(max_tokens=64))

    with ThreadPoolExecutor(threads) as pool:
        for reply in pool.map(ask, range(threads)):
            _check_reply(reply)


def _check_reply(reply: Reply) -> None:
    _require(isinstance(reply, Reply), f"complete() returns a Reply, not {type(reply).__name__}")
    _require(
        isinstance(reply.text, str), "Reply.text is a string, also when the model said nothing"
    )
    _require(
        reply.finish_reason in get_args(FinishReason),
        f"finish_reason is one of {get_args(FinishReason)}",
    )
    _require(reply.latency_s >= 0, "latency_s is not negative")
    _require(reply.cost_usd is None or reply.cost_usd >= 0, "cost_usd is None or not negative")
    _require(Reply.from_dict(reply.as_dict()) == reply, "a reply survives as_dict / from_dict")


def _check_scores(vlm: VLM, messages: tuple[Message, ...]) -> None:
    try:
        scores = vlm.score_choices(messages, _ACTIONS)
    except NotSupportedError:
        _require("scores" not in vlm.capabilities, "a VLM that lists 'scores' scores choices")
        return
    _require("scores" in vlm.capabilities, "a VLM that scores choices lists 'scores'")
    _require(
        isinstance(scores, np.ndarray) and scores.shape == (len(_ACTIONS),),
        "scores are an array (n,)",
    )
    _require(bool(np.isfinite(scores).all()), "scores are finite")
    _require(bool((scores <= 1e-6).all()), "scores are log-probabilities")


def check_agent(
    make: Callable[[], Agent], env: gymnasium.Env[Any, Any], *, steps: int = 20, seed: int = 0
) -> None:
    """Check the :class:`~atari_vlm.agents.base.Agent` protocol by playing ``steps`` steps twice.

    ``make`` builds a fresh agent. Two agents with one seed must decide alike in the same episode.
    """
    first, second = _play(make(), env, steps, seed), _play(make(), env, steps, seed)
    alike = len(first) == len(second) and all(
        map(np.array_equal, *([d.action for d in ds] for ds in (first, second)))
    )
    _require(alike, "an agent is deterministic given its seed")


def _play(agent: Agent, env: gymnasium.Env[Any, Any], steps: int, seed: int) -> list[Decision]:
    _require(isinstance(agent, Agent), "an agent has reset(), act() and observe()")
    agent.reset(seed=seed)
    observation, _ = env.reset(seed=seed)
    decisions = []
    for _ in range(steps):
        decision = agent.act(observation)
        _require(
            isinstance(decision, Decision),
            f"act() returns a Decision, not {type(decision).__name__}",
        )
        _require(isinstance(decision.source, Source), "Decision.source is a Source")
        _require(
            bool(env.action_space.contains(decision.action)), f"action {decision.action!r} is legal"
        )
        following, reward, terminated, truncated, info = env.step(decision.action)
        agent.observe(
            Transition(observation, decision, float(reward), following, terminated, truncated, info)
        )
        decisions.append(dataclasses.replace(decision, replies=()))
        observation = following
        if terminated or truncated:
            break
    return decisions
