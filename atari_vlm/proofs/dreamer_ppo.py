"""stable-baselines3's PPO beside a Dreamer, on the same seeds: how many steps of the game it takes to the same goal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm._lazy import require
from atari_vlm.files import atomic_write
from atari_vlm.runs.seeds import eval_seed

_STEPS, _EVERY = 100_000, 2_000


def ppo_one(folder: Path, game: Any, seed: int) -> dict[str, Any]:
    """The curve of stable-baselines3's PPO with its own defaults: steps and mean return of the same number of games."""
    done = folder / f"ppo-{seed}.json"
    if done.is_file():
        measured: dict[str, Any] = json.loads(done.read_text())
        return measured
    ppo = require("stable_baselines3", "dev").PPO("MlpPolicy", game.id, seed=seed, device="cpu")
    curve: list[tuple[int, float]] = []
    while not curve or (curve[-1][1] < game.goal and curve[-1][0] < _STEPS):
        ppo.learn(_EVERY, reset_num_timesteps=False)
        curve.append((int(ppo.num_timesteps), _played(ppo, game, seed)))
    atomic_write(done, json.dumps({"seed": seed, "curve": curve}))
    return {"seed": seed, "curve": curve}


def _played(ppo: Any, game: Any, seed: int) -> float:
    """The mean return of games by PPO's likeliest actions."""
    env, returns = gymnasium.make(game.id), []
    for index in range(game.games):
        observation, _ = env.reset(seed=eval_seed(seed, index))
        over, total = False, 0.0
        while not over:
            action, _ = ppo.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    return float(np.mean(returns))
