"""Which steps a replay keeps: rings against a plain list of episodes, and the refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.experience.rings import PER_ENV, Rings
from atari_vlm.experience.segments import draw, stop_after

LENGTHS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 7)), max_size=25)


def add(rings, env, length, closed=True):
    positions = [rings.add(env) for _ in range(length)]
    if closed:
        rings.close(env)
    return positions


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(7, 12), st.integers(0, 9))
def test_the_newest_whole_episodes_are_kept(lengths, capacity, reserve):
    rings = Rings(2, 2 * capacity, 2 * reserve)
    kept = {0: [], 1: []}
    for env, length in lengths:
        rings.saved()
        reached = 0
        while reached < length:  # no more steps between two saves than the reserve holds
            rings.saved()
            rings.add(env)
            reached += 1
        rings.close(env)
        kept[env].append(length)
        while sum(kept[env]) > capacity:
            kept[env].pop(0)
    firsts, stops = rings.bounds()
    assert (stops - firsts).tolist() == kept[0] + kept[1]
    assert len(rings) == sum(map(sum, kept.values())) == len(rings.kept())
    assert len(set(rings.kept().tolist())) == len(rings)  # a slot holds one step
    assert all(0 <= slot < rings.num_slots for slot in rings.kept())
    again = Rings(2, 2 * capacity, 2 * reserve)
    serial = np.full(rings.num_slots, -1)
    positions = [np.arange(a, b) for a, b in zip(firsts, stops, strict=True)]
    if positions:
        serial[rings.slots(np.concatenate(positions))] = np.concatenate(positions)
    again.restore(rings.arrays(), serial)
    assert again.written == rings.written and np.array_equal(again.kept(), rings.kept())


def test_positions_tell_environments_apart_and_go_on_for_ever():
    rings = Rings(2, 6, 0)
    assert add(rings, 0, 3) == [0, 1, 2] and add(rings, 1, 2) == [PER_ENV, PER_ENV + 1]
    assert add(rings, 0, 2) == [3, 4]
    firsts, stops = rings.spans()
    assert firsts.tolist() == [3, PER_ENV] and stops.tolist() == [5, PER_ENV + 2]
    assert rings.newest(2, env=1).tolist() == rings.slots(np.array([PER_ENV, PER_ENV + 1])).tolist()
    assert rings.written == [5, 2]


def test_an_episode_goes_on_until_it_is_closed():
    rings = Rings(1, 10, 0)
    add(rings, 0, 2, closed=False)
    add(rings, 0, 2)
    assert not rings.close(0)
    add(rings, 0, 1, closed=False)
    assert rings.bounds()[0].tolist() == [0, 4] and rings.close(0)


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        ((0, 10, 0), "num_envs"),
        ((1, 0, 0), "capacity"),
        ((4, 3, 0), "capacity_of_each_environment"),
        ((1, 5, -1), "reserve"),
    ],
)
def test_sizes_that_hold_nothing_are_named(sizes, word):
    with pytest.raises(ConfigError, match=word):
        Rings(*sizes)


def test_what_does_not_fit_is_refused():
    rings = Rings(1, 4, 0)
    with pytest.raises(RunError, match="is empty"):
        rings.spans()
    add(rings, 0, 4, closed=False)
    with pytest.raises(RunError, match=r"longer than the replay buffer \(4 steps\)"):
        rings.add(0)


def test_steps_that_no_checkpoint_knows_are_never_overwritten():
    rings = Rings(1, 4, 3)
    add(rings, 0, 3)
    with pytest.raises(RunError, match="more than 3 steps"):
        rings.add(0)
    rings.saved()
    assert add(rings, 0, 3) == [3, 4, 5]


def saved_rings():
    rings = Rings(2, 8, 0)
    add(rings, 0, 3)
    add(rings, 1, 2)
    serial = np.full(rings.num_slots, -1)
    serial[rings.kept()] = [0, 1, 2, PER_ENV, PER_ENV + 1]
    return rings, serial


@pytest.mark.parametrize("fault", ["serial", "written", "before", "beyond"])
def test_saved_rings_that_do_not_fit_together_are_refused(fault):
    rings, serial = saved_rings()
    arrays = rings.arrays()
    if fault == "serial":
        serial[1] = 7
    elif fault == "written":
        arrays["cursor"][0] += 1
    else:
        arrays["starts"][0] = -40 if fault == "before" else 5 * PER_ENV
    with pytest.raises(RunError, match="does not fit together"):
        Rings(2, 8, 0).restore(arrays, serial)


def test_rings_of_another_number_of_environments_are_refused():
    rings, serial = saved_rings()
    with pytest.raises(RunError, match="of 2 environments, this one of 1"):
        Rings(1, 8, 0).restore(rings.arrays(), serial)


def test_every_permitted_beginning_is_drawn_equally_often():
    firsts, choices = np.array([10, 100, 200]), np.array([1, 4, 5])
    drawn = draw(firsts, choices, 20_000, np.random.default_rng(0))
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [10, *range(100, 104), *range(200, 205)]
    assert np.allclose(counts, 2000, atol=200)


def test_a_position_lies_in_the_stretch_that_holds_it():
    firsts, stops = np.array([0, 5, PER_ENV]), np.array([5, 9, PER_ENV + 2])
    positions = np.array([[0, 4], [5, 8], [PER_ENV, PER_ENV + 1]])
    expected = [[5, 5], [9, 9], [PER_ENV + 2] * 2]
    assert stop_after(positions, firsts, stops).tolist() == expected
