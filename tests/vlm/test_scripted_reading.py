"""How the scripted player reads a request and a picture, and puts a move into the form that is asked for."""

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.agents.vlm_agent import answer_schema
from atari_vlm.description import Facts, list_actions
from atari_vlm.types import Image, Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.scripted.reading import Form, Request, read_request
from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import COLUMNS, FULL, ROWS, Box, Sight, bounding_box
from atari_vlm.vlm.scripted.writing import write_answer

NAMES = ("NOOP", "FIRE", "RIGHT", "LEFT")
LIST = list_actions(NAMES)


def picture(shade=0, shape=(ROWS, COLUMNS)):
    return Image(np.full((*shape, 3), shade, np.uint8))


def plans_schema(num_plans, horizon, names=NAMES):
    action = {"type": "string", "enum": list(names)}
    actions = {"type": "array", "items": action, "minItems": horizon, "maxItems": horizon}
    plan = {"type": "object", "properties": {"actions": actions}}
    listed = {"type": "array", "items": plan, "minItems": num_plans, "maxItems": num_plans}
    return {"type": "object", "properties": {"plans": listed}}


def read(*parts, system=LIST, **sampling):
    messages = (Message.of("system", system), Message.of("user", *parts))
    return read_request(messages, Sampling(**sampling))


@pytest.mark.parametrize(
    ("sampling", "form", "names"),
    [
        ({}, Form("text"), NAMES),
        ({"choices": ("UP", "DOWN")}, Form("choice"), ("UP", "DOWN")),
        ({"schema": answer_schema(["UP"])}, Form("json"), ("UP",)),
        ({"schema": plans_schema(4, 6, ("UP",))}, Form("plans", 4, 6), ("UP",)),
        ({"schema": {"properties": {"plans": {}}}}, Form("plans", 3, 5), NAMES),
        ({"schema": {"type": "object"}}, Form("json"), NAMES),
    ],
)
def test_what_the_sampling_demands_comes_before_the_words(sampling, form, names):
    request = read("go", **sampling)
    assert (request.form, request.actions) == (form, names)


@pytest.mark.parametrize(
    ("words", "form"),
    [
        ('Propose 3 "plans" of exactly 5 actions each', Form("plans", 3, 5)),
        ("Propose 3 plans of exactly 5 actions each", Form("text")),  # no JSON is spoken of
        ('Answer {"reasoning": "<short>", "action": "<NAME>"}', Form("json")),
        ("Say what you like", Form("text")),
    ],
)
def test_the_form_in_words(words, form):
    assert read("now", system=f"{words}\n{LIST}").form == form


def test_facts_come_from_the_question_else_the_game_from_the_instructions():
    facts = Facts("Pong", step=3, last_action="LEFT")
    assert read(facts.to_text()).facts == facts
    assert (
        read("no facts", system=f"You play the video game Freeway.\n{LIST}").facts.game == "Freeway"
    )
    assert read("no facts").facts == Facts("")


def test_a_list_of_something_else_is_no_list_of_actions():
    steps = "0: look at the ball\n2: be there"
    assert read(steps).actions == NAMES
    assert read(steps, system="no list here").actions == ()


def test_a_question_without_pictures_is_about_those_shown_last():
    messages = (
        Message.of("user", picture(1), picture(2), Facts("Pong", step=8).to_text()),
        Message.of("assistant", "hm"),
        Message.of("user", "Your answer cannot be used."),
    )
    request = read_request(messages, Sampling(choices=NAMES))
    assert [int(image.pixels[0, 0, 0]) for image in request.images] == [1, 2]
    assert request.facts.step == 8


def test_no_message_is_a_request_that_nothing_can_be_done_about():
    request = read_request((), Sampling())
    assert (request.images, request.actions, request.scene()) == ((), (), None)


def test_a_scene_holds_the_last_two_pictures_newest_first():
    scene = read(picture(1), picture(2), picture(3)).scene()
    assert scene.now.colours[0, 0] == 0x030303 and scene.before.colours[0, 0] == 0x020202
    assert read(picture(1)).scene().before is None


def test_dice_depend_on_picture_step_and_names_alone():
    def roll(shade=0, step=1, names=NAMES, form="text"):
        request = Request((picture(shade),), Facts("Pong", step=step), names, Form(form))
        return request.dice().random()

    assert roll() == roll(form="json")
    assert len({roll(), roll(shade=9), roll(step=2), roll(names=NAMES[:2])}) == 4


# ------------------------------------------------------------------ sight


