"""Planning: scoring plans against bare imagination, tree search against its peer, the emulator as a model against ALE itself."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.bench.measure import Case, Unit
from atari_vlm.bench.plain_search import PlainSearch
from atari_vlm.bench.random_rem import random_rem
from atari_vlm.errors import ConfigError
from atari_vlm.planning.scoring import random_plans, score_plans
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.planning.tree_search import mcts
from atari_vlm.trees import take_rows
from atari_vlm.world_models.base import ModelStep
from atari_vlm.world_models.emulator import EmulatorWorldModel

SIMULATIONS, ROLLOUT = 100, 30
SEARCH = MCTSConfig(SIMULATIONS, depth=30, rollout_steps=ROLLOUT, batch_size=50, discount=0.99)
PLANS, HORIZON = 64, 10


class CartPole:
    """gymnasium's CartPole-v1 as a batched world model; the state is float64 ``(4, B)`` transposed, ``(B, 4)``."""

    observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(
        -np.inf, np.inf, (4,), np.float64
    )
    action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(2)
    frame_skip, reward_transform = 1, "none"

    def init(
        self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator
    ) -> np.ndarray:
        """The last observation of each row."""
        return np.array(observations[:, -1], np.float64)

    def step(
        self, state: np.ndarray, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[np.ndarray]:
        """Euler's method with the constants of Barto, Sutton and Anderson 1983."""
        columns = state.T
        position, speed, angle, turning = columns
        cosine, sine = np.cos(angle), np.sin(angle)
        push = ((20.0 * action - 10.0) + 0.05 * turning * turning * sine) / 1.1
        twist = (9.8 * sine - cosine * push) / (2 / 3 - (0.05 / 1.1) * cosine * cosine)
        following = np.empty_like(columns, order="C")
        following[0] = position + 0.02 * speed
        following[1] = speed + 0.02 * (push - (0.05 / 1.1) * twist * cosine)
        following[2] = angle + 0.02 * turning
        following[3] = turning + 0.02 * twist
        over = (np.abs(following[0]) > 2.4) | (np.abs(following[2]) > 0.20943951)
        return ModelStep(following.T, np.ones(len(state), np.float32), over)

    def decode(self, state: np.ndarray) -> np.ndarray:
        """The state itself."""
        return state


class PlainCartPole:
    """The same game as plain Python, one state per call, behind the interface that the peer's planner wants."""

    action_space, valid_actions = 2, (0, 1)

    def __init__(self) -> None:
        self.state = [0.01, 0.02, 0.03, -0.01]

    def save_state_dict(self) -> dict[str, Any]:
        """A copy of the state."""
        return {"state": list(self.state)}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Back to a copy."""
        self.state = list(kept["state"])

    def step(self, action: int) -> tuple[np.ndarray, tuple[int, ...], float, bool, dict[str, Any]]:
        """One step: frame, legal actions, reward, end, nothing."""
        self.state, over = plain_step(self.state, action)
        return np.array(self.state), self.valid_actions, 1.0, over, {}


def plain_step(state: list[float], action: int) -> tuple[list[float], bool]:
    """:meth:`CartPole.step` for one state, in Python floats."""
    from math import cos, sin

    position, speed, angle, turning = state
    cosine, sine = cos(angle), sin(angle)
    push = ((20.0 * action - 10.0) + 0.05 * turning * turning * sine) / 1.1
    twist = (9.8 * sine - cosine * push) / (2 / 3 - (0.05 / 1.1) * cosine * cosine)
    position, speed = position + 0.02 * speed, speed + 0.02 * (push - (0.05 / 1.1) * twist * cosine)
    angle, turning = angle + 0.02 * turning, turning + 0.02 * twist
    return [position, speed, angle, turning], abs(position) > 2.4 or abs(angle) > 0.20943951


def cases(peers: dict[str, str]) -> list[Case]:
    """What is measured; ``peers`` may hold ``cwm``, a checkout of the Code World Models repository."""
    return [search_case(peers), scoring_case(), *_emulator_cases()]


def search_case(peers: dict[str, str]) -> Case:
    """Simulations of one search on CartPole, random rollouts of at most 30 steps on both sides."""
    model, rng, state = CartPole(), np.random.default_rng(0), np.array([[0.01, 0.02, 0.03, -0.01]])

    def ours() -> None:
        for _ in range(10):
            mcts(model, state, SEARCH, rng=rng)

    name = f"MCTS simulation on CartPole, {SIMULATIONS} per search"
    note = f"leaves in batches of {SEARCH.batch_size}; the floor of 40,000 simulations/s is 25 us"
    if "cwm" not in peers:
        plain = PlainSearch(plain_step, 2, depth=30, rollout=ROLLOUT)
        peer_name = "our own plain sequential search, no peer given"
        return Case(name, peer_name, ours, lambda: plain.run(state[0].tolist(), SIMULATIONS), 1.0,
                    count=10 * SIMULATIONS, peer_count=SIMULATIONS, note=note)  # fmt: skip
    return Case(
        name,
        "Code World Models",
        ours,
        peer_search(peers["cwm"]),
        30.0,
        count=10 * SIMULATIONS,
        peer_count=SIMULATIONS,
        note=note,
    )


def peer_search(root: str) -> Unit:
    """The Code World Models planner on CartPole in plain Python, one search of :data:`SIMULATIONS` a call."""
    module = _peer_module(Path(root))

    def search() -> None:
        simulator = PlainCartPole()
        module.StochasticMCTS(
            np.array(simulator.state), simulator, simulator.valid_actions, 1.0, 0.99, ROLLOUT
        ).run(SIMULATIONS)

    return search


def _peer_module(root: Path) -> Any:
    """The peer's ``src/mcts/mcts.py``, loaded by itself; a logger that does nothing stands in where its own is missing."""
    file = root / "src" / "mcts" / "mcts.py"
    if not file.is_file():
        raise ConfigError(f"--peer cwm=PATH is a checkout of code-world-models; there is no {file}")
    if importlib.util.find_spec("mloggers") is None:
        quiet: Any = types.ModuleType("mloggers")
        quiet.LogLevel = types.SimpleNamespace(WARN=0)
        quiet.ConsoleLogger = _Silent
        sys.modules["mloggers"] = quiet
    spec = importlib.util.spec_from_file_location("cwm_peer_mcts", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Silent:
    """A logger that costs nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def debug(self, *_: Any) -> None:
        """Nothing."""

    error = debug


def scoring_case() -> Case:
    """``score_plans`` on REM against the same model stepped bare."""
    model = _Endless(*random_rem("f32"))
    rng = np.random.default_rng(0)
    height, width, channels = model.observation_space.shape
    state = model.init(
        np.zeros((1, 1, height, width, channels), np.uint8), np.zeros((1, 0), np.int64), rng=rng
    )
    plans = random_plans(model.action_space, PLANS, HORIZON, rng)

    def bare() -> None:
        rows = take_rows(state, np.zeros(PLANS, np.int64))
        for t in range(HORIZON):
            rows = model.step(rows, plans[:, t], rng=rng).state

    return Case(
        f"score_plans, {PLANS} plans x {HORIZON} steps, REM preset rem",
        "bare batched imagination",
        lambda: score_plans(model, state, plans, rng=rng),
        bare,
        1.15,
        better="lower",
        note="random weights, predicted ends left out on both sides, so that all steps are made",
    )


class _Endless:
    """A world model that never ends, so that scoring cannot save steps that the bare imagination makes."""

    def __init__(self, model: Any):
        self._model = model
        self.observation_space, self.action_space = model.observation_space, model.action_space
        self.frame_skip, self.reward_transform = model.frame_skip, model.reward_transform
        self.init, self.decode = model.init, model.decode

    def step(self, state: Any, action: np.ndarray, *, rng: np.random.Generator) -> ModelStep[Any]:
        """The model's step without its end."""
        step = self._model.step(state, action, rng=rng)
        return ModelStep(step.state, step.reward, np.zeros_like(step.terminated))


def _emulator_cases() -> list[Case]:
    games = ("Breakout", "MsPacman", "Pong")
    return [*(emulator_case(game) for game in games), *(rollout_case(game) for game in games)]


def rollout_case(game: str) -> Case:
    """A step of a plan that :class:`EmulatorWorldModel` follows as a whole, against ALE playing the same four frames."""
    env = gymnasium.make(f"AtariVLM/{game}-v5", repeat_action_probability=0.0, max_episode_steps=-1)
    env.reset(seed=0)
    model, rng = EmulatorWorldModel(env), np.random.default_rng(0)
    state = model.init(np.zeros((2, 1)), np.zeros((2, 0)), rng=rng)
    ale: Any = env.unwrapped.ale  # type: ignore[attr-defined]
    start, joystick = ale.cloneState(), ale.getMinimalActionSet()[2]
    plans = np.full((2, HORIZON), 2)

    def ours() -> None:
        for _ in range(5):
            model.rollout(state, plans, rng=rng)

    def bare() -> None:
        for _ in range(10):
            ale.restoreState(start)
            for _ in range(4 * HORIZON):
                ale.act(joystick)

    name = f"emulator rollout of {HORIZON} steps, {game}"
    return Case(name, "ALE's act x 4", ours, bare, 1.15, better="lower", count=10 * HORIZON)


def emulator_case(game: str) -> Case:
    """A step of :class:`EmulatorWorldModel`, restore included, against ALE playing the same four frames."""
    env = gymnasium.make(f"AtariVLM/{game}-v5", repeat_action_probability=0.0, max_episode_steps=-1)
    env.reset(seed=0)
    model, rng = EmulatorWorldModel(env), np.random.default_rng(0)
    state = model.step(
        model.init(np.zeros((2, 1)), np.zeros((2, 0)), rng=rng), np.array([1, 1]), rng=rng
    ).state
    ale: Any = env.unwrapped.ale  # type: ignore[attr-defined]
    ale.restoreState(state.snapshot[0])
    start = ale.cloneState()
    joystick, actions = ale.getMinimalActionSet()[2], np.array([2, 2])

    def ours() -> None:
        for _ in range(50):
            model.step(state, actions, rng=rng)

    def bare() -> None:
        ale.restoreState(start)
        for _ in range(400):
            ale.act(joystick)

    return Case(
        f"emulator step + restore, {game}",
        "ALE's act x 4",
        ours,
        bare,
        1.3,
        better="lower",
        count=100,
    )
