"""What memory says lies on the pixels that the emulator draws.

``python -m pytest -m slow -n 0 -s tests/objects/test_object_tables.py`` holds every game to it on 1,000 frames of three seeds and
prints the mean overlap of every object.
"""

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from seen_objects import FINDERS, agreement, played

from atari_vlm.objects.base import ScreenObject, Window, decimal, moved, signed
from atari_vlm.objects.tables import TABLES

LEAST = 0.9  # mean intersection over union
RUNS = {  # seed, frames a step, steps
    "MontezumaRevenge": [(0, 13, 380), (1, 1, 200)],
    "Seaquest": [(1, 8, 300)],
    "SpaceInvaders": [(5, 8, 250)],
}
LONGER = {
    "MontezumaRevenge": [(0, 5, 1000)]
}  # besides, by hand: the same ways, looked at more often
LATER = {"Seaquest": ("enemy submarine", "torpedo")}  # kinds that short play does not reach
FEW_RUNS = [(5, 1, 250), (5, 3, 250)]


def check(game, runs, least_boxes):
    found = agreement(game, chain(*(played(game, n, seed, skip=skip) for seed, skip, n in runs)))
    seen = {name: (round(mean, 3), count) for name, (mean, count) in found.items()}
    assert all(mean >= LEAST for mean, _ in found.values()), seen
    boxes = Counter()
    for name, (_, count) in found.items():
        boxes[TABLES[game].kinds[name]] += count
    wanted = set(TABLES[game].kinds.values()) - set(LATER.get(game, ()))
    assert all(boxes[kind] >= least_boxes for kind in wanted), boxes
    return found


def names_found(game):
    return [
        name for names in FINDERS[game] for name in ([names] if isinstance(names, str) else names)
    ]


def test_every_game_has_finders():
    assert FINDERS.keys() == TABLES.keys()
    for game, table in TABLES.items():
        assert set(names_found(game)) == table.kinds.keys()


@pytest.mark.parametrize("game", TABLES)
def test_memory_lies_on_the_pixels(game):
    check(game, RUNS.get(game, FEW_RUNS), 3)


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_pongs_paddles_are_as_high_as_its_switches_make_them(difficulty):
    found = agreement("Pong", played("Pong", 250, 5, skip=3, difficulty=difficulty))
    assert all(mean >= LEAST and count > 100 for mean, count in found.values()), found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("game", TABLES)
def test_memory_lies_on_the_pixels_for_long(game):
    runs = [(seed, skip, 1000 if skip == 1 else 500) for seed in range(3) for skip in (1, 4)]
    found = check(game, [*runs, *RUNS.get(game, ()), *LONGER.get(game, ())], 10)
    print(f"\n{game}")
    print("\n".join(f"  {name}: {v:.3f} of {n}" for name, (v, n) in found.items()))


@pytest.mark.parametrize("game", TABLES)
def test_tables_keep_their_size_and_their_order(game):
    table = TABLES[game]
    for memory, _ in played(game, 60, seed=1):
        reading = table.read(memory)
        names = [one.name for one in reading.objects]
        assert len(set(names)) == len(names) and set(names) <= table.kinds.keys()
        assert len(reading.hidden) == len(table.hidden)
        row = table.table(moved(reading.objects, (), 1), reading.hidden)
        assert row.shape == (len(table.columns),) and row.dtype == np.float32
        assert np.isfinite(row).all()
        shown = dict(zip(table.columns, row, strict=True))
        for name in table.kinds:
            assert shown[f"{name}.visible"] == (name in names)


@pytest.mark.parametrize("game", TABLES)
def test_boxes_lie_on_the_screen(game):
    for memory, _ in played(game, 200, seed=2, skip=4):
        for one in TABLES[game].read(memory).objects:
            left, top, right, bottom = one.box
            assert 0 <= left < right <= 160 and 0 <= top < bottom <= 210, one
            assert all(type(value) is int for value in one.box), one


def test_the_ball_of_breakout_moves_as_memory_says():
    """Whole pixels of a motion with fractions: the place after two frames is right to a pixel wherever nothing is hit."""
    balls = [
        next((one for one in TABLES["Breakout"].read(memory).objects if one.name == "ball"), None)
        for memory, _ in played("Breakout", 800, seed=3)
    ]
    misses = [
        max(abs(then.x - now.x - 2 * now.dx), abs(then.y - now.y - 2 * now.dy))
        for now, then in zip(balls, balls[2:], strict=False)
        if now and then and 110 < now.y < 180
    ]
    assert len(misses) > 200 and np.mean(np.array(misses) <= 1) > 0.95


def test_the_ball_of_pong_moves_as_memory_says():
    balls = [
        next((one for one in TABLES["Pong"].read(memory).objects if one.name == "ball"), None)
        for memory, _ in played("Pong", 800, seed=3)
    ]
    exact = [
        (then.x - now.x, then.y - now.y) == (now.dx, now.dy)
        for now, then in pairwise(balls)
        if now and then and 40 < now.y < 180 and 30 < now.x < 130
    ]
    assert len(exact) > 150 and np.mean(exact) > 0.95


def test_unknown_motion_is_filled_in():
    known = ScreenObject("a", 10, 10, 1, 1, 2.0, 0.0)
    now, before = ScreenObject("b", 14, 8, 1, 1), ScreenObject("b", 6, 10, 1, 1)
    assert moved([known, now], [before], 4) == (
        known,
        ScreenObject("b", 14, 8, 1, 1, 2.0, -0.5),
    )
    assert moved([now], [], 4)[0].dx == 0.0
    far = ScreenObject("b", 150, 8, 1, 1)
    assert (moved([far], [before], 4)[0].dx, moved([far], [before], 4)[0].dy) == (0.0, 0.0)


def test_what_is_outside_is_not_seen():
    window = Window(8, 20, 152, 200)
    assert window.clip(ScreenObject("a", 0, 30, 8, 4)) is None
    assert window.clip(ScreenObject("a", 4, 18, 8, 4)).box == (8, 20, 12, 22)


def test_numbers_in_bytes():
    assert [signed(byte) for byte in (0, 127, 128, 255)] == [0, 127, -128, -1]
    assert decimal(0x12, 0x34) == 1234
