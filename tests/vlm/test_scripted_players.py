"""The players that see: paddles meet balls, the chicken lets cars pass; from drawn screens, without an emulator."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.description import Facts
from atari_vlm.types import Image
from atari_vlm.vlm.scripted.crossing import _best_rows, _blocked, play_freeway
from atari_vlm.vlm.scripted.paddles import play_breakout, play_pong, reflect
from atari_vlm.vlm.scripted.scene import Scene
from atari_vlm.vlm.scripted.shooters import play_assault, play_kaboom
from atari_vlm.vlm.scripted.sight import ROWS, Sight

NAMES = ("NOOP", "FIRE", "RIGHT", "LEFT", "UP", "DOWN")


def scene(now, before=None, last=None):
    sights = [None if pixels is None else Sight(Image(pixels)) for pixels in (now, before)]
    return Scene(*sights, Facts("Pong", last_action=last), NAMES, random.Random(0))


def pong(ball=None, paddle=100):
    pixels = np.full((210, 160, 3), (144, 72, 17), np.uint8)
    if paddle is not None:
        pixels[paddle : paddle + 16, 140:144] = (92, 186, 92)
    if ball:
        pixels[ball[0] : ball[0] + 4, ball[1] : ball[1] + 2] = 236
    return pixels


def breakout(ball=None, paddle=80):
    pixels = np.zeros((210, 160, 3), np.uint8)
    if paddle is not None:
        pixels[189:193, paddle : paddle + 16] = (200, 72, 72)
    if ball:
        pixels[ball[0] : ball[0] + 4, ball[1] : ball[1] + 2] = (200, 72, 72)
    return pixels


def freeway(chicken=170, cars=()):
    pixels = np.full((210, 160, 3), 142, np.uint8)
    if chicken is not None:
        pixels[chicken : chicken + 8, 44:50] = (252, 252, 84)
    for row, column in cars:
        pixels[row : row + 10, column : column + 8] = (200, 40, 40)
    return pixels


@given(position=st.floats(-500, 500), low=st.floats(-50, 50), span=st.floats(1, 200))
def test_a_mirrored_line_stays_inside_and_is_itself_inside(position, low, span):
    landing = reflect(position, low, low + span)
    assert low - 1e-6 <= landing <= low + span + 1e-6
    assert reflect(landing, low, low + span) == pytest.approx(landing, abs=1e-6)


def test_pong_without_a_paddle_is_no_scene_to_act_on():
    assert play_pong(scene(pong(paddle=None))) is None


@pytest.mark.parametrize(("paddle", "action"), [(40, "LEFT"), (170, "RIGHT"), (106, "NOOP")])
def test_pong_waits_in_the_middle_while_no_ball_is_there(paddle, action):
    move = play_pong(scene(pong(paddle=paddle)))
    assert move.action == action and "No ball" in move.saw


@pytest.mark.parametrize(("rows", "action"), [((150, 160), "LEFT"), ((80, 70), "RIGHT")])
def test_pong_goes_where_a_coming_ball_will_be(rows, action):
    before, now = (pong((row, column)) for row, column in zip(rows, (90, 100), strict=True))
    move = play_pong(scene(now, before))
    assert move.action == action and "it arrives at" in move.saw


def test_pong_does_not_run_after_a_ball_that_goes_away():
    move = play_pong(scene(pong((114, 60), paddle=106), pong((114, 90), paddle=106)))
    assert move.action == "NOOP" and "does not come to me" in move.saw


def test_a_push_that_is_still_running_counts():
    for paddle, last, action in (
        (126, None, "RIGHT"),
        (126, "RIGHT", "NOOP"),
        (114, "LEFT", "RIGHT"),
    ):
        assert play_pong(scene(pong(paddle=paddle), last=last)).action == action


def test_breakout_serves_waits_and_follows():
    assert play_breakout(scene(breakout(paddle=None))) is None
    assert play_breakout(scene(breakout())).action == "FIRE"
    rising = play_breakout(scene(breakout((120, 20)), breakout((130, 24))))
    assert rising.action == "LEFT" and "not falling" in rising.saw
    falling = play_breakout(scene(breakout((150, 110)), breakout((140, 104))))
    assert falling.action == "RIGHT" and "it lands at" in falling.saw
    below = play_breakout(scene(breakout((150, 87)), breakout((140, 87))))
    assert below.action == "NOOP"


def test_a_ball_off_the_side_wall_is_expected_back():
    move = play_breakout(scene(breakout((127, 139)), breakout((117, 129))))
    assert move.action == "RIGHT" and "it lands at x=103" in move.saw  # from 139 by way of 150


def test_freeway_without_a_chicken_is_no_scene_to_act_on():
    assert play_freeway(scene(freeway(chicken=None))) is None


def test_freeway_goes_up_an_empty_road_from_below_and_above_the_middle_line():
    for chicken in (170, 120, 60, 20):
        assert play_freeway(scene(freeway(chicken))).action == "UP"


def test_an_empty_road_blocks_nothing_and_a_car_its_lane_alone():
    assert not _blocked(Sight(Image(freeway()))).any()
    blocked = _blocked(Sight(Image(freeway(cars=[(172, 43)]))))
    assert blocked[0, 171] and not blocked[0, 171 - 16] and not blocked[:, :160].any()


def test_the_highest_row_that_is_safe_within_the_horizon():
    free = np.zeros((13, ROWS), bool)
    best = _best_rows(free)
    assert best[100] == 100 - 4 * 11 and best[0] == 0
    wall = free.copy()
    wall[:, 80:90] = True
    assert _best_rows(wall)[100] >= 90 and _best_rows(wall)[85] > ROWS  # in the wall: hit at once
    assert _best_rows(wall)[70] < 70


def kaboom(buckets=70, bombs=()):
    pixels = np.full((210, 160, 3), (82, 126, 45), np.uint8)
    if buckets is not None:
        pixels[150:160, buckets : buckets + 16] = (134, 134, 29)
    for row, column in bombs:
        pixels[row : row + 8, column : column + 6] = (74, 74, 74)
        pixels[row - 4 : row, column + 2] = (252, 144, 144)  # the fuse
    return pixels


@pytest.mark.parametrize(("column", "action"), [(20, "LEFT"), (130, "RIGHT"), (75, "NOOP")])
def test_kaboom_goes_under_the_lowest_bomb_whatever_falls_above(column, action):
    move = play_kaboom(scene(kaboom(bombs=[(80, 150 - column), (130, column)])))
    assert move.action == action and f"x={column + 2.5:.0f}" in move.saw


def test_kaboom_asks_for_bombs_and_needs_its_buckets():
    assert play_kaboom(scene(kaboom())).action == "FIRE"
    assert play_kaboom(scene(kaboom(buckets=None, bombs=[(130, 20)]))) is None


def assault(gun=80, enemies=(), shot=None):
    pixels = np.zeros((210, 160, 3), np.uint8)
    if gun is not None:
        pixels[180:182, gun : gun + 8] = 214
    for row, column in enemies:
        pixels[row : row + 8, column : column + 16] = (181, 83, 40)
    if shot:
        pixels[shot[0] : shot[0] + 8, shot[1]] = 214
    return pixels


def test_assault_shoots_straight_up_at_the_lowest_enemy_one_shot_at_a_time():
    above = [(60, 20), (100, 76)]
    assert play_assault(scene(assault(enemies=above))).action == "UP"
    assert play_assault(scene(assault(enemies=above, shot=(120, 84)))).action == "NOOP"
    assert play_assault(scene(assault(gun=None, enemies=above))) is None


def test_assault_goes_to_where_the_enemy_will_be():
    was, now = assault(enemies=[(100, 70)]), assault(enemies=[(100, 76)])
    assert play_assault(scene(now, was)).action == "RIGHT"
    assert play_assault(scene(was, now)).action == "LEFT"
