"""Nine short examples of atari_vlm; without key, GPU or network all of them together take well under a minute.

    python examples/examples_atari_vlm.py                       # all nine
    python examples/examples_atari_vlm.py --example 5           # one of them
    python examples/examples_atari_vlm.py --example 5 --vlm gpt-4o      # with a real model (OPENAI_API_KEY)

Pictures go to the folder ``--out`` (default: examples_out).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

import atari_vlm  # noqa: F401  (registers the ids)
from atari_vlm import AtariVLMEnvironment
from atari_vlm.agents import RandomAgent, make_agent
from atari_vlm.agents.base import Agent
from atari_vlm.games import game
from atari_vlm.runs.rollout import play_episode


@dataclass(frozen=True)
class Options:
    """Which examples, with which VLM."""

    example: Annotated[int | None, tyro.conf.arg(metavar="1-9")] = None
    """only this one"""
    vlm: str = "scripted"
    """any name of `python -m atari_vlm.train --show-recommendations`, or scripted"""
    out: Path = Path("examples_out")
    """where pictures are written"""


def basic_use(options: Options) -> None:
    """1. Make an environment, look at an observation, take a few steps."""
    env = gym.make("AtariVLM/Pong-v5")
    observation, info = env.reset(seed=0)
    print("keys:", ", ".join(observation))
    print("image:", observation["image"].size, "frames:", observation["frames"].shape)
    print(observation["action_space"])
    for action in (2, 2, 3, 0):
        observation, reward, terminated, truncated, info = env.step(action)
    print(observation["text"].replace("\n", " | "))
    print("info:", info)
    env.close()


def prompt_comparison(options: Options) -> None:
    """2. The three prompt styles of the same moment."""
    env = AtariVLMEnvironment("Breakout-v5")
    env.reset(seed=0)
    for style in ("basic", "cot", "expert"):
        prompt = env.get_vlm_prompt(style)
        print(f"{style}: {len(prompt.split())} words; ends: {prompt.splitlines()[-1]!r}")
    print("\n" + env.get_vlm_prompt("basic"))
    env.close()


def game_comparison(options: Options) -> None:
    """3. Four games: actions, goals, reference scores."""
    for name in ("Pong", "Breakout", "SpaceInvaders", "MsPacman"):
        env = AtariVLMEnvironment(name)
        facts = game(name)
        scores = f"random {facts.random_score:g}, human {facts.human_score:g}"
        print(f"{name}: {env.action_space.n} actions; {scores}; {facts.goal}")
        env.close()


def full_episode(options: Options) -> None:
    """4. A whole episode with random actions, seed 42, at most 500 steps."""
    env = gym.make("AtariVLM/Breakout-v5", max_episode_steps=500)
    trajectory = play_episode(env, RandomAgent(), seed=42)
    ended = "ended" if trajectory.transitions[-1].terminated else "was cut"
    print(f"{trajectory.length} steps, return {trajectory.episode_return:g}; the episode {ended}")
    env.close()


def vlm_decisions(options: Options) -> None:
    """5. What a VLM sees, says, and what becomes of it."""
    env = gym.make("AtariVLM/Pong-v5")
    agent = make_agent(options.vlm)
    agent.reset(seed=0)
    observation, _ = env.reset(seed=0)
    for step in range(60):
        decision = agent.act(observation)
        if step % 20 == 19:
            said = (
                decision.replies[-1].text.strip().splitlines()
                if decision.replies
                else ["(scored the actions)"]
            )
            print(
                f"step {step}: {' / '.join(said)[:110]} -> action {decision.action} ({decision.source})"
            )
        observation, *_ = env.step(decision.action)
    env.close()


def _returns(agent: Agent, name: str, episodes: int, steps: int) -> list[float]:
    env = gym.make(f"AtariVLM/{name}-v5", max_episode_steps=steps)
    returns = [play_episode(env, agent, seed=seed).episode_return for seed in range(episodes)]
    env.close()
    return returns


def performance_tracking(options: Options) -> None:
    """6. Track returns over episodes, beside the random player on the same seeds."""
    for label, agent in (("random", RandomAgent()), (options.vlm, make_agent(options.vlm))):
        returns = _returns(agent, "Freeway", episodes=3, steps=150)
        print(f"Freeway, 150 steps, {label}: returns {returns}, mean {np.mean(returns):.2f}")


def action_analysis(options: Options) -> None:
    """7. Which actions a player takes, as a plot."""
    env = gym.make("AtariVLM/SpaceInvaders-v5", max_episode_steps=200)
    trajectory = play_episode(env, make_agent(options.vlm), seed=0)
    names = env.unwrapped.get_action_meanings()
    counts = Counter(names[action] for action in trajectory.actions)
    print(", ".join(f"{name} {count}" for name, count in counts.most_common()))
    plot = options.out / "action_distribution.png"
    _bar_chart({name: counts[name] for name in names}).save(plot)
    print("plot:", plot)
    env.close()


def _bar_chart(counts: dict[str, int]) -> Image.Image:
    """A horizontal bar chart drawn with Pillow, so that the example needs no plotting library."""
    from PIL import ImageDraw

    row, left, width = 28, 130, 420
    chart = Image.new("RGB", (left + width + 60, row * len(counts) + 40), "white")
    draw = ImageDraw.Draw(chart)
    draw.text((10, 8), "actions taken in 200 steps of SpaceInvaders", fill="black")
    most = max(counts.values()) or 1
    for i, (name, count) in enumerate(counts.items()):
        y = 34 + i * row
        draw.text((10, y + 5), name, fill="black")
        draw.rectangle((left, y + 2, left + width * count / most, y + row - 6), fill=(70, 110, 180))
        draw.text((left + width * count / most + 8, y + 5), str(count), fill="black")
    return chart


def frame_preprocessing(options: Options) -> None:
    """8. What preprocessing does to a frame, as a picture: native, square, doubled, grey, aspect kept."""
    kinds = {
        "native": {"resize_shape": None},
        "square 224": {"resize_shape": (224, 224)},
        "x2": {"resize_shape": "x2"},
        "grey": {"resize_shape": None, "grayscale": True},
        "area 84": {"resize_shape": (84, 84), "interpolation": "area"},
        "aspect kept": {"resize_shape": (224, 224), "keep_aspect": True},
    }
    pictures = []
    for label, arguments in kinds.items():
        env = AtariVLMEnvironment("MsPacman", **arguments)
        observation, _ = env.reset(seed=0)
        for _ in range(70):
            observation, *_ = env.step(0)
        pictures.append(observation["image"].convert("RGB"))
        print(f"{label}: {observation['image'].size} {observation['image'].mode}")
        env.close()
    sheet = Image.new(
        "RGB", (sum(p.width + 10 for p in pictures), max(p.height for p in pictures)), "white"
    )
    x = 0
    for picture in pictures:
        sheet.paste(picture, (x, 0))
        x += picture.width + 10
    sheet.save(options.out / "preprocessing.png")
    print("picture:", options.out / "preprocessing.png")


def best_practices(options: Options) -> None:
    """9. What makes results worth reporting."""
    print(
        "- Say seeds, episodes and steps, and give an interval: python -m atari_vlm.evaluate does.\n"
        "- Compare with random and scripted players from the same harness, not with a paper's other protocol.\n"
        "- Look at the fallback rate beside every score: a model that is not understood plays NOOP.\n"
        "- Set a limit before a paid run: --budget-usd, --max-calls, --max-tokens. The same command continues.\n"
        "- Keep the constant prompt first and few pictures: it is cheaper and cached (docs/costs_and_limits.md).\n"
        "- Evaluate with memory frozen; report whether in-context learning was on and with which strategy.\n"
        "- The default has sticky actions (0.25) and 4 emulator frames a step; say so when you change them."
    )


EXAMPLES: tuple[Callable[[Options], None], ...] = (
    basic_use,
    prompt_comparison,
    game_comparison,
    full_episode,
    vlm_decisions,
    performance_tracking,
    action_analysis,
    frame_preprocessing,
    best_practices,
)


def main(options: Options) -> None:
    if options.example is not None and not 1 <= options.example <= len(EXAMPLES):
        raise SystemExit(f"--example is a number from 1 to {len(EXAMPLES)}, got {options.example}")
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = EXAMPLES if options.example is None else (EXAMPLES[options.example - 1],)
    start = time.perf_counter()
    for example in chosen:
        print(f"\n=== {example.__doc__}")
        example(options)
    print(f"\n{len(chosen)} example(s) in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
