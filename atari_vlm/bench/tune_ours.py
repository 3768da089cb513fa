"""Our side of ``bench tune``: the learner of ``tune rl`` with the small Qwen3-VL from nothing, in a process of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import parse_games
from atari_vlm.training.tuning.bases import Base, load_base
from atari_vlm.training.tuning.learner import UpdateConfig
from atari_vlm.training.tuning.playing import play_turns
from atari_vlm.training.tuning.ppo import PPOConfig, Turns
from atari_vlm.training.tuning.rl_learner import ReinforcedLearner
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.turns import Lane, drawn
from atari_vlm.types import Image, Message, Part, Text
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import FAMILY, NEW, build_player

GAME = "Pong-v5"
_POSITIONS = 1 << 17


def run(spec: Mapping[str, Any], serve: Callable[..., None]) -> None:
    """Make model and prompts in the folder, and serve decisions and updates."""
    torch.set_num_threads(1)
    folder = Path(spec["folder"])
    options = LocalOptions(device="cpu", dtype="float32")
    base = load_base(FAMILY, NEW, options, long_player(folder / "base"))
    config = UpdateConfig(batch_size=spec["rows"], weight_decay=0.0)
    learner = ReinforcedLearner(base, "full", config, PPOConfig(steps=spec["steps"]))
    facts: dict[str, Any] = {
        "parameters": sum(weight.numel() for weight in learner.weights.values())
    }
    if spec["form"] == "games":
        played = Games(learner, spec["rows"] // spec["steps"])
        work = {"rows": spec["rows"], "steps": spec["steps"]}
        serve({**facts, "work": work}, {"update": played.round})
        return
    asked = recorded(spec["rows"])
    write_prompts(folder, asked)
    given = GivenPrompts(learner, asked)
    work = {"rows": spec["rows"], **digests(base, asked)}
    works = {"decide": given.decide, "update": given.update, "step": given.step}
    works["think"] = given.step  # it decides without
    serve({**facts, "work": work}, works)


def long_player(folder: Path) -> Path:
    """The base with as many positions as a peer's conversation needs; they are rotary and have no weights."""
    file = build_player(folder, 0) / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["max_position_embeddings"] = _POSITIONS
    file.write_text(json.dumps(config))
    return folder


def lane(number: int, max_steps: int) -> Lane:
    """A game with seeds of its own."""
    env = make_env({"game_name": parse_games(GAME)[0].name, "env": {}})
    return Lane(env, "basic", VLMAgentOptions(frames=2), lambda _: number, max_steps)


def recorded(count: int) -> list[TaughtDecision]:
    """What a model is asked in a game that is played at random."""
    rng, played, asked = np.random.default_rng(0), lane(0, 10_000), list[TaughtDecision]()
    while len(asked) < count:
        asked.append(played.asked)
        played.step(int(rng.integers(len(played.asked.names))))
    played.close()
    return asked


def write_prompts(folder: Path, asked: Sequence[TaughtDecision]) -> None:
    """``prompts.json`` (a part is its text, or ``null`` for the next picture) and ``pictures.npy`` uint8 ``(N, H, W, 3)``."""
    rows = [
        [
            {"role": m.role, "parts": [p.text if isinstance(p, Text) else None for p in m.parts]}
            for m in decision.messages
        ]
        for decision in asked
    ]
    pictures = [image.pixels for d in asked for m in d.messages for image in m.images]
    np.save(folder / "pictures.npy", np.stack(pictures))
    told = {"rows": rows, "answers": list(asked[0].names)}
    (folder / "prompts.json").write_text(json.dumps(told))


def digests(base: Base, asked: Sequence[TaughtDecision]) -> dict[str, str]:
    """Of the tokens of the prompts, and of what the picture tower reads."""
    prompts = [base.encoder.encode(decision.messages) for decision in asked]
    ids = [prompt.ids.tolist() for prompt in prompts]
    pixels = [piece.tensors["pixel_values"] for prompt in prompts for piece in prompt.pieces]
    return {
        "tokens": hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12],
        "pixels": hashlib.sha256(np.concatenate(pixels).astype("<f4").tobytes()).hexdigest()[:12],
    }


class GivenPrompts:
    """Decides on prompts and learns from what was decided last. A pixel tells the times apart, so that no picture is known."""

    def __init__(self, learner: ReinforcedLearner, asked: Sequence[TaughtDecision]):
        self._learner, self._asked, self._times = learner, asked, 0
        self._rng = np.random.default_rng(0)
        self.decide()

    def decide(self) -> None:
        """One pass, a draw for each row, and what the value head says."""
        self._times += 1
        self._now = [marked(decision, self._times) for decision in self._asked]
        scores, hidden = self._learner.policy(self._now)
        self._learner.values(hidden, [0] * len(hidden))
        actions = drawn(scores, self._rng)
        chances = np.array([row[action] for row, action in zip(scores, actions, strict=True)])
        worth = self._rng.normal(size=len(actions))
        self._turns = Turns(np.array(actions), chances, worth, tuple(scores))

    def update(self) -> None:
        """One step of the optimizer."""
        self._learner.improve(self._now, self._turns)

    def step(self) -> None:
        """Both."""
        self.decide()
        self.update()


def marked(decision: TaughtDecision, number: int) -> TaughtDecision:
    """The decision with the number in the first pixel of its pictures."""

    def part_of(part: Part) -> Part:
        if isinstance(part, Text):
            return part
        pixels = part.pixels.copy()
        pixels[0, 0] = number // 65536 % 256, number // 256 % 256, number % 256
        return Image(pixels)

    messages = (Message(m.role, tuple(map(part_of, m.parts))) for m in decision.messages)
    return dataclasses.replace(decision, messages=tuple(messages))


class Games:
    """Episodes side by side, and an update on all of them."""

    def __init__(self, learner: ReinforcedLearner, count: int):
        self._learner, self._rng = learner, np.random.default_rng(0)
        self._lanes = [lane(2 * n, learner.ppo.steps) for n in range(count)]

    def round(self) -> None:
        """Play, weigh, learn."""
        learner = self._learner
        played = play_turns(self._lanes, learner, self._rng, lambda: None)
        games = [lane.game for lane in self._lanes]
        turns, returns = played.turns(games, learner.ppo)
        learner.values.fit(np.concatenate(played.hidden), returns, games * learner.ppo.steps)
        learner.improve(played.asked, turns)
