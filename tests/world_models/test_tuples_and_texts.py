"""Observations in tuples and dicts with texts, and actions in parts, all the way."""

import io

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from signpost import SPACE, STEPS, Signpost

from atari_vlm.agents import CEMAgent
from atari_vlm.checker import check_world_model
from atari_vlm.errors import (
    CheckpointError,
    ConfigError,
    ContractError,
    MismatchError,
    NotSupportedError,
)
from atari_vlm.planning import CEMConfig, MPPIConfig, cem, mcts, mppi
from atari_vlm.space_trees import (
    described,
    fits,
    map_space,
    nothing_of,
    picture_in,
    row_of,
    space_leaves,
)
from atari_vlm.trees import leaves, texts
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.checkpoint_start import pack_start, unpack_start
from atari_vlm.world_models.seeing import as_seen, can_see
from atari_vlm.world_models.view import Context
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

RGB = spaces.Box(0, 255, (8, 8, 3), np.uint8)


def test_the_checker_takes_tuples_texts_and_actions_in_parts():
    check_world_model(Signpost(), rows=4)

    class Says(Signpost):
        def decode(self, state):
            place, rest = super().decode(state)
            return place, {**rest, "sign": rest["sign"].astype(str)}

    with pytest.raises(ContractError, match=r"decode\(\) returns Tuple.*sign: <U7"):
        check_world_model(Says(), start=Signpost().start)

    class Mixes(Signpost):
        def decode(self, state):
            place, rest = super().decode(state)
            return place, {**rest, "sign": np.roll(rest["sign"], 1)}

    with pytest.raises(ContractError, match="frames of a row depend on that row only"):
        check_world_model(Mixes(), start=Signpost().start)

    class Mutters(Signpost):
        def imagined_text(self, state):
            return super().imagined_text(state)[1:]

    with pytest.raises(ContractError, match=r"imagined_text\(\) is a list of 4 strings"):
        check_world_model(Mutters())


def test_small_differences_of_floats_and_numbers_are_seen():
    class Near(Signpost):
        def observe(self, state, action, observation, *, rng):
            places = np.clip(observation[0] + 1, 0, 4)  # the neighbour
            return np.stack([places, state[:, 1]], 1)

    with pytest.raises(ContractError, match=r"observe\(\) gives the state"):
        check_world_model(Near())


def test_a_dream_is_an_environment():
    world = WorldModelEnv(Signpost(), max_episode_steps=9)
    check_env(world, skip_render_check=True)
    (place, rest), info = world.reset(seed=0)
    assert SPACE.contains((place, rest)) and isinstance(rest["sign"], str)
    assert info == {"imagined_steps": 0, "imagined_text": f"at {place}"}
    (after, _), *_, info = world.step([1 if place < 4 else -1, 1])
    assert abs(after - place) == 1 and info["imagined_text"] == f"at {after}"


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_many_dreams(mode):
    dreams = WorldModelVectorEnv(Signpost(), 5, max_episode_steps=2, autoreset_mode=mode)
    shown, info = dreams.reset(seed=0)
    assert dreams.observation_space.contains(shown)
    assert info["imagined_text"] == [f"at {place}" for place in shown[0]]
    for _ in range(2):
        shown, _, terminated, truncated, info = dreams.step(np.array([[0, 1]] * 5))
        assert dreams.observation_space.contains(shown) and not terminated.any()
    assert truncated.all() and len(info["imagined_text"]) == 5
    if mode == "SameStep":
        assert all(SPACE.contains(last) for last in info["final_obs"])
        texts_of_ends = info["final_info"]["imagined_text"]
        assert texts_of_ends == [f"at {last[0]}" for last in info["final_obs"]]


def test_what_draws_nothing_is_not_rendered():
    class Draws(Signpost):
        def render(self, state):
            pictures = np.zeros((len(state), 4, 5, 3), np.uint8)
            pictures[np.arange(len(state)), :, state[:, 0]] = 255
            return pictures

    check_world_model(Draws())
    world = WorldModelEnv(Draws(), render_mode="rgb_array")
    (place, _), _ = world.reset(seed=0)
    assert world.render().shape == (4, 5, 3) and world.render()[0, place, 0] == 255
    for make in (WorldModelEnv, lambda model, **how: WorldModelVectorEnv(model, 2, **how)):
        plain = make(Signpost(), render_mode="rgb_array")
        assert plain.render() is None
        plain.reset(seed=0)
        with pytest.raises(NotSupportedError, match="draws nothing"):
            plain.render()
        silent = make(Signpost())
        silent.reset(seed=0)
        assert silent.render() is None

    class Blank(Draws):
        def render(self, state):
            return super().render(state)[:1]

    with pytest.raises(ContractError, match=r"render\(\) draws uint8 \(4, H, W, 3\)"):
        check_world_model(Blank())


