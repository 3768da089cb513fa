"""What the table of cores compares: two tasks of memory, and four cores at widths that make whole models equally large."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from atari_vlm.errors import ConfigError
from atari_vlm.proofs import dreamer, text_base
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.games import facts_of
from atari_vlm.world_models.cue import CueWorldModel
from atari_vlm.world_models.dreamer.config import CoreConfig, LanguageConfig, LoraConfig
from atari_vlm.world_models.dreamer.networks import Networks, seeded_networks
from atari_vlm.world_models.dreamer.settings import DreamerSettings, preset
from atari_vlm.world_models.learned.learner import GameFacts
from atari_vlm.world_models.learned.schedule import ReplayRatio
from atari_vlm.wrappers import WorldModelEnv

DELAY = 16
EQUAL = 0.05  # by how much whole models may differ in their parameters
EVALUATIONS = 10
WIDTH = text_base.BaseSizes().width


class PositionsOnly(gymnasium.ObservationWrapper[Any, Any, Any]):
    """CartPole without velocities: the cart's place and the pole's angle, float32 ``(2,)``."""

    def __init__(self, env: gymnasium.Env[Any, Any]):
        super().__init__(env)
        whole = env.observation_space
        assert isinstance(whole, Box)
        self.observation_space = Box(whole.low[::2], whole.high[::2], dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """What is shown of it."""
        return observation[::2]


@dataclass(frozen=True)
class Core:
    """A core: its name and what it is, its kind and sizes, and the width of its output: where none is given, the first that
    makes the whole model as large as ``mamba``'s. One with adapters is the language model's.
    """

    title: str
    what: str
    kind: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    lora: LoraConfig | None = None
    deter: int | None = None

    def config(self, base: Path) -> CoreConfig:
        """Its settings; ``base`` is the folder of the language model."""
        sizes = self.sizes if self.lora is None else {"from_pretrained": str(base)}
        return CoreConfig(self.kind, sizes=sizes, lora=self.lora)


CORES = {
    "gru": Core("gru", "the gated recurrent unit with layer norms of DreamerV3 as of 2023", "gru"),
    "block_gru": Core("block_gru", "the block-diagonal GRU of today's DreamerV3, eight blocks", "block_gru"),
    "mamba": Core("mamba", "two layers of Mamba, freshly drawn, that learn in whole", "mamba", {"layers": 2}, deter=WIDTH),
    "mamba-lora": Core(
        "mamba + LoRA",
        "the two layers of a Mamba language model, frozen, with adapters of rank 4 on all four projections that learn; a text is "
        "read and told by its tokenizer and embeddings, which learn too",
        "mamba", lora=LoraConfig(rank=4, alpha=16.0), deter=WIDTH,
    ),
}  # fmt: skip
_WIDTHS = range(64, 1032, 8)  # among which the others' are looked for
_PER_CORE = ("core", "deter", "language")
_AROUND = {"posterior": "observation", "hidden": 64, "groups": 8, "classes": 8, "units": 64}


def _task(like: str, changes: Mapping[str, Any], **others: Any) -> dreamer.Game:
    """A game that is learned as ``like`` is, but for ``changes``, its core and what is around it."""
    game = dreamer.GAMES[like]
    theirs = game.changes.get("networks", {})
    kept = {name: value for name, value in theirs.items() if name not in _PER_CORE}
    merged = {**game.changes, "networks": {**kept, **_AROUND}}
    merged.pop("epochs", None)  # which the updates decide, and so when evaluations are
    merged["play"] = {k: v for k, v in game.changes["play"].items() if k != "eval_every"}
    for name, group in changes.items():
        merged[name] = {**merged.get(name, {}), **group}
    return dataclasses.replace(game, changes=merged, preset="tiny", **others)


TASKS = {
    "cartpole": _task(
        "cartpole",
        {"learning": {"context": 0}, "behaviour": {"imag_last": 4}},
        title="CartPole-v1 without velocities",
        id="AtariVLMProof/CartPolePositions-v0",
        make=lambda: PositionsOnly(gymnasium.make("CartPole-v1")),
    ),
    "cue": _task(
        "cue",
        {
            "learning": {"context": 0, "batch": 16, "length": 36}, "behaviour": {"imag_last": 8},
            "networks": {
                "frame_px": 16, "language": {"tokenizer": "words", "words": text_base.words(), "width": WIDTH}
            },
        },
        title=f"the cue game with a delay of {DELAY}",
        id=f"AtariVLMProof/Cue{DELAY}-v0",
        make=lambda: WorldModelEnv(CueWorldModel(DELAY, cell_px=4)),
    ),
}  # fmt: skip
UPDATES = {"cartpole": 2000, "cue": 1600}  # about five CPU minutes a run, the mean over the cores


@dataclass(frozen=True)
class Run:
    """A seed of a core at a task: ``updates`` or a few more, and the folder of the language model."""

    task: str
    core: str
    seed: int
    updates: int
    base: Path


def registered(task: str) -> dreamer.Game:
    """A task whose id gymnasium knows from now on."""
    game = TASKS[task]
    make = game.make
    if make is not None and game.id not in gymnasium.registry:
        gymnasium.register(game.id, lambda **options: make())
    return game


def settings_for(run: Run) -> DreamerSettings:
    """The settings of a run: as many epochs as its updates take, evaluated some ten times on the way."""
    return _settings(run, CORES[run.core].deter or _width(run.task, run.core))


def _settings(run: Run, deter: int) -> DreamerSettings:
    game, core = TASKS[run.task], CORES[run.core]
    settings: DreamerSettings = with_changes(preset(game.preset, _facts(run.task)), game.changes)
    language = settings.networks.language
    if core.lora is not None and language.words:
        language = LanguageConfig(str(run.base))
    networks = dataclasses.replace(
        settings.networks, deter=deter, core=core.config(run.base), language=language
    )
    ratio, prefill = settings.learning.ratio, settings.learning.prefill
    epochs = math.ceil((prefill + run.updates / ratio) / settings.play.steps)
    play = dataclasses.replace(settings.play, eval_every=max(1, epochs // EVALUATIONS))
    return dataclasses.replace(settings, networks=networks, epochs=epochs, play=play)


@functools.cache
def _width(task: str, core: str) -> int:
    """The smallest width with which a core's whole model is as large as that of ``mamba``."""

    def count(core: str, deter: int) -> int:
        run = Run(task, core, seed=0, updates=1, base=Path())
        return parameters(_networks(run, _settings(run, deter)))[0]

    goal = count("mamba", WIDTH)
    return _WIDTHS[bisect.bisect_left(_WIDTHS, goal, key=lambda deter: count(core, deter))]


