"""Environments: CPU time of a step, against ALE itself and against the vector environments people use.

Every unit of work is one agent step of four emulator frames with random actions, sticky actions at 0.25, and resets where
episodes end. ``bare ALE`` is ``ALEInterface.act`` with ALE's own frame skip; nothing is read.
"""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py import roms

from atari_vlm._lazy import require
from atari_vlm.bench.measure import Case, Unit
from atari_vlm.env.environment import AtariVLMEnvironment

STEPS = 400
GAMES = ("Pong", "Breakout")
NUM_ENVS = 8


def cases(peers: dict[str, str]) -> list[Case]:
    """All comparisons; ``peers`` is not used, every peer is a package."""
    all_cases = []
    for game in GAMES:
        all_cases += [
            _rgb(game, maximum=False),
            _rgb(game, maximum=True),
            _default(game),
            _against_ale(game),
        ]
    return [*all_cases, _against_sb3()]


def _rgb(game: str, *, maximum: bool) -> Case:
    env = AtariVLMEnvironment(
        game, resize_shape=None, frame_stack=1, image_format="numpy", two_frame_maximum=maximum
    )
    what = "two-frame maximum" if maximum else "no preprocessing"
    note = (
        f"AtariVLMEnvironment(resize_shape=None, frame_stack=1, image_format='numpy', two_frame_maximum={maximum}), called "
        "directly: RGB at the screen's size as image and as frames, facts, action list, info"
    )
    return _against_bare(f"RGB env, {what}, {game}", game, env, 1.15, note)


def _default(game: str) -> Case:
    env = gymnasium.make(f"AtariVLM/{game}-v5")
    note = "gymnasium.make's wrappers included: PIL image 224 x 224, 4 stacked frames uint8 (4, 224, 224, 3), facts, action list"
    return _against_bare(f"default dict observation, {game}", game, env, 2.0, note)


def _against_bare(name: str, game: str, env: Any, goal: float, note: str) -> Case:
    ours, bare = _episodes(env), _bare(game)
    return Case(name, "bare ALE", ours, bare, goal, "lower", STEPS, note=note)


def _against_ale(game: str) -> Case:
    ours = gymnasium.make_vec(f"AtariVLM/{game}-v5", num_envs=NUM_ENVS)
    peer = ale_py.AtariVectorEnv(
        _rom(game),
        NUM_ENVS,
        repeat_action_probability=0.25,
        noop_max=0,
        use_fire_reset=False,
        reward_clipping=False,
    )
    note = f"{NUM_ENVS} games, gray 84 x 84 area average, stack of 4, one core for its threads and for ours"
    return Case(
        f"make_vec fast path, {game}",
        "ale_py AtariVectorEnv",
        _vector(ours),
        _vector(peer),
        1.0,
        "lower",
        STEPS,
        note=note,
    )


def _against_sb3() -> Case:
    make_atari_env = require("stable_baselines3.common.env_util", "dev").make_atari_env
    stack = require("stable_baselines3.common.vec_env", "dev").VecFrameStack
    ours = gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=NUM_ENVS)
    peer = stack(make_atari_env("PongNoFrameskip-v4", n_envs=NUM_ENVS, seed=0), 4)
    return Case(
        "make_vec fast path, Pong (speed-up)",
        "stable-baselines3 make_atari_env + VecFrameStack, DummyVecEnv",
        _vector(ours),
        _sb3(peer),
        1.4,
        "higher",
        STEPS,
        note=f"{NUM_ENVS} games each; both 84 x 84 gray, maximum of two frames, stack of 4",
    )


def _rom(game: str) -> str:
    rom: str = gymnasium.spec(f"ALE/{game}-v5").kwargs["game"]
    return rom


def _bare(game: str) -> Unit:
    """ALE with its own frame skip, nothing read but whether the game is over."""
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 1)
    ale.setInt("frame_skip", 4)
    ale.setFloat("repeat_action_probability", 0.25)
    ale.loadROM(roms.get_rom_path(_rom(game)))
    ale.reset_game()
    names = ale.getMinimalActionSet()
    actions = [names[i] for i in np.random.default_rng(0).integers(len(names), size=STEPS)]

    def work() -> None:
        for action in actions:
            ale.act(action)
            if ale.game_over():
                ale.reset_game()

    return work


def _episodes(env: gymnasium.Env[Any, Any]) -> Unit:
    env.reset(seed=1)
    count = int(env.action_space.n)  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(count, size=STEPS).tolist()

    def work() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return work


def _vector(envs: Any) -> Unit:
    """``STEPS`` steps of single games, all games of a vector environment together."""
    envs.reset(seed=1)
    actions = np.random.default_rng(0).integers(
        envs.single_action_space.n, size=(STEPS // NUM_ENVS, NUM_ENVS)
    )

    def work() -> None:
        for row in actions:
            envs.step(row)

    return work


def _sb3(envs: Any) -> Unit:
    envs.reset()
    actions = np.random.default_rng(0).integers(
        envs.action_space.n, size=(STEPS // NUM_ENVS, NUM_ENVS)
    )

    def work() -> None:
        for row in actions:
            envs.step(row)

    return work
