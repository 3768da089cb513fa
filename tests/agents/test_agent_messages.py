import dataclasses

import numpy as np
import pytest
from agent_fakes import NAMES, SayingVLM, see

from atari_vlm import prompts
from atari_vlm.agents import VLMAgent
from atari_vlm.agents.messages import MessageOptions, in_form
from atari_vlm.agents.pictures import scaled, tiled, with_axes
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.pil_images import to_pil
from atari_vlm.types import Image, Message, Source

EXAMPLES = (
    Message.of(
        "user", Image(np.full((12, 16, 3), 200, np.uint8)), "Example: Pong. Reward +1 followed."
    ),
    Message.of("assistant", "It falls.\nACTION: LEFT"),
)


def play(vlm, steps, *, stack=None, examples=(), **options):
    agent = VLMAgent(vlm, examples=examples, options=VLMAgentOptions(**options))
    agent.reset(seed=0)
    return [agent.act(see(step, stack=stack)) for step in range(steps)]


def values(message):
    """The fill value of each picture of a message."""
    return [int(image.pixels[0, 0, 0]) for image in message.images]


def test_order_constant_prefix_first():
    vlm = SayingVLM("I see.\nACTION: UP")
    play(vlm, 4, examples=EXAMPLES, turns=2)
    messages = vlm.requests[-1][0]
    assert [m.role for m in messages] == [
        "system",
        "user",
        "assistant",
        *["user", "assistant"] * 2,
        "user",
    ]
    assert messages[0].text == prompts.instructions("cot", "Pong", NAMES, answer="text")
    assert messages[1:3] == EXAMPLES
    assert [m.text for m in messages[3:7]] == [
        see(1)["text"],
        "I see.\nACTION: UP",
        see(2)["text"],
        "I see.\nACTION: UP",
    ]
    assert messages[-1].parts[-1].text == see(3)["text"]
    for request, _ in vlm.requests:
        assert request[:3] == messages[:3]


def test_frames_come_oldest_first_from_memory_or_from_the_stack():
    from_memory, from_stack, short_stack = SayingVLM("UP"), SayingVLM("UP"), SayingVLM("UP")
    play(from_memory, 6, frames=3)
    play(from_stack, 6, frames=3, stack=4)
    play(short_stack, 6, frames=3, stack=2)
    assert [values(request[-1]) for request, _ in from_memory.requests] == [
        [0],
        [0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
    ]
    assert values(from_stack.requests[0][0][-1]) == [0, 0, 0]
    assert (
        values(from_stack.requests[5][0][-1]) == values(short_stack.requests[5][0][-1]) == [3, 4, 5]
    )


def test_frames_keep_palette_and_encoding_from_the_picture_they_were():
    palette = np.arange(768, dtype=np.uint8).reshape(256, 3)
    planes = [np.full((12, 16), value, np.uint8) for value in range(4)]
    vlm = SayingVLM("UP")
    agent = VLMAgent(vlm)
    for step in range(1, 4):
        observation = see(step)
        observation["image"] = to_pil(palette[planes[step]], indices=planes[step], palette=palette)
        observation["frames"] = np.stack([palette[planes[step - 1]], palette[planes[step]]])
        agent.act(observation)
    first, second = vlm.requests[-1][0][-1].images
    assert first.indices is not None and second.indices is not None
    assert first is vlm.requests[-2][0][-1].images[1]


def test_an_array_that_the_environment_writes_into_again_does_no_harm():
    vlm = SayingVLM("UP")
    agent = VLMAgent(vlm, options=VLMAgentOptions(turns=1, turn_images=1))
    observation = see(1)
    agent.act(observation)
    observation["image"][:] = 9
    assert values(vlm.requests[0][0][-1]) == [1]


@pytest.mark.parametrize(
    ("turns", "turn_images", "pictures"),
    [(0, 0, []), (2, 0, [0, 0]), (2, 1, [0, 2]), (3, 9, [2, 2, 2])],
)
def test_limits_of_turns_and_of_their_pictures(turns, turn_images, pictures):
    vlm = SayingVLM("UP")
    play(vlm, 6, turns=turns, turn_images=turn_images)
    assert [len(m.images) for m in vlm.requests[-1][0] if m.role == "user"] == [*pictures, 2]


def test_no_frames_at_all():
    vlm = SayingVLM("UP")
    play(vlm, 2, frames=0)
    assert all(not m.images for request, _ in vlm.requests for m in request)


def test_turns_hold_no_thinking_and_no_unusable_replies():
    vlm = SayingVLM("<think>hm</think>ACTION: UP", "what", "what", "ACTION: DOWN")
    decisions = play(vlm, 3, turns=3)
    assert decisions[1].source is Source.FALLBACK
    assert [m.text for m in vlm.requests[-1][0] if m.role == "assistant"] == ["ACTION: UP"]


@pytest.mark.parametrize("feedback", [True, False])
def test_feedback_after_an_answer_that_could_not_be_used(feedback):
    vlm = SayingVLM("ACTION: JUMP", "ACTION: JUMP", "ACTION: UP")
    play(vlm, 3, feedback=feedback)
    second, third = vlm.requests[2][0][-1], vlm.requests[3][0][-1]
    assert ("'JUMP' is not one of the legal actions); NOOP was played." in second.text) == feedback
    assert second.parts[-1].text == see(1)["text"]
    assert "Your last answer" not in third.text


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("text", "It falls.\nACTION: LEFT"),
        ("json", '{"reasoning": "It falls.", "action": "LEFT"}'),
        ("choice", "LEFT"),
    ],
)
def test_examples_take_the_form_of_answer_that_is_asked_for(answer, reply):
    for given in ("It falls.\nACTION: LEFT", '{"reasoning": "It falls.", "action": "LEFT"}'):
        vlm = SayingVLM("UP")
        play(vlm, 1, examples=(EXAMPLES[0], Message.of("assistant", given)), answer=answer)
        assert vlm.requests[0][0][2].text == reply
    assert in_form("LEFT", "choice", NAMES) == "LEFT"
    assert in_form('{"plans": [["UP"]]}', "plans", NAMES) == '{"plans": [["UP"]]}'


