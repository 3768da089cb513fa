"""Our side of ``bench world-model --peer sheeprl``: a Dreamer's learner on random pictures, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from atari_vlm.experience.columns import Column
from atari_vlm.experience.replay import Replay
from atari_vlm.settings import with_changes
from atari_vlm.world_models.dreamer.learner import DreamerLearner
from atari_vlm.world_models.dreamer.rssm import Latent
from atari_vlm.world_models.dreamer.settings import DreamerSettings, preset
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import GameFacts, Workplace
from atari_vlm.world_models.learned.team import Team

PX, ACTIONS = 64, 2
_EPISODE = 128


def run(spec: Mapping[str, Any], serve: Callable[..., None]) -> None:
    """Serve an update, and ``steps`` imagined steps from all observations of a batch."""
    torch.set_num_threads(1)
    learner = learner_of(spec)
    works = {"update": lambda: learner.update("dreamer"), "imagine": imagination(learner)}
    serve(facts_of(learner), works)


def learner_of(spec: Mapping[str, Any]) -> DreamerLearner:
    """A learner of ``preset`` in ``precision`` with play of random pictures, some of it beyond one batch's sequence."""
    picture = Column((PX, PX, 3), "uint8", on_disk=False)
    facts = GameFacts("Noise-v0", {"image": picture}, Discrete(ACTIONS), ("LEFT", "RIGHT"))
    sizes = {"batch": spec["batch"], "length": spec["length"]}
    changes = {"learning": sizes, "behaviour": {"steps": spec["steps"], "imag_last": 0}}
    settings: DreamerSettings = with_changes(preset(spec["preset"], facts), changes)
    rows = 2 * settings.learning.rows

    def opened(columns: Mapping[str, Column], *, arrivals: bool = False) -> Replay:
        return Replay(columns, 2 * rows, arrivals=arrivals)

    place = Workplace(opened, Device(precision=spec["precision"]), Team(), seed=0)
    learner = DreamerLearner(settings, facts, place)
    rng = np.random.default_rng(0)
    for n in range(rows):
        seen, after = ({"image": rng.integers(256, size=(PX, PX, 3), dtype=np.uint8)} for _ in "ab")
        ends = {"terminated": n % _EPISODE == _EPISODE - 1, "truncated": False}
        learner.replay.add({**seen, "action": n % ACTIONS, "reward": 0.0, **ends}, after=after)
    return learner


def facts_of(learner: DreamerLearner) -> dict[str, Any]:
    """What work this is, in the words of both sides."""
    settings, networks = learner.settings, learner.networks
    learning = settings.learning
    return {
        "work": {
            "batch": learner.rows,
            "length": learning.length,
            "starts": learner.rows * settings.starts,
            "steps": settings.behaviour.steps,
            "picture": list(networks.keys.pictures["image"].shape),
            "actions": networks.code.size,
            "precision": learner.device.precision,
        },
        "parameters": sum(parameter.numel() for parameter in networks.trained()),
    }


def imagination(learner: DreamerLearner) -> Callable[[], object]:
    """Latent steps alone, without player and heads, from as many states as an update imagines from, with given actions."""
    settings, networks = learner.settings, learner.networks
    starts, generator = learner.rows * settings.starts, torch.Generator().manual_seed(0)
    drawn = torch.randint(ACTIONS, (settings.behaviour.steps, starts), generator=generator)
    actions, begun = networks.code.encode(drawn), networks.rssm.begin(starts)

    @torch.no_grad()
    def work() -> None:
        latent: Latent = begun
        with learner.device.autocast():
            for action in actions:
                latent = networks.rssm.imagine(latent, action, generator)

    return work
