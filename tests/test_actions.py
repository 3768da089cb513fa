"""The one entry for actions: what is taken, cast, and refused."""

import numpy as np
import pytest
from gymnasium import spaces

from atari_vlm.actions import (
    as_action,
    as_actions,
    bounds,
    check_action_space,
    random_actions,
    still_action,
)
from atari_vlm.errors import ConfigError

ONE_TWO, BELOW = spaces.Discrete(2, start=1), spaces.Discrete(3, start=-1)
BOX = spaces.Box(-1, 1, (2,), np.float32)
PARTS = spaces.MultiDiscrete([2, 3], start=[1, -1])
FINE = spaces.Box(np.array([-0.1]), np.array([0.1]), dtype=np.float64)  # 0.1 is more in float32
TENTH = np.nextafter(np.float32(0.1), np.float32(0))


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([[2, 3]]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 1, (2, 2), np.float32),
        spaces.Box(-1, 1, (), np.float32),
        spaces.Box(0, 3, (1,), np.int32),
        spaces.Box(-1, 1, (1,), np.float16),
        spaces.Box(-np.inf, np.inf, (1,)),
        spaces.Box(np.float32([0, -np.inf]), np.float32([1, 1])),
        spaces.Dict({"a": ONE_TWO}),
        spaces.Tuple([ONE_TWO]),
        spaces.Text(3),
    ],
)
def test_other_spaces_are_refused_by_name(space):
    with pytest.raises(
        ConfigError, match=r"actions are Discrete, or a bounded Box .* one axis; the game has "
    ):
        check_action_space(space, "the game")


@pytest.mark.parametrize(
    ("space", "given", "wanted"),
    [
        (ONE_TWO, [1, 2], [1, 2]),
        (BELOW, np.array([-1, 1], np.int8), [-1, 1]),
        (ONE_TWO, np.array([[2]], np.uint64), [[2]]),
        (PARTS, [[1, -1], [2, 1]], [[1, -1], [2, 1]]),
        (PARTS, np.array([[[2, 0]]], np.int8), [[[2, 0]]]),
        (BOX, [[1, 0]], [[1, 0]]),
        (BOX, np.array([[0.7, -0.7]], np.float64), [[np.float32(0.7), np.float32(-0.7)]]),
        (
            FINE,
            [[0.1], [-0.1]],
            [
                [np.nextafter(np.float32(0.1), np.float32(0))],
                [-np.nextafter(np.float32(0.1), np.float32(0))],
            ],
        ),
        (spaces.Box(0, 0.7, (1,), np.float32), [[0.7]], [[np.float32(0.7)]]),
    ],
)
def test_numbers_are_cast(space, given, wanted):
    actions = as_actions(space, given)
    assert actions.dtype == (np.float32 if isinstance(space, spaces.Box) else np.int64)
    assert actions.tolist() == np.array(wanted).tolist() and actions is not given


@pytest.mark.parametrize(
    ("space", "given"),
    [
        (ONE_TWO, [0]),
        (ONE_TWO, [3]),
        (ONE_TWO, [1.0]),
        (ONE_TWO, [True]),
        (ONE_TWO, ["1"]),
        (ONE_TWO, [[1], [1, 2]]),
        (ONE_TWO, [2**63 + 1]),
        (PARTS, [[0, 0]]),
        (PARTS, [[1, 2]]),
        (PARTS, [[1]]),
        (PARTS, [1]),
        (PARTS, [[1.0, 0.0]]),
        (BOX, [[9.0, 0.0]]),
        (BOX, [[np.nan, 0.0]]),
        (BOX, [[1e300, 0.0]]),
        (BOX, [[0.0]]),
        (BOX, [[True, False]]),
        (BOX, [[None, 0.0]]),
    ],
)
def test_what_is_no_action_is_refused(space, given):
    with pytest.raises(ConfigError, match=r"^plans must"):
        as_actions(space, given, "plans")


def test_one_action_of_any_library():
    torch = pytest.importorskip("torch")
    for action in (2, np.int8(2), np.array(2), torch.tensor(2)):
        assert as_action(ONE_TWO, action) == 2 and type(as_action(ONE_TWO, action)) is int
    for action in (1.0, np.array([1]), "1", None):
        with pytest.raises(ConfigError):
            as_action(ONE_TWO, action)
    played = np.zeros(2)
    kept = as_action(BOX, played)
    played[:] = 1
    assert kept.dtype == np.float32 and not kept.any()
    with pytest.raises(ConfigError):
        as_action(BOX, np.zeros((1, 2)))
    parts = as_action(PARTS, torch.tensor([2, 1]))
    assert parts.dtype == np.int64 and parts.tolist() == [2, 1]
    assert still_action(PARTS).tolist() == [1, -1]


@pytest.mark.parametrize(
    "space",
    [ONE_TWO, BELOW, PARTS, BOX, FINE, spaces.Box(np.float32([0.5, 1]), np.float32([0.5, 3]))],
)
def test_what_is_drawn_is_of_the_space(space):
    drawn = random_actions(space, (200, 3), np.random.default_rng(0))
    assert all(
        space.contains(action) for action in drawn.reshape(600, *space.shape).astype(space.dtype)
    )
    assert as_actions(space, drawn).tolist() == drawn.tolist()
    assert as_actions(space, np.zeros((4, 0))).shape == (4, 0, *space.shape)
    as_action(space, still_action(space))


def test_bounds_lie_within():
    low, high = bounds(FINE)
    assert (
        low.dtype == np.float32
        and FINE.contains(high.astype(np.float64))
        and FINE.contains(low.astype(np.float64))
    )