def updates_by(settings: DreamerSettings, steps: int) -> int:
    """Updates that were made when so many steps were played."""
    learning = settings.learning
    return ReplayRatio(learning.ratio, learning.prefill).due(1, (0, steps)) if steps else 0


def networks_of(run: Run) -> Networks:
    """The networks that a run begins with."""
    return _networks(run, settings_for(run))


def _networks(run: Run, settings: DreamerSettings) -> Networks:
    facts = _facts(run.task)
    space, texts = facts.action_space, facts.texts
    return seeded_networks(settings.networks, facts.inputs, space, run.seed, texts)


@functools.cache
def _facts(task: str) -> GameFacts:
    """What is known of a task's game."""
    return facts_of(registered(task).id)


def parameters(networks: Networks) -> tuple[int, int]:
    """How many a whole model has, the slow copy of the critic aside, and how many of these learn."""
    slow = sum(parameter.numel() for parameter in networks.slow_critic.parameters())
    whole = sum(parameter.numel() for parameter in networks.parameters())
    return whole - slow, sum(parameter.numel() for parameter in networks.trained())


def check_equal(task: str, counts: Mapping[str, int]) -> None:
    """Raise ``ConfigError`` where the whole models of a task's cores differ by more than :data:`EQUAL`."""
    if max(counts.values()) > (1 + EQUAL) * min(counts.values()):
        told = ", ".join(f"{core} {count:,}" for core, count in counts.items())
        raise ConfigError(
            f"the cores are compared with whole models that are equal within {EQUAL:.0%}; the parameters at {task} are {told}"
        )
