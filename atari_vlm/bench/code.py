"""Programs in the sandbox: calls against a bare pipe, whole steps against gymnasium's own CartPole, searches against their peers.

Every case runs on the clock of the wall, since the work is done in two processes, both pinned to the one core of this program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.bench.code_programs import CART_POLE, CART_POLE_BATCH
from atari_vlm.bench.measure import Case, Unit
from atari_vlm.bench.plain_search import PlainSearch
from atari_vlm.bench.plan import ROLLOUT, SEARCH, SIMULATIONS, peer_search, plain_step
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.planning.tree_search import mcts
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.code.model import CodeWorldModel
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_local import LocalProgram
from atari_vlm.wrappers.world_model_env import WorldModelEnv
from atari_vlm.wrappers.world_model_vector_env import WorldModelVectorEnv

CALLS, STEPS = 2000, 1000
ECHO = f"{CART_POLE}\n    def echo(self, value):\n        return value\n"
VECTOR = [0.01, 0.02, 0.03, -0.01]
PLANS, HORIZON = 1024, 30


def cases(peers: dict[str, str]) -> list[Case]:
    """What is measured; ``peers`` may hold ``cwm``, a checkout of the Code World Models repository."""
    return [*_call_cases(), _start_case(), *_env_cases(), *_batch_cases(), *_search_cases(peers)]


class PipeEcho:
    """A process that sends back what it is sent: the floor of every call."""

    _LOOP = "import os\nwhile data := os.read(0, 65536): os.write(1, data)"

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", self._LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()

    def __call__(self, data: bytes) -> bytes:
        """``data`` back."""
        os.write(self._to, data)
        return os.read(self._from, 65536)

    def __del__(self) -> None:
        self._process.communicate()


def _repeated(work: Callable[[], object], count: int = CALLS) -> Unit:
    def unit() -> None:
        for _ in range(count):
            work()

    return unit


def _call_cases() -> list[Case]:
    sandbox, echo = Sandbox(ECHO), PipeEcho()
    vector, listed = np.array(VECTOR), {"state": VECTOR}
    raw, text = vector.tobytes(), b'{"state": [0.01, 0.02, 0.03, -0.01]}'
    return [
        Case("call with 4 floats", "bare pipe echo of the same bytes", _repeated(lambda: sandbox.call("echo", vector)),
             _repeated(lambda: echo(raw)), 3.0, "lower", CALLS, clock="wall", most=50.0),
        Case("call with 4 floats as JSON", "bare pipe echo of the same bytes", _repeated(lambda: sandbox.call("echo", listed)),
             _repeated(lambda: echo(text)), 5.0, "lower", CALLS, clock="wall", most=50.0),
    ]  # fmt: skip


def _start_case() -> Case:
    def start() -> None:
        Sandbox(CART_POLE).close()

    def numpy() -> None:
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)

    return Case("cold start", 'python -c "import numpy"', start, numpy, 1.5, "lower", clock="wall")


def cart_pole(program: str | Sandbox | LocalProgram) -> CodeWorldModel:
    """A program of CartPole as a model that dreams begin in."""
    env = gymnasium.make("CartPole-v1")
    seen = np.stack([env.reset(seed=seed)[0] for seed in range(64)])[:, None]
    start = StartFrames(seen, np.zeros((64, 0), np.int64))
    return CodeWorldModel(
        program,
        observation_space=env.observation_space,
        action_space=env.action_space,
        start=start,
    )


def _played(env: gymnasium.Env[Any, Any]) -> Unit:
    """Steps of an environment that is pushed left and right in turn and reset where it ends."""
    env.reset(seed=0)

    def unit() -> None:
        for action in range(STEPS):
            _, _, terminated, truncated, _ = env.step(action % 2)
            if terminated or truncated:
                env.reset()

    return unit


def _env_cases() -> list[Case]:
    real, sandbox = _played(gymnasium.make("CartPole-v1")), Sandbox(ECHO)
    state = np.array(VECTOR)
    sandbox.call("set_state", state)
    held = _played(WorldModelEnv(cart_pole(CART_POLE)))
    local = _played(WorldModelEnv(cart_pole(LocalProgram(CART_POLE))))
    name = 'gym.make("CartPole-v1")'
    return [
        Case("WorldModelEnv over the sandbox, step", 'bare call("step", a)', held,
             _repeated(lambda: sandbox.call("step", 1), STEPS), 2.0, "lower", STEPS, clock="wall"),
        Case("WorldModelEnv over the sandbox, step", name, held, real, None, "higher", STEPS, clock="wall",
             note="a process boundary alone costs more than a whole step of CartPole, so this ratio has no goal"),
        Case("WorldModelEnv over the same program in process, step", name, local, real, 1.5, "higher", STEPS, clock="wall",
             note="--unsafe-local-code; stretch goal 3x"),
    ]  # fmt: skip


def _played_vector(env: gymnasium.vector.VectorEnv[Any, Any, Any], steps: int) -> Unit:
    env.reset(seed=0)
    pushes = [np.full(env.num_envs, action) for action in (0, 1)]

    def unit() -> None:
        for t in range(steps):
            env.step(pushes[t % 2])

    return unit


def _batch_cases() -> list[Case]:
    real = _played(gymnasium.make("CartPole-v1"))
    sync = _played_vector(gymnasium.make_vec("CartPole-v1", 64, vectorization_mode="sync"), 50)
    rows = _played_vector(WorldModelVectorEnv(cart_pole(CART_POLE), 64), 50)
    many = _played_vector(WorldModelVectorEnv(cart_pole(CART_POLE_BATCH), 1024), 20)
    model, rng = cart_pole(CART_POLE_BATCH), np.random.default_rng(0)
    state = model.init(
        np.full((PLANS, 1, 4), VECTOR, np.float32), np.zeros((PLANS, 0), np.int64), rng=rng
    )
    plans = rng.integers(2, size=(PLANS, HORIZON))
    name = 'gym.make("CartPole-v1")'
    return [
        Case("WorldModelVectorEnv over the sandbox, 64 rows, a row's step", 'make_vec(64, "sync")', rows, sync, 1.5, "higher",
             50 * 64, clock="wall"),
        Case("WorldModelVectorEnv over the sandbox, 1,024 rows with step_batch, a row's step", name, many, real, 3.0, "higher",
             20 * 1024, STEPS, clock="wall", note="stretch goal 15x"),
        Case(f"rollout of {PLANS:,} plans x {HORIZON} steps with step_batch in one crossing, a step", name,
             lambda: model.rollout(state, plans, rng=rng), real, 30.0, "higher", PLANS * HORIZON, STEPS, clock="wall",
             note="stretch goal 100x"),
    ]  # fmt: skip


@dataclass(frozen=True)
class Stepped:
    """A model without its ``rollout``: a crossing for every step."""

    model: CodeWorldModel

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """The model's."""
        return self.model.action_space

    def step(self, state: Any, action: np.ndarray, *, rng: np.random.Generator) -> ModelStep[Any]:
        """The model's."""
        return self.model.step(state, action, rng=rng)


