"""SheepRL's side of ``bench world-model --peer sheeprl=P/bin/python``: run by that Python, never imported here.

Its own program is started, with its dummy environment of 64 x 64 pictures and two actions; where it would make its first gradient
step, its ``train`` is asked for as many as are wanted, on that batch, whose pictures are made random ones.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

NAMES = {  # preset -> its algorithm, and the size of it
    "1m": ("dreamer_v3_5", "dreamer_v3_5_1M"),
    "12m": ("dreamer_v3_5", "dreamer_v3_5_12M"),
    "xs": ("dreamer_v3", "dreamer_v3_XS"),
}
PRECISIONS = {"f32": "32-true", "bf16": "bf16-mixed"}


def overrides(spec: Mapping[str, Any]) -> list[str]:
    """The words of its command line: a random player, no logs, no files but its folder of the run."""
    algorithm, size = NAMES[spec["preset"]]
    played = 2 * (spec["length"] + 1)
    keys = [
        f"algo.{kind}_keys.{side}=[{'rgb' if kind == 'cnn' else ''}]"
        for kind in ("cnn", "mlp")
        for side in ("encoder", "decoder")
    ]
    return [
        f"exp={algorithm}", f"algo={size}", "env=dummy", "env.screen_size=64", *keys,
        f"algo.per_rank_batch_size={spec['batch']}", f"algo.per_rank_sequence_length={spec['length']}",
        f"algo.horizon={spec['steps']}", f"algo.learning_starts={played}", f"algo.total_steps={played + 8}",
        "algo.replay_ratio=1", "algo.run_test=False", "env.num_envs=1", "env.sync_env=True", "env.capture_video=False",
        "buffer.size=1000", "buffer.memmap=False", "buffer.checkpoint=False", "checkpoint.save_last=False",
        "checkpoint.every=100000", "metric.log_level=0", "fabric.accelerator=cpu",
        f"fabric.precision={PRECISIONS[spec['precision']]}", "num_threads=1",
    ]  # fmt: skip


def run(spec: Mapping[str, Any], serve: Callable[..., None]) -> None:
    """Start its program; it ends where its first gradient step would be."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    algorithm = NAMES[spec["preset"]][0]
    module: Any = importlib.import_module(f"sheeprl.algos.{algorithm}.{algorithm}")
    train, signature = module.train, inspect.signature(module.train)

    def served(*args: Any, **kwargs: Any) -> None:
        given = signature.bind(*args, **kwargs).arguments
        pictures = given["data"]["rgb"]
        pictures.random_(0, 256)
        works = {"update": lambda: train(*args, **kwargs), "imagine": imagination(given)}
        serve(facts_of(given, spec), works)
        raise SystemExit

    module.train = served
    sys.argv = ["sheeprl", *overrides(spec)]
    importlib.import_module("sheeprl.cli").run()


def facts_of(given: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """What work this is, read off what its ``train`` was given."""
    config, data = given["cfg"], given["data"]
    context = config.algo.get(
        "replay_context", 0
    )  # steps before a sequence, whose latent it begins from
    length, batch, channels, high, wide = data["rgb"].shape
    trained = (given[name] for name in ("world_model", "actor", "critic"))
    precisions = {word: name for name, word in PRECISIONS.items()}
    return {
        "work": {
            "batch": batch,
            "length": length - context,
            "starts": batch * (length - context),
            "steps": config.algo.horizon,
            "picture": [high, wide, channels],
            "actions": int(sum(given["actions_dim"])),
            "precision": precisions[config.fabric.precision],
        },
        "parameters": sum(p.numel() for part in trained for p in part.parameters()),
    }


def imagination(given: Mapping[str, Any]) -> Callable[[], object]:
    """Latent steps alone, without player and heads, from as many states as a gradient step imagines from, with given actions."""
    import torch

    fabric_tools = importlib.import_module("sheeprl.utils.fabric")
    config, rssm = given["cfg"], given["world_model"].rssm
    sizes, context = config.algo.world_model, config.algo.get("replay_context", 0)
    length, batch = given["data"]["rgb"].shape[:2]
    starts, actions = batch * (length - context), int(sum(given["actions_dim"]))
    latent = torch.zeros(1, starts, sizes.stochastic_size * sizes.discrete_size)
    state = torch.zeros(1, starts, sizes.recurrent_model.recurrent_state_size)
    drawn = torch.randint(actions, (config.algo.horizon, 1, starts))
    played = torch.nn.functional.one_hot(drawn, actions).float()

    @torch.no_grad()
    def work() -> None:
        prior, recurrent = latent, state
        with fabric_tools.autocast_cache_scope(given["fabric"]):
            for action in played:
                prior, recurrent = rssm.imagination(prior, recurrent, action)
                prior = prior.reshape(1, starts, -1)

    return work
