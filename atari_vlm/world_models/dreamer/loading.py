"""The networks of a checkpoint, which may be a stranger's: it names no place to load from, and its sizes are its weights'."""

from __future__ import annotations

import torch

from atari_vlm.errors import CheckpointError, reading
from atari_vlm.experience.columns import Column
from atari_vlm.space_json import space_from_json
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.networks import Networks, seeded_networks
from atari_vlm.world_models.learned.arrays import check_shapes, load_weights, subtree

NETWORKS = "dreamer"  # the name of the networks in checkpoints
_OWN_TOKENIZERS = ("bytes", "words")


def networks_of(checkpoint: Checkpoint) -> Networks:
    """Nothing outside of the checkpoint is asked, and no memory is taken before its weights are seen to be of its sizes.

    Raises ``CheckpointError`` where they are not, and for sizes that are those of no model.
    """
    with reading("the sizes of its networks", CheckpointError):
        config = DreamerConfig.from_dict(checkpoint.config.get("networks"))
        _check_closed(config)
        _check_depth(config, len(checkpoint.tensors))
        columns = {
            name: Column(tuple(shape), dtype)
            for name, (dtype, *shape) in checkpoint.config["inputs"].items()
        }
        space = space_from_json(checkpoint.config["action_space"], "the action space")
        made_of = (config, columns, space, 0, checkpoint.config.get("texts", ()))
        with torch.device("meta"):  # shapes alone
            planned = seeded_networks(*made_of)
    check_shapes(NETWORKS, planned, subtree(checkpoint.tensors, NETWORKS))
    networks = seeded_networks(*made_of)
    load_weights({NETWORKS: networks}, checkpoint.tensors)
    return networks


def _check_closed(config: DreamerConfig) -> None:
    """A checkpoint that is loaded downloads and opens nothing else."""
    language = config.language
    if config.core.sizes.get("from_pretrained") is not None:
        raise CheckpointError("core.sizes.from_pretrained names weights that are not in it")
    if not language.described and language.tokenizer not in _OWN_TOKENIZERS:
        raise CheckpointError(f"the tokenizer {language.tokenizer!r} is not in it")


def _check_depth(config: DreamerConfig, tensors: int) -> None:
    """Every layer has weights: that many are there at most."""
    for layers in (config.layers, config.core.sizes.get("layers", 1)):
        if type(layers) is not int or not 0 < layers <= max(tensors, 1):
            raise CheckpointError(f"{layers!r} layers cannot be of its {tensors} arrays")
