"""One run of the table of cores, in a process of its own, so that its memory is its own."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import torch

from atari_vlm.bench.serving import peak_mb
from atari_vlm.errors import ConfigError, DivergedError, RunError
from atari_vlm.files import atomic_write
from atari_vlm.proofs.dreamer import trained
from atari_vlm.proofs.dreamer_cores_tasks import (
    Run,
    networks_of,
    parameters,
    registered,
    settings_for,
    updates_by,
)
from atari_vlm.settings import plain
from atari_vlm.world_models.dreamer.learner import DreamerLearner
from atari_vlm.world_models.learned.imagination import imagine

T = TypeVar("T")

_TIMED = 10  # updates and dreams of which the speeds are the mean
_ROW, _SETTINGS = "row.json", "settings.json"


def row_of(run: Run, folder: Path) -> dict[str, Any]:
    """What a run measured, plain data; trained, or gone on with, where that is not known yet.

    Raises ``ConfigError`` for a folder whose run was begun with other settings, ``RunError`` where the process of the run died.
    """
    anywhere = dataclasses.replace(run, base=Path("base"))
    settings = plain(settings_for(anywhere).as_dict())
    begun = folder / _SETTINGS
    if begun.is_file() and json.loads(begun.read_text()) != settings:
        raise ConfigError(
            f"{folder} holds a run with other settings than the present ones: give another --save-dir, or delete it"
        )
    if not (folder / _ROW).is_file():
        atomic_write(begun, json.dumps(settings))
        in_its_own_process(train, run, folder)
    row: dict[str, Any] = json.loads((folder / _ROW).read_text())
    return row


def in_its_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """What a function that can be imported gives in a fresh process; its errors are raised here, and ``RunError`` where the
    process died.
    """
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, fresh) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise RunError(
                "the process of a run died (was it killed, or out of memory?); the same command goes on with it"
            ) from error


def train(run: Run, folder: Path) -> None:
    """Train a run and write its row. A loss that is no finite number is a result too: the row then tells it as ``failure``."""
    torch.set_num_threads(1)
    settings = settings_for(run)
    row: dict[str, Any] = {"task": run.task, "core": run.core, "seed": run.seed}
    row["parameters"], row["learn"] = parameters(networks_of(run))
    row["steps"] = settings.epochs * settings.play.steps
    row["updates"] = updates_by(settings, row["steps"])
    game = dataclasses.replace(registered(run.task), measure=speeds)
    try:
        row |= trained(folder, game, settings, run.seed)
    except DivergedError as error:
        row["failure"] = str(error).split(";")[0]  # where its batch lies is of this machine
    else:
        row["curve"] = [
            (updates_by(settings, steps), seconds, value) for steps, seconds, value in row["curve"]
        ]
    atomic_write(folder / _ROW, json.dumps({**row, "peak_mb": peak_mb()}))


def speeds(learner: DreamerLearner) -> dict[str, float]:
    """Updates, and imagined latent steps from as many starts as an update has, without gradients, per CPU second.

    The updates change the weights: it is measured when all else is done.
    """
    began = time.process_time()
    for _ in range(_TIMED):
        learner.update("dreamer")
    updating = time.process_time() - began
    settings, model = learner.settings, learner.world_model()
    rows, steps = settings.learning.batch * settings.starts, settings.behaviour.steps
    actor = learner.policy().actor
    generator = torch.Generator(learner.device.name).manual_seed(0)
    began = time.process_time()
    with torch.no_grad():
        for _ in range(_TIMED):
            begin = learner.networks.rssm.begin(rows)
            imagine(model, begin, actor, actor.begin(rows), steps=steps, generator=generator)
    imagining = time.process_time() - began
    return {
        "updates_per_second": _TIMED / updating,
        "imagined_per_second": _TIMED * rows * steps / imagining,
    }
