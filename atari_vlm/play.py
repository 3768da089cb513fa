"""Play any id in a window, watch an agent play it, or record one without a display.

    python -m atari_vlm.play --id AtariVLM/Pong-v5
    python -m atari_vlm.play --id AtariVLM/Breakout-v5 --agent scripted
    python -m atari_vlm.play --id AtariVLM/Pong-v5 --agent scripted --record pong.mp4 --steps 300 --seed 1
    python -m atari_vlm.play --id AtariVLM/Pong-REM-v5 --checkpoint CKPT          in the dream
    python -m atari_vlm.play --id AtariVLM/Pong-v5 --checkpoint CKPT              real | model input | reconstruction
    python -m atari_vlm.play --episodes FOLDER                                    saved episodes, step by step

Keys: the game's own (Atari: w a s d or the arrows, and space; others: the number of the action), ``.`` pause, Enter a new
episode, ``,`` begin and end a recording, Escape the end. A recording is an mp4 and beside it an npz with what happened.
Saved episodes: left/right one step, page down/up ten, down/up the previous/next episode, space plays, t y i choose train, test,
imagination.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from atari_vlm._lazy import load
from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import SIMPLE_NAMES, make_agent
from atari_vlm.agents.policy_agent import PolicyAgent
from atari_vlm.agents.specs import parse_agents
from atari_vlm.ending import program
from atari_vlm.errors import (
    ConfigError,
    MissingDependencyError,
    UnknownNameError,
    check_positive,
)
from atari_vlm.evaluation.entry import Defaults, Entry
from atari_vlm.experience.episode_files import read_episodes
from atari_vlm.registration import is_dream
from atari_vlm.reporting.live.page import LivePage, live_page
from atari_vlm.reporting.live.session import Following
from atari_vlm.reporting.live.state import Expected, LiveState
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.options import (
    AskOptions,
    EndpointOptions,
    KeyOptions,
    ModelOptions,
    Options,
    pairs,
)
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.runs.terminal import results
from atari_vlm.space_trees import picture_in
from atari_vlm.spaces import Env
from atari_vlm.viewing.drawn_numbers import DrawnNumbers
from atari_vlm.viewing.dream_view import ModelView, RealView
from atari_vlm.viewing.episode_browser import EpisodeBrowser
from atari_vlm.viewing.game_session import GameSession
from atari_vlm.viewing.recording import Recording
from atari_vlm.vlm.catalogue import OFFLINE_NAMES
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.world_models.checkpoint import load_world_model
from atari_vlm.wrappers.dreamed_game import DreamedGame
from atari_vlm.wrappers.world_model_env import WorldModelEnv

DREAM, POLICY = "dream", "policy"
RECORDED_STEPS = 1000


@dataclass(frozen=True)
class WhatOptions(Options):
    """What is played."""

    id: str = "AtariVLM/Pong-v5"
    """any registered id that renders rgb_array, or "dream": the checkpoint's world model whatever its game"""
    checkpoint: Path | None = None
    """a world model, folder or hub:OWNER/NAME: what a dreamed id dreams in; for a real id, what is shown beside it"""
    reanchor_every: int | None = None
    """begin a dreamed game with real frames, come back to them after so many steps, and show the real game beside it"""
    episodes: Path | None = None
    """npz file or folder of saved episodes to look at, instead of playing"""


@dataclass(frozen=True)
class WhoOptions(Options):
    """Who plays."""

    agent: str | None = None
    """an agent as evaluate takes it (LABEL=NAME,OPTION=VALUE...), or policy: the checkpoint's own; without it you"""
    prompt_type: str | None = None
    """basic, cot or expert, for an agent that asks a VLM; without it cot, and for tiny that of its training"""


@dataclass(frozen=True)
class ShowOptions(Options):
    """What is shown, and what is kept of it."""

    record: Path | None = None
    """an mp4 to write, and an npz beside it; together with --agent no window opens"""
    steps: int | None = None
    """end after so many steps; without it with --record and --agent 1,000, else none"""
    seed: int = 0
    """seed of the first episode; the following ones count up"""
    fps: float | None = None
    """steps per second; without it the game's own speed"""
    zoom: int | None = None
    """enlargement in whole pixels; without it to about 420 pixels of height"""
    header: bool = True
    """show action, reward and return above the picture"""


