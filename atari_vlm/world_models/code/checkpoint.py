"""What the checkpoint of a code model says beside its ``program.py``: the contract, and the spaces as JSON."""

from __future__ import annotations

from typing import Any

import gymnasium

from atari_vlm.errors import CheckpointError, reading
from atari_vlm.space_json import space_from_json, space_to_json
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.code.worker_program import CONTRACTS

SPACES = ("observation_space", "context_space", "action_space")


def config_of(model: Any) -> dict[str, Any]:
    """The ``config.json`` of a :class:`~atari_vlm.world_models.code.CodeWorldModel`."""
    config = {name: space_to_json(getattr(model, name)) for name in SPACES}
    game = {} if model.game is None else {"game": model.game}
    return {
        **config,
        **game,
        "contract": model.contract,
        "action_names": list(names_of(model.action_space, getattr(model, "action_names", None))),
        "frame_skip": model.frame_skip,
        "reward_transform": model.reward_transform,
    }


def names_of(space: gymnasium.Space[Any], names: Any = None) -> tuple[str, ...]:
    """A name for each action, or for each number of a continuous one: their numbers where nobody named them."""
    if names is not None:
        return tuple(map(str, names))
    first = int(getattr(space, "start", 0)) if isinstance(space, gymnasium.spaces.Discrete) else 0
    count = (
        int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else (space.shape or (1,))[0]
    )
    return tuple(map(str, range(first, first + count)))


def arguments_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint's model is made with; ``CheckpointError`` where it lacks its program or contradicts itself."""
    config, program = checkpoint.config, checkpoint.program
    if program is None:
        raise CheckpointError("a checkpoint of the kind 'code' has a program.py, this one has none")
    contract, game = config.get("contract"), config.get("game")
    if type(contract) is not int or contract not in CONTRACTS:
        raise CheckpointError(f"config['contract'] is 1 or 2, got {contract!r}")
    if game is not None and not isinstance(game, str):
        raise CheckpointError(f"config['game'] is a name, got {game!r}")
    spaces = {}
    for name in SPACES:
        with reading(f"config[{name!r}]", CheckpointError):
            spaces[name] = space_from_json(config.get(name))
    discrete = isinstance(spaces["action_space"], gymnasium.spaces.Discrete)
    return {
        "program": program,
        **spaces,
        "contract": contract,
        "start": checkpoint.start,
        "action_names": tuple(config["action_names"]) if discrete else None,
        "frame_skip": config["frame_skip"],
        "reward_transform": config["reward_transform"],
        "game": game,
    }
