"""Play any id in a window, watch an agent play it, or record one without a display.

    python -m atari_vlm.play --id AtariVLM/Pong-v5
    python -m atari_vlm.play --id AtariVLM/Breakout-v5 --agent scripted
    python -m atari_vlm.play --id AtariVLM/Pong-v5 --agent scripted --record pong.mp4 --steps 300 --seed 1

Keys: the game's own (Atari: w a s d or the arrows, and space; others: the number of the action), ``.`` pause, Enter a new
episode, ``,`` begin and end a recording, Escape the end. A recording is an mp4 and beside it an npz with what happened.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import tyro

from atari_vlm._lazy import load
from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import SIMPLE_NAMES, make_agent
from atari_vlm.errors import AtariVLMError, ConfigError, UnknownNameError, check_positive
from atari_vlm.reporting.game_session import GameSession
from atari_vlm.reporting.recording import Recording
from atari_vlm.training.keyless import known_keys, without_keys
from atari_vlm.training.rollout import Env


@dataclass(frozen=True)
class PlayConfig:
    """What is played, by whom, and what is kept of it."""

    id: str = "AtariVLM/Pong-v5"
    """any registered id that renders rgb_array"""
    agent: str | None = None
    """who plays: random, noop, scripted or any name that train's --vlm takes (default: you)"""
    record: Path | None = None
    """an mp4 to write, and an npz beside it; together with --agent no window opens"""
    steps: int | None = None
    """end after so many steps (default with --record and --agent: 1,000; else none)"""
    seed: int = 0
    """seed of the first episode; the following ones count up"""
    fps: float | None = None
    """steps per second (default: the game's own speed)"""
    zoom: int | None = None
    """enlargement in whole pixels (default: to about 420 pixels of height)"""
    header: bool = True
    """show action, reward and return above the picture"""
    prompt_type: str = "cot"
    """basic, cot or expert, for an agent that asks a VLM"""
    model: str | None = None
    """model id or path of the agent's VLM"""
    base_url: str | None = None
    """OpenAI-compatible server of the agent's VLM"""


def check(config: PlayConfig) -> None:
    """Raise ``ConfigError`` for options that make no sense."""
    given = {name: getattr(config, name) for name in ("steps", "fps", "zoom")}
    check_positive(**{name: value for name, value in given.items() if value is not None})
    if config.agent is None and (config.model or config.base_url):
        raise ConfigError("--model and --base-url belong to an agent; give --agent too")


def make_game(env_id: str) -> Env:
    """The environment with pictures; ``UnknownNameError`` or ``ConfigError`` when there is none to be had."""
    module, _, name = env_id.rpartition(":")
    if module == "" and name.startswith("ALE/"):
        module = "ale_py"
    try:
        env: Env = gym.make(f"{module}:{name}" if module else name, render_mode="rgb_array")
    except gym.error.NameNotFound as error:
        raise UnknownNameError("id", env_id, gym.registry) from error
    except (gym.error.Error, TypeError, ModuleNotFoundError) as error:
        raise ConfigError(f"{env_id} cannot be made: {error}") from error
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        env.close()
        raise ConfigError(f"{env_id} has no rgb_array picture; it renders {env.metadata.get('render_modes', [])}")
    return env


def make_player(config: PlayConfig, env: Env) -> Agent | None:
    """The agent that plays; ``None`` when a person does."""
    if config.agent is None:
        return None
    if config.agent in SIMPLE_NAMES:
        return make_agent(config.agent, action_space=env.action_space)
    options = {name: value for name in ("model", "base_url") if (value := getattr(config, name)) is not None}
    return make_agent(config.agent, prompt_type=config.prompt_type, **options)


def record(session: GameSession, steps: int) -> Path:
    """Let the session's agent play ``steps`` steps (episode after episode) without a window; returns the video's path."""
    session.begin()
    for _ in range(steps):
        if session.over:
            session.begin()
        session.step()
    path = session.stop_recording()
    assert path is not None
    return path


def run(config: PlayConfig) -> Path | None:
    """Play as configured; the path of the video when one was recorded from the start."""
    check(config)
    env = make_game(config.id)
    try:
        session = GameSession(env, make_player(config, env), config.seed, header=config.header, zoom=config.zoom)
        fps = config.fps or float(env.metadata.get("render_fps", 30))
        if config.record is not None:
            session.recording = Recording(config.record, fps)
        if config.agent is not None and config.record is not None:
            return record(session, config.steps or 1000)
        path: Path | None = load("atari_vlm.reporting.game_window:play_in_window")(session, fps, config.steps)
        return path
    finally:
        env.close()


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and play."""
    try:
        path = run(tyro.cli(PlayConfig, args=argv, prog="python -m atari_vlm.play", description=__doc__))
        if path is not None:
            print(path)
        return 0
    except AtariVLMError as error:
        print(f"error: {without_keys(str(error), known_keys())}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