@dataclass(frozen=True)
class PlayConfig(
    ServeOptions,
    ShowOptions,
    KeyOptions,
    ModelOptions,
    EndpointOptions,
    WhoOptions,
    WhatOptions,
):
    """What is played, by whom, and what is kept of it."""

    program = "play"


def check(config: PlayConfig) -> None:
    """Raise ``ConfigError`` for options that make no sense."""
    given = {name: getattr(config, name) for name in ("steps", "fps", "zoom", "reanchor_every")}
    check_positive(**{name: value for name, value in given.items() if value is not None})
    theirs = [
        name
        for name in ("model", "adapter", "base_url", "vlm_option", "api_key", "api_key_env")
        if getattr(config, name)
    ]
    if theirs and (config.agent is None or config.agent in (*SIMPLE_NAMES, POLICY)):
        raise ConfigError(
            f"--model, --base-url and their like belong to an agent that asks a VLM; give --agent NAME, or leave out "
            f"--{theirs[0].replace('_', '-')}"
        )
    if config.serve is not None and config.agent is None:
        raise ConfigError("--serve shows what an agent plays; give --agent NAME")
    if config.episodes is not None and (config.agent or config.checkpoint):
        raise ConfigError(
            "--episodes shows what was played; it goes with neither --agent nor --checkpoint"
        )
    if config.reanchor_every is not None and not is_dream(config.id):
        raise ConfigError(
            f"--reanchor-every is for a dreamed game such as AtariVLM/Pong-REM-v5, not for {config.id}"
        )
    if config.agent == POLICY and config.checkpoint is None:
        raise ConfigError("--agent policy plays with the policy of a --checkpoint")
    if config.id == DREAM and config.checkpoint is None:
        raise ConfigError("--id dream needs --checkpoint, the folder of a world model")


def make_env(config: PlayConfig) -> Env:
    """What is played in, real or dreamed."""
    if config.id == DREAM:
        model = load_world_model(str(config.checkpoint))
        env: Env = WorldModelEnv(model, render_mode="rgb_array")
        drawn = hasattr(model, "render") or picture_in(model.observation_space) is not None
        return env if drawn else DrawnNumbers(env)
    if not is_dream(config.id):
        return make_game(config.id)
    start = None if config.reanchor_every is None else "real"
    path = None if config.checkpoint is None else str(config.checkpoint)
    return make_game(config.id, checkpoint=path, start=start, reanchor_every=config.reanchor_every)


def add_panels(session: GameSession, config: PlayConfig) -> None:
    """Put beside a real game what the world model makes of it, and beside a dream the real game that it follows."""
    if config.reanchor_every is not None:
        session.title, session.more_panels = "dream", RealView(session.env).panels
    elif config.checkpoint is not None and config.id != DREAM and not is_dream(config.id):
        session.title = "real"
        session.more_panels = ModelView(session.env, load_world_model(config.checkpoint)).panels


def make_game(env_id: str, **arguments: Any) -> Env:
    """The environment with pictures; ``UnknownNameError`` or ``ConfigError`` when there is none to be had."""
    module, _, name = env_id.rpartition(":")
    if module == "" and name.startswith("ALE/"):
        module = "ale_py"
    try:
        env: Env = gym.make(
            f"{module}:{name}" if module else name, render_mode="rgb_array", **arguments
        )
    except gym.error.NameNotFound as error:
        raise UnknownNameError("id", env_id, gym.registry) from error
    except (gym.error.Error, TypeError, ModuleNotFoundError) as error:
        raise ConfigError(f"{env_id} cannot be made: {error}") from error
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        env.close()
        raise ConfigError(
            f"{env_id} has no rgb_array picture; it renders {env.metadata.get('render_modes', [])}"
        )
    return env


