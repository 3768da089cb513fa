"""A rollout made of steps, for models of tests that roll out by themselves."""

import numpy as np

from atari_vlm.world_models.base import ModelStep


def rollout_by_steps(model, state, plans, rng):
    """What ``rollout`` of the protocol returns for ``plans`` (B, H)."""
    steps = []
    for action in plans.T:
        steps.append(model.step(state, action, rng=rng))
        state = steps[-1].state
    columns = (np.stack([getattr(s, name) for s in steps], 1) for name in ("reward", "terminated"))
    return ModelStep(state, *columns)