@given(
    top=st.integers(0, ROWS - 1),
    left=st.integers(0, COLUMNS - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    factor=st.integers(1, 2),
)
def test_an_object_is_boxed_where_it_is_at_any_whole_scale(top, left, height, width, factor):
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    pixels[top : top + height, left : left + width] = (18, 52, 86)
    sight = Sight(Image(pixels.repeat(factor, axis=0).repeat(factor, axis=1)))
    box = sight.box(FULL, 0x123456)
    bottom, right = min(top + height, ROWS) - 1, min(left + width, COLUMNS) - 1
    assert box == Box(top, bottom, left, right) == sight.other_than(FULL, 0)
    assert (box.height, box.width) == (bottom - top + 1, right - left + 1)
    assert (box.y, box.x) == ((top + bottom) / 2, (left + right) / 2)


def test_a_palette_plane_reads_like_its_pixels_whatever_the_size():
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    for shape in ((ROWS, COLUMNS), (224, 224), (84, 84), (500, 401)):
        indices = rng.integers(0, 256, shape, dtype=np.uint8)
        plain, indexed = Image(palette[indices]), Image(palette[indices], indices, palette)
        assert np.array_equal(Sight(plain).colours, Sight(indexed).colours)
        assert Sight(plain).colours.shape == (ROWS, COLUMNS)


def test_what_is_outside_the_area_or_of_no_colour_is_not_seen():
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    pixels[10, 20] = 255
    sight = Sight(Image(pixels))
    assert sight.box(Box(11, 50, 0, 159), 0xFFFFFF) is None
    assert sight.box(Box(5, 50, 15, 30), 0xFFFFFF) == Box(10, 10, 20, 20)
    assert sight.box(FULL, 0x010101) is None and sight.other_than(FULL, 0, 0xFFFFFF) is None
    assert sight.mask(FULL, 0, 0xFFFFFF).all()
    assert bounding_box(np.zeros((3, 4), bool)) is None


# ------------------------------------------------------------------ steering and writing


def scene(actions, last=None):
    return Scene(Sight(picture()), None, Facts("Pong", last_action=last), actions, random.Random(0))


@pytest.mark.parametrize(
    ("push", "actions", "name"),
    [
        ({"right": 2, "down": -1, "fire": True}, ("NOOP", "UPRIGHTFIRE", "RIGHT"), "UPRIGHTFIRE"),
        ({"right": 2, "down": -1, "fire": True}, ("NOOP", "RIGHTFIRE", "UP"), "RIGHTFIRE"),
        ({"right": -1, "down": 1}, ("NOOP", "DOWN", "UP"), "DOWN"),
        ({"right": 1}, NAMES, "RIGHT"),
        ({"fire": True}, NAMES, "FIRE"),
        ({}, NAMES, "NOOP"),
        ({"down": 1}, ("LEFT", "RIGHT"), "LEFT"),  # nothing fits: the first
    ],
)
def test_the_legal_action_nearest_to_the_push(push, actions, name):
    assert scene(actions).steer(**push) == name


@pytest.mark.parametrize(
    ("last", "push"), [("UPRIGHTFIRE", 1), ("LEFT", -1), ("NOOP", 0), (None, 0)]
)
def test_the_last_push(last, push):
    assert scene(NAMES, last).last_push() == push


MOVE = Move("LEFT", "the ball – „there“")


def written(form, names=NAMES):
    return write_answer(MOVE, Request((picture(),), Facts("Pong"), names, form))


def test_a_move_in_each_form():
    assert written(Form("choice")) == "LEFT"
    assert written(Form("text")) == f"{MOVE.saw}\nACTION: LEFT"
    assert json.loads(written(Form("json"))) == {"reasoning": MOVE.saw, "action": "LEFT"}
    assert MOVE.saw in written(Form("json"))  # readable as it stands, no escapes


@given(num_plans=st.integers(1, 8), horizon=st.integers(1, 8), with_noop=st.booleans())
def test_plans_are_of_the_numbers_asked_for_and_begin_with_the_move(num_plans, horizon, with_noop):
    names = NAMES if with_noop else ("LEFT", "RIGHT")
    plans = json.loads(written(Form("plans", num_plans, horizon), names))["plans"]
    assert [len(plan["actions"]) for plan in plans] == [horizon] * num_plans
    assert all(plan["actions"][0] == "LEFT" and {*plan["actions"]} <= {*names} for plan in plans)
    if num_plans > 1:
        assert set(plans[1]["actions"][1:]) <= {"NOOP" if with_noop else "LEFT"}