def make_player(config: PlayConfig, env: Env, opened: ExitStack) -> Agent | None:
    """The agent that plays; ``None`` when a person does. What is opened for it is closed with ``opened``."""
    if config.agent is None:
        return None
    if set(config.agent) & set("@,:="):
        return _from_word(config.agent, config.prompt_type, env, opened)
    if config.agent == POLICY:
        return PolicyAgent(str(config.checkpoint), frame_source=frame_source(env))
    if config.agent in SIMPLE_NAMES:
        return make_agent(config.agent, action_space=env.action_space)
    options = {
        name: value
        for name in ("model", "adapter", "base_url")
        if (value := getattr(config, name)) is not None
    }
    if config.agent not in OFFLINE_NAMES:
        options |= {"api_key": config.key(), "timeout_s": config.timeout_s}
    more = pairs(config.vlm_option, "--vlm-option")
    return make_agent(config.agent, prompt_type=config.prompt_type, **options, **more)


def _from_word(word: str, prompt_type: str | None, env: Env, opened: ExitStack) -> Agent:
    """The agent that ``LABEL=NAME,OPTION=VALUE...`` names, as a study would make it."""
    specs = parse_agents(word)
    if len(specs) != 1:
        raise ConfigError(f"one agent plays; {word!r} names {len(specs)}")
    defaults = Defaults(AskOptions(), {} if prompt_type is None else {"prompt_type": prompt_type})
    entrant = Entry(defaults, Budget(), opened).entrant(specs[0])
    if entrant.lessons is not None or entrant.scene:
        raise ConfigError(
            f"{specs[0].label}: nothing is learned here and the game is played as it is; leave out use_icl, latency and text"
        )
    return entrant.make(entrant.asked, env, ())


def frame_source(env: Env) -> Callable[[], Any]:
    """The sharpest picture to be had: a dream's own frame, else the screen."""
    dream = env.unwrapped
    return (lambda: dream.frame) if isinstance(dream, DreamedGame) else env.render


def follow(session: GameSession, config: PlayConfig, state: LiveState) -> None:
    """Show the agent's play on the live page, too."""
    steps = config.steps or (RECORDED_STEPS if config.record is not None else None)
    state.expect(Expected(steps, "steps", config.id))
    followed = Following(state, config.id, str(config.agent))
    session.on_begin, session.on_step = followed.begin, followed.step


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


def browse(config: PlayConfig, path: Path) -> Path | None:
    """Show saved episodes in a window, or write them all to ``config.record``."""
    browser = EpisodeBrowser(read_episodes(path), header=config.header, zoom=config.zoom)
    fps = config.fps or 15.0
    if config.record is not None:
        return browser.record(Recording(config.record, fps), config.steps)
    made: Path | None = load("atari_vlm.viewing.browser_window:browse_in_window")(
        browser, fps, config.steps
    )
    return made


def run(config: PlayConfig) -> Path | None:
    """Play as configured; the path of the video when one was recorded from the start."""
    check(config)
    if config.episodes is not None:
        return browse(config, config.episodes)
    with live_page(config) as page:
        path = play(config, page)
        page.finish()
    return path


def play(config: PlayConfig, page: LivePage) -> Path | None:
    """Let somebody play; the path of the video when one was recorded from the start."""
    env = make_env(config)
    session: GameSession | None = None
    opened = ExitStack()
    try:
        session = GameSession(
            env,
            make_player(config, env, opened),
            config.seed,
            header=config.header,
            zoom=config.zoom,
        )
        add_panels(session, config)
        if page.state is not None:
            follow(session, config, page.state)
        fps = config.fps or float(env.metadata.get("render_fps", 30))
        if config.record is not None:
            session.recording = Recording(config.record, fps, env.action_space)
        if config.agent is not None and config.record is not None:
            return record(session, config.steps or RECORDED_STEPS)
        path: Path | None = load("atari_vlm.viewing.game_window:play_in_window")(
            session, fps, config.steps
        )
        return path
    except gym.error.DependencyNotInstalled as error:  # said at its first picture
        raise MissingDependencyError(f"{config.id} cannot be drawn: {error}") from error
    finally:
        if session is not None and session.recording is not None:
            session.recording.abandon()
        opened.close()
        env.close()


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and play."""
    path = run(parse(PlayConfig, argv, __doc__))
    if path is not None:
        results().print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