def _search_cases(peers: dict[str, str]) -> list[Case]:
    model = cart_pole(CART_POLE)
    stepped = Stepped(model)
    one = MCTSConfig(SIMULATIONS, depth=30, rollout_steps=ROLLOUT, batch_size=1, discount=0.99)
    name = f"MCTS simulation through the sandbox, {SIMULATIONS} per search"
    if "cwm" in peers:
        peer, peer_name, goal = peer_search(peers["cwm"]), "Code World Models, in process", 8.0
    else:
        plain = PlainSearch(plain_step, 2, depth=30, rollout=ROLLOUT)
        peer, peer_name, goal = (
            lambda: plain.run(VECTOR, SIMULATIONS),
            "our own plain sequential search, no peer given",
            None,
        )
    return [
        Case(f"{name}, batches of 50", peer_name, _search(model, SEARCH), peer, goal, count=SIMULATIONS, clock="wall"),
        Case(f"{name}, batches of 50, rollouts in one crossing", "the same, a crossing a step", _search(model, SEARCH),
             _search(stepped, SEARCH), 1.5, count=SIMULATIONS, clock="wall"),
        Case(f"{name}, one leaf at a time, rollouts in one crossing", "the same, a crossing a step", _search(model, one),
             _search(stepped, one), 5.0, count=SIMULATIONS, clock="wall"),
    ]  # fmt: skip


def _search(model: Any, config: MCTSConfig) -> Unit:
    rng = np.random.default_rng(0)
    state = (model.model if isinstance(model, Stepped) else model).init(
        np.array([[VECTOR]], np.float32), np.zeros((1, 0), np.int64), rng=rng
    )
    return lambda: mcts(model, state, config, rng=rng)
