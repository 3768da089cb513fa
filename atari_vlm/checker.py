"""Hold an implementation to its protocol: three lines in somebody's own tests.

``check_vlm(my_vlm)``, ``check_agent(make_agent, env)``, ``check_world_model(my_model)``: each raises
``ContractError`` naming the first broken promise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import gymnasium
import numpy as np

from atari_vlm.agents.base import Agent
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import ContractError, NotSupportedError
from atari_vlm.types import Decision, FinishReason, Image, Message, Reply, Source, Transition
from atari_vlm.vlm.base import VLM, Capability, Sampling
from atari_vlm.world_models.base import ModelStep, StartFrames, WorldModel, map_leaves, take_rows

_ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")


def _require(truth: bool, promise: str) -> None:
    if not truth:
        raise ContractError(promise)


def example_messages(step: int = 1) -> tuple[Message, ...]:
    """A small request such as an agent sends: instructions, one picture, the facts."""
    pixels = np.zeros((210, 160, 3), np.uint8)
    pixels[100 + step % 50 : 104 + step % 50, 80:82] = 236
    facts = Facts("Pong", step=step, last_action="NOOP")
    return (
        Message.of(
            "system", f"You play Pong. Legal actions:\n{list_actions(_ACTIONS)}\nEnd with the line ACTION: <NAME>."
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
    _require(before == [(m.role, m.text, [i.digest for i in m.images]) for m in messages], "messages are not changed")
    _check_scores(vlm, messages)

    def ask(step: int) -> Reply:
        return vlm.complete(example_messages(step), sampling=Sampling(max_tokens=64))

    with ThreadPoolExecutor(threads) as pool:
        for reply in pool.map(ask, range(threads)):
            _check_reply(reply)


def _check_reply(reply: Reply) -> None:
    _require(isinstance(reply, Reply), f"complete() returns a Reply, not {type(reply).__name__}")
    _require(isinstance(reply.text, str), "Reply.text is a string, also when the model said nothing")
    _require(reply.finish_reason in get_args(FinishReason), f"finish_reason is one of {get_args(FinishReason)}")
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
    _require(isinstance(scores, np.ndarray) and scores.shape == (len(_ACTIONS),), "scores are an array (n,)")
    _require(bool(np.isfinite(scores).all()), "scores are finite")
    _require(bool((scores <= 1e-6).all()), "scores are log-probabilities")


def check_agent(make: Callable[[], Agent], env: gymnasium.Env[Any, Any], *, steps: int = 20, seed: int = 0) -> None:
    """Check the :class:`~atari_vlm.agents.base.Agent` protocol by playing ``steps`` steps twice.

    ``make`` builds a fresh agent. Two agents with one seed must decide alike in the same episode.
    """
    first, second = _play(make(), env, steps, seed), _play(make(), env, steps, seed)
    alike = len(first) == len(second) and all(map(np.array_equal, *([d.action for d in ds] for ds in (first, second))))
    _require(alike, "an agent is deterministic given its seed")


def _play(agent: Agent, env: gymnasium.Env[Any, Any], steps: int, seed: int) -> list[Decision]:
    _require(isinstance(agent, Agent), "an agent has reset(), act() and observe()")
    agent.reset(seed=seed)
    observation, _ = env.reset(seed=seed)
    decisions = []
    for _ in range(steps):
        decision = agent.act(observation)
        _require(isinstance(decision, Decision), f"act() returns a Decision, not {type(decision).__name__}")
        _require(isinstance(decision.source, Source), "Decision.source is a Source")
        _require(bool(env.action_space.contains(decision.action)), f"action {decision.action!r} is legal")
        following, reward, terminated, truncated, info = env.step(decision.action)
        agent.observe(Transition(observation, decision, float(reward), following, terminated, truncated, info))
        decisions.append(dataclasses.replace(decision, replies=()))
        observation = following
        if terminated or truncated:
            break
    return decisions


def check_world_model(
    model: WorldModel[Any], start: StartFrames | None = None, *, rows: int = 4, steps: int = 6, seed: int = 0
) -> None:
    """Check the :class:`~atari_vlm.world_models.base.WorldModel` protocol on ``rows`` rows for ``steps`` steps.

    ``start`` is what dreams begin from (default: the model's own start frames). Checked are spaces, shapes and types, that a call
    changes nothing it was given, that equal seeds give equal results, and that rows do not see one another: with equal
    random numbers row ``i`` stays the same when the *other* rows are given other contexts and other actions. A subset of the
    rows in another order must give those rows (but for rounding), unless the model draws random numbers, which it may hand to
    other rows then: it draws when one of 16 seeds gives something else.
    """
    _check_declaration(model)
    start = start or getattr(model, "start", None)
    _require(start is not None, "a model without start frames is checked with start=StartFrames(...)")
    assert start is not None
    chosen = np.arange(rows) % len(start.observations)
    context = (start.observations[chosen], start.actions[chosen])
    rng = np.random.default_rng(seed)
    actions = np.stack([_some_actions(model.action_space, rows, rng) for _ in range(steps)])
    first = _dream(model, context, actions, seed)
    for name, one, other in zip(_PARTS, first, _dream(model, context, actions, seed), strict=True):
        _require(np.array_equal(one, other), f"equal seeds give equal {name}")
    _check_rows(model, start, (chosen, actions), seed, first)
    if wrong := _wrong_in_subset(model, context, actions, seed, first):
        others = (_dream(model, context, actions, seed + k) for k in range(1, 17))
        draws = any(not all(map(np.array_equal, first, other)) for other in others)
        _require(draws, f"{wrong} of a subset of rows are the subset of the {wrong}")


_PARTS = ("frames", "rewards", "ends")
_ROUNDING = {"frames": 1.0, "rewards": 1e-4, "ends": 0.0}  # another batch size may round otherwise


def _check_declaration(model: WorldModel[Any]) -> None:
    """Attributes, before anything is called."""
    _require(
        isinstance(model, WorldModel), "a world model has spaces, frame_skip, reward_transform, init, step, decode"
    )
    for name in ("observation_space", "action_space"):
        _require(isinstance(getattr(model, name), gymnasium.Space), f"{name} is a gymnasium space")
    _require(isinstance(model.frame_skip, int) and model.frame_skip >= 1, "frame_skip is a whole number of at least 1")
    _require(model.reward_transform in ("none", "sign"), "reward_transform is 'none' or 'sign'")
    names, n = getattr(model, "action_names", None), getattr(model.action_space, "n", None)
    _require(names is None or len(names) == n, f"action_names has one name for each of the {n} actions")


def _some_actions(space: gymnasium.Space[Any], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random actions: int64 ``(rows,)``, or float32 ``(rows, A)`` from a box."""
    space.seed(int(rng.integers(2**31)))
    drawn = np.stack([np.asarray(space.sample()) for _ in range(rows)])
    return drawn.astype(np.int64) if isinstance(space, gymnasium.spaces.Discrete) else drawn.astype(np.float32)


def _dream(
    model: WorldModel[Any], context: tuple[np.ndarray, np.ndarray], actions: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``(T + 1, B, ...)``, rewards ``(T, B)`` and ends ``(T, B)``; everything on the way is checked."""
    n = len(context[0])
    rng = np.random.default_rng(seed)
    given = [array.copy() for array in context]
    state = model.init(*context, rng=rng)
    _require(all(map(np.array_equal, given, context)), "init() does not change its context")
    frames, rewards, ends = [_frames(model, state, n)], [], []
    for action in actions:
        before, kept = _content(state), action.copy()
        step = model.step(state, action, rng=rng)
        _require(_content(state) == before, "step() does not change the state that it is given")
        _require(np.array_equal(action, kept), "step() does not change the actions that it is given")
        _check_step(step, n)
        state = step.state
        frames.append(_frames(model, state, n))
        rewards.append(np.array(step.reward))
        ends.append(np.array(step.terminated))
    return np.stack(frames), np.stack(rewards), np.stack(ends)


def _frames(model: WorldModel[Any], state: Any, n: int) -> np.ndarray:
    """The decoded rows, which must be those of the space, and be nobody else's memory."""
    before = _content(state)
    frames, space = model.decode(state), model.observation_space
    _require(isinstance(frames, np.ndarray), f"decode() returns an array, not {type(frames).__name__}")
    shape = (n, *(space.shape or ()))
    _require(frames.shape == shape and frames.dtype == space.dtype, f"decode() returns {space.dtype} {shape}")
    _require(all(space.contains(frame) for frame in frames), "decoded rows lie in observation_space")
    kept = frames.copy()
    if frames.flags.writeable:
        frames[...] = 0
    _require(_content(state) == before, "decode() changes nothing, and what it returns is not the state's own memory")
    _require(np.array_equal(model.decode(state), kept), "decode() of one state is always the same")
    return kept


def _check_step(step: Any, n: int) -> None:
    _require(isinstance(step, ModelStep), f"step() returns a ModelStep, not {type(step).__name__}")
    for name, dtype in (("reward", np.float32), ("terminated", np.bool_)):
        value = getattr(step, name)
        fits = isinstance(value, np.ndarray) and value.shape == (n,) and value.dtype == dtype
        _require(fits, f"{name} is an array of {np.dtype(dtype)} ({n},)")
    _require(bool(np.isfinite(step.reward).all()), "rewards are finite")


def _check_rows(
    model: WorldModel[Any],
    start: StartFrames,
    chosen: tuple[np.ndarray, np.ndarray],
    seed: int,
    first: tuple[np.ndarray, ...],
) -> None:
    """Row 0 and the last row stay what they were while the rows between them get other contexts and actions."""
    rows, actions = chosen
    others = slice(1, max(1, len(rows) - 1))
    rows, changed = rows.copy(), actions.copy()
    rows[others] = (rows[others] + 1) % len(start.observations)
    changed[:, others] = actions[::-1, others]
    if isinstance(model.action_space, gymnasium.spaces.Discrete):
        changed[:, others] = (actions[:, others] + 1) % int(model.action_space.n)
    again = _dream(model, (start.observations[rows], start.actions[rows]), changed, seed)
    for name, one, other in zip(_PARTS, first, again, strict=True):
        alike = np.array_equal(one[:, [0, -1]], other[:, [0, -1]])
        _require(alike, f"{name} of a row depend on that row only; they changed with the rows beside it")


def _wrong_in_subset(
    model: WorldModel[Any],
    context: tuple[np.ndarray, np.ndarray],
    actions: np.ndarray,
    seed: int,
    first: tuple[np.ndarray, ...],
) -> str:
    """Take rows out of a state halfway and go on; the first part that differs from what they did before, or ``""``."""
    rng, half = np.random.default_rng(seed), len(actions) // 2
    state = model.init(*context, rng=rng)
    for action in actions[:half]:
        state = model.step(state, action, rng=rng).state
    rows = np.arange(len(context[0]))[::-1][: (len(context[0]) + 1) // 2]
    state = take_rows(state, rows)
    for t in range(half, len(actions)):
        step = model.step(state, actions[t, rows], rng=rng)
        _check_step(step, len(rows))
        state = step.state
        found = (_frames(model, state, len(rows)), step.reward, step.terminated)
        expected = (first[0][t + 1, rows], first[1][t, rows], first[2][t, rows])
        for name, one, other in zip(_PARTS, expected, found, strict=True):
            if not np.allclose(one.astype(np.float64), other.astype(np.float64), rtol=1e-4, atol=_ROUNDING[name]):
                return name
    return ""


def _content(state: Any) -> list[Any]:
    """Every leaf of a state as something that can be compared."""
    leaves: list[Any] = []

    def add(leaf: Any) -> Any:
        array = leaf if isinstance(leaf, np.ndarray) else leaf.detach().cpu().float().numpy()
        leaves.append([id(item) for item in array.ravel()] if array.dtype == object else array.tobytes())
        return leaf

    map_leaves(add, state)
    return leaves
