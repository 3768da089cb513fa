"""Whatever tree of spaces an observation is of: kept, packed, shown and seen again as it was."""

import json

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from atari_vlm.space_json import space_from_json, space_to_json
from atari_vlm.space_trees import fits, nothing_of, row_of, space_leaves
from atari_vlm.trees import concat_rows, leaves, put_rows, stacked, take_rows
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint_start import pack_start, unpack_start
from atari_vlm.world_models.seeing import Eye, as_seen, can_see
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

WORDS = "aé€😀 /()0"
ACTIONS = spaces.MultiDiscrete([2, 2])


def leaf_of(rng):
    kinds = [
        lambda: spaces.Discrete(int(rng.integers(1, 9)), start=int(rng.integers(-5, 5))),
        lambda: spaces.Box(-2, 3, tuple(rng.integers(1, 4, rng.integers(0, 3))), np.float32),
        lambda: spaces.Box(-2, 3, (2,), np.float64),
        lambda: spaces.Box(0, 255, (4, 5, 3), np.uint8),
        lambda: spaces.Box(-9, 9, (3,), np.int64),
        lambda: spaces.MultiDiscrete([3, 4]),
        lambda: spaces.MultiBinary(5),
        lambda: spaces.Text(6, min_length=0, charset=WORDS),
    ]
    return kinds[rng.integers(len(kinds))]()


def space_of(rng, depth=0):
    if depth == 3 or rng.random() < 0.3:
        return leaf_of(rng)
    parts = [space_of(rng, depth + 1) for _ in range(rng.integers(1, 4))]
    names = rng.permutation(["b", "a c", "é", "image"])
    pairs = dict(zip(map(str, names), parts, strict=False))
    return spaces.Dict(pairs) if rng.random() < 0.5 else spaces.Tuple(parts)


@pytest.fixture(params=range(40))
def space(request):
    made = space_of(np.random.default_rng(request.param))
    made.seed(request.param)
    return made


def alike(one, other):
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def rows_of(space, n):
    return stacked([as_seen(space.sample(), space) for _ in range(n)])


def test_it_survives_json_and_its_observations_batches(space):
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space
    rows = rows_of(space, 5)
    assert fits(space, rows, 1) and fits(space, nothing_of(space), 1)
    assert all(space.contains(row_of(space, rows, row)) for row in range(5))
    back = concat_rows([take_rows(rows, [0, 1]), take_rows(rows, [2, 3, 4])])
    assert alike(back, rows)
    assert alike(put_rows(rows, [4, 0], take_rows(rows, [4, 0])), rows)
    assert alike(stacked([row_of(space, rows, row) for row in range(5)]), rows)


def test_start_frames_of_it_are_kept(space):
    contexts = stacked([rows_of(space, 2) for _ in range(3)])
    start = StartFrames(contexts, np.zeros((3, 1, 2), np.int64))
    again = unpack_start(pack_start(start), "start.npz")
    assert fits(space, again.observations, 2) and alike(again.observations, contexts)


def test_it_is_seen_as_it_is_shown(space):
    assert can_see(space, space)
    shown = as_seen(space.sample(), space)
    seen = Eye(space)(shown)
    assert space.contains(shown) and alike(stacked([seen]), stacked([shown]))


class Album:
    """Shows one observation after the other, and begins with any of them."""

    frame_skip, reward_transform, action_space = 1, "none", ACTIONS

    def __init__(self, space):
        self.observation_space, self.pages = space, rows_of(space, 4)
        contexts = stacked([self.pages] * 2)
        self.start = StartFrames(contexts, np.zeros((2, 3, 2), np.int64))

    def init(self, observations, actions, *, rng):
        assert fits(self.observation_space, observations, 2)
        return np.arange(len(actions)) % 4

    def step(self, state, action, *, rng):
        over = np.zeros(len(state), bool)
        return ModelStep((state + 1) % 4, np.zeros(len(state), np.float32), over)

    def decode(self, state):
        return take_rows(self.pages, state)


def test_dreams_show_it(space):
    model = Album(space)
    world = WorldModelEnv(model)
    shown, _ = world.reset(seed=0)
    assert space.contains(shown)
    dreams = WorldModelVectorEnv(model, 3, max_episode_steps=2, autoreset_mode="SameStep")
    batch = batch_space(space, 3)
    assert batch.contains(dreams.reset(seed=0)[0])
    for _ in range(2):
        seen, _, _, _, info = dreams.step(np.zeros((3, 2), int))
        assert batch.contains(seen)
    assert all(space.contains(last) for last in info["final_obs"])


def test_the_spaces_are_of_every_kind():
    made = [space_of(np.random.default_rng(seed)) for seed in range(40)]
    kinds = {type(leaf).__name__ for space in made for _, leaf in space_leaves(space)}
    assert kinds == {"Discrete", "Box", "MultiDiscrete", "MultiBinary", "Text"}
    assert {type(space).__name__ for space in made} >= {"Dict", "Tuple"}