def test_wrong_examples_are_refused():
    with pytest.raises(ConfigError, match="pairs"):
        VLMAgent(SayingVLM("UP"), examples=EXAMPLES[:1])
    foreign = (EXAMPLES[0], Message.of("assistant", "ACTION: JUMP"))
    with pytest.raises(MismatchError, match="'JUMP'"):
        VLMAgent(SayingVLM("UP"), examples=foreign).act(see())


def test_scale_and_layout_hold_for_examples_too():
    vlm = SayingVLM("UP")
    two = (
        dataclasses.replace(EXAMPLES[0], parts=(EXAMPLES[0].images[0], *EXAMPLES[0].parts)),
        EXAMPLES[1],
    )
    play(vlm, 3, examples=two, scale=2.0, frame_layout="strip")
    request = vlm.requests[-1][0]
    assert [image.pixels.shape for image in request[1].images] == [(24, 68, 3)]
    assert [image.pixels.shape for image in request[-1].images] == [(24, 68, 3)]


@pytest.mark.parametrize(("layout", "shape"), [("strip", (210, 652, 3)), ("grid", (424, 324, 3))])
def test_joined_pictures_stand_in_reading_order(layout, shape):
    frames = [Image(np.full((210, 160, 3), 10 * n, np.uint8)) for n in range(1, 5)]
    (whole,) = tiled(frames, layout)
    assert whole.pixels.shape == shape
    spots = (
        [(0, 0), (0, 164), (0, 328), (0, 492)]
        if layout == "strip"
        else [(0, 0), (0, 164), (214, 0), (214, 164)]
    )
    assert [whole.pixels[spot][0] for spot in spots] == [10, 20, 30, 40]
    assert (whole.pixels[:, 160:164] == 255).all()


def indexed(seed=0, colours=4):
    rng = np.random.default_rng(seed)
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    indices = rng.integers(0, colours, (210, 160)).astype(np.uint8)
    return Image(palette[indices], indices, palette)


CHANGES = {
    "scaled": lambda image: scaled(image, 3),
    "axes": with_axes,
    "scaled axes": lambda image: with_axes(scaled(image, 1.5), 1.5),
    "strip": lambda image: tiled([image, image], "strip")[0],
    "grid of axes": lambda image: tiled([with_axes(image)] * 3, "grid")[0],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_palette_plane_survives_and_the_pixels_are_those_without_it(change):
    image = indexed()
    kept, plain = change(image), change(Image(image.pixels))
    assert kept.indices is not None and plain.indices is None
    assert kept == plain
    assert (kept.palette[kept.indices] == kept.pixels).all()


def test_pictures_that_use_the_whole_palette_or_different_ones_lose_the_plane_only():
    full, other = indexed(colours=256), Image(np.zeros((210, 160, 3), np.uint8))
    assert with_axes(full) == with_axes(Image(full.pixels))
    assert tiled([indexed(), other], "strip")[0].indices is None
    one = indexed()
    recoloured = Image(255 - one.pixels, one.indices, 255 - one.palette)
    assert tiled([one, recoloured], "strip") == tiled(
        [Image(one.pixels), Image(recoloured.pixels)], "strip"
    )


def test_axes_cover_nothing_and_stand_at_their_pixels():
    picture = Image(np.zeros((210, 160, 3), np.uint8))
    drawn = with_axes(scaled(picture, 2), 2).pixels
    assert drawn.shape == (16 + 420, 30 + 320, 3)
    assert not drawn[16:, 30:].any()
    ticks = np.flatnonzero((drawn[15, 30:] == 255).all(1))
    assert ticks.tolist() == [2 * x for x in range(0, 160, 20)]
    assert np.flatnonzero((drawn[16:, 29] == 255).all(1)).tolist() == [
        2 * y for y in range(0, 210, 20)
    ]
    assert (drawn[:10, 30:] == 255).any() and (drawn[16:, :24] == 255).any()  # labels


def test_scaling_down_takes_the_mean():
    assert (
        scaled(
            Image(np.tile(np.array([0, 200], np.uint8), (4, 8))[..., None].repeat(3, 2)), 0.5
        ).pixels[0, 0, 0]
        == 100
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": -1},
        {"turns": 1.5},
        {"turn_images": True},
        {"scale": 0},
        {"scale": float("nan")},
        {"frame_layout": "row"},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MessageOptions(**wrong)
    with pytest.raises(UnknownNameError, match="strip"):
        MessageOptions(frame_layout="stripe")