def test_planners_search_actions_in_parts():
    model, rng = Signpost(), np.random.default_rng(0)
    state = np.array([[0, 3]])
    for search, config in ((cem, CEMConfig(3, 64, 8, 4)), (mppi, MPPIConfig(3, 64, 4))):
        found = search(model, state, config, rng=rng)
        plan = found.plans[found.best]
        assert found.plans.dtype == np.int64 and found.plans.shape[1:] == (3, 2)
        assert all(STEPS.contains(action) for action in plan) and found.scores[found.best] == 1
    again = cem(model, state, CEMConfig(3, 64, 8, 4), rng=rng, warm_start=plan)
    assert again.scores.max() == 1
    with pytest.raises(NotSupportedError, match="mcts needs discrete actions"):
        mcts(model, state, rng=rng)


def test_an_agent_plays_with_actions_in_parts():
    world = WorldModelEnv(Signpost(), max_episode_steps=9)
    agent = CEMAgent(Signpost(), CEMConfig(4, 64, 8, 3))
    agent.reset(seed=0)
    observation, _ = world.reset(seed=1)
    decision = agent.act(observation)
    assert STEPS.contains(decision.action)


def test_start_frames_of_tuples_and_texts_are_kept():
    start = Signpost().start
    raw = pack_start(start)
    again = unpack_start(raw, "start.npz")
    assert fits(SPACE, again.observations, 2) and again.actions.dtype == np.int64
    pairs = zip(leaves(again.observations), leaves(start.observations), strict=True)
    assert all(one.tolist() == other.tolist() for one, other in pairs)
    WorldModelEnv(Signpost(), start=again).reset(seed=0)
    alone = StartFrames(texts(["", "é\0", "x"])[:, None], np.zeros((3, 0), np.int64))
    assert unpack_start(pack_start(alone), "a").observations[:, 0].tolist() == ["", "é\0", "x"]
    lone = StartFrames(texts(["\ud800"])[:, None], np.zeros((1, 0), np.int64))
    with pytest.raises(ConfigError, match="strings of UTF-8"):
        pack_start(lone)
    with pytest.raises(ConfigError, match="round brackets"):
        pack_start(StartFrames({"(0)": np.zeros((1, 1))}, np.zeros((1, 0), np.int64)))


@pytest.mark.parametrize(
    "names",
    [
        ("observations/(0)", "observations/(2)"),
        ("observations/(0)", "observations/a"),
        ("observations/(x)",),
        ("observations/(utf-8)",),
        ("observations/(utf-8)/(utf-8)",),
        ("observations", "observations/(utf-8)"),
    ],
)
def test_damaged_start_frames_are_refused(names):
    file = io.BytesIO()
    array = np.full((1, 1, 3), 200, np.uint8)  # no UTF-8
    np.savez_compressed(file, actions=np.zeros((1, 0), np.int64), **dict.fromkeys(names, array))
    with pytest.raises(CheckpointError):
        unpack_start(file.getvalue(), "start.npz")


def test_what_a_space_says_of_observations():
    paths = [path for path, _ in space_leaves(SPACE)]
    assert paths == [(0,), (1, "body"), (1, "sign")]
    empty = nothing_of(SPACE)
    assert fits(SPACE, empty, 1) and described(empty) == (
        "(int64 (0,), {body: float32 (0, 2), sign: object (0,)})"
    )
    assert not fits(SPACE, list(empty), 1) and not fits(SPACE, (*empty, 0), 1)
    row = row_of(SPACE, Signpost().decode(np.array([[2, 3]])), 0)
    assert SPACE.contains(row) and map_space(lambda leaf, value: leaf.contains(value), SPACE, row)
    assert picture_in(SPACE) is None and picture_in(RGB) == ()
    deep = spaces.Dict({"a": spaces.Tuple((RGB, spaces.Discrete(2)))})
    assert picture_in(deep) == ("a", 0)
    assert picture_in(spaces.Dict({"image": RGB, "map": RGB})) == ("image",)
    assert picture_in(spaces.Dict({"a": RGB, "map": RGB})) is None


def test_a_context_keeps_texts_and_numbers_as_they_were():
    seen = as_seen((np.int64(3), {"sign": "go to 1", "body": np.array([1.0, 2.0])}), SPACE)
    assert SPACE.contains((int(seen[0]), seen[1])) and seen[1]["body"].dtype == np.float32
    context = Context(Signpost())
    assert fits(SPACE, context.arrays()[0], 1)
    context.observed(seen)
    assert fits(SPACE, context.arrays()[0], 1)
    assert can_see(SPACE, SPACE) and not can_see(SPACE, spaces.Tuple((spaces.Discrete(5),)))
    for wrong in (
        (3, {"sign": "more than twelve", "body": np.zeros(2)}),
        (3, {"sign": 7, "body": np.zeros(2)}),
    ):
        with pytest.raises(MismatchError, match="the model reads Text"):
            as_seen(wrong, SPACE)
    with pytest.raises(MismatchError, match="entry 1; the environment shows 0"):
        as_seen((3,), SPACE)
