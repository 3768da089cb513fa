"""An apprentice plays and its teacher says what it would have done; a run that was stopped goes on exactly."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch

from atari_vlm.errors import ConfigError, RunError, StoppedError
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.progress import Quiet
from atari_vlm.training.tuning.apprentice import ApprenticeConfig, ApprenticeRun, Apprenticeship
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.experience import Experience, Shrinking, packed, unpacked
from atari_vlm.training.tuning.learner import TuningLearner, UpdateConfig
from atari_vlm.training.tuning.places import Places, _eyes, named_numbers
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.types import Message
from atari_vlm.vlm.local import engine
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import PlayerShape, build_player

SHAPE = PlayerShape(
    width=32, vision_width=32, patch=14, most_tokens=9, temporal=1, smooth=True, fluent=("Catch",)
)
CONFIG = ApprenticeConfig(
    lanes={"Catch": 2, "SoloPong": 1}, rounds=3, steps=6, updates=2, watching=1, explore=0.3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_player(tmp_path_factory.mktemp("base"), 0, SHAPE)


class Stopping:
    """Says stop when it has been asked often enough."""

    def __init__(self, after):
        self.left = after

    def is_set(self):
        self.left -= 1
        return self.left < 0


class Silent(Quiet):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def training(folder, where, stop=None):
    base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
    learning = UpdateConfig(updates=6, batch_size=4)
    where.mkdir(exist_ok=True)
    return Apprenticeship(ApprenticeRun(where, base, CONFIG, learning, stop, Silent()))


def weights(trained):
    return {name: p.detach().numpy().copy() for name, p in trained.learner.weights.items()}


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    torch.set_num_threads(1)
    run = training(folder, tmp_path_factory.mktemp("whole"))
    run.train()
    run.close()
    return run


def test_every_move_of_every_game_is_learned_from_with_the_teachers_action(whole):
    assert len(whole.experience) == 3 * 6 * 3 and whole.learner.updates == 6
    lines = whole._log.lines
    assert [said.split(":")[0] for said in whole.run.progress.said] == [
        f"round {n} of 3" for n in (1, 2, 3)
    ]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"agreement.Catch", "agreement.SoloPong", "look"} <= lines[0].keys()


def test_the_first_rounds_are_the_teachers_and_later_ones_its_own():
    shares = [CONFIG.own_share(n) for n in (1, 2, 3)]
    assert shares == [0.0, 0.8, 0.8]
    slow = ApprenticeConfig(lanes={"Catch": 1}, watching=4)
    assert [slow.own_share(n) for n in (4, 6, 8, 20)] == pytest.approx([0, 0.4, 0.8, 0.8])


@pytest.mark.parametrize("after", [9, 21])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(folder, whole, tmp_path, after):
    stopped = training(folder, tmp_path, Stopping(after))
    with pytest.raises(StoppedError):
        stopped.train()
    stopped.close()
    again = training(folder, tmp_path)
    again.train()
    again.close()
    ours, theirs = weights(again), weights(whole)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert len(again.experience) == len(whole.experience)


def test_a_small_picture_is_what_the_model_sees_anyway(folder):
    base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
    run = training(folder, folder / "unused")
    asked = run.lanes[0].asked
    run.close()
    small = Shrinking(base)(asked)
    assert small.messages[1].images[0].pixels.shape == (56, 56, 3)  # of 64 x 64
    before, after = (base.encoder.encode(d.messages) for d in (asked, small))
    assert np.array_equal(before.ids, after.ids)
    for one, other in zip(before.pieces, after.pieces, strict=True):
        assert np.array_equal(one.tensors["pixel_values"], other.tensors["pixel_values"])


def test_what_was_played_is_read_back_as_it_was_written(whole, tmp_path):
    decisions = [whole.experience[n] for n in range(len(whole.experience))]
    read = unpacked(packed(decisions))
    assert [(d.names, d.action, d.episode) for d in read] == [
        (d.names, d.action, d.episode) for d in decisions
    ]
    assert all(a.messages == b.messages for a, b in zip(read, decisions, strict=True))
    (tmp_path / "round-00001.npz").write_bytes(b"PK nothing")
    with pytest.raises(RunError, match=r"round-00001\.npz cannot be read"):
        Experience(tmp_path).read(1)


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"alone": 1.5}, {"explore": 1.0}, {"wander": 1.0}, {"watching": -1}]
)
def test_shares_and_counts_that_are_none(wrong):
    with pytest.raises(ConfigError):
        ApprenticeConfig(lanes={"Catch": 1}, **wrong)


def test_plain_pictures_and_walls_are_little_to_smooth_filters_and_a_dot_is_something(folder):
    base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
    visual = base.network.model.visual
    plain = torch.full((1, 3 * 14 * 14), 0.7)
    moved = [plain.clone().reshape(3, 14, 14) for _ in range(2)]
    for column, picture in zip((6, 7), moved, strict=True):
        picture[:, 5:7, column : column + 2] = 2.0
    wall = torch.zeros(3, 14, 14)
    wall[:, :, 10:] = 2.0
    with torch.no_grad():
        nothing, one, other, walled = (
            visual.patch_embed(p.reshape(1, -1))[0] - visual.patch_embed.proj.bias
            for p in (plain, *moved, wall)
        )
    seen = (one - nothing).norm()
    assert nothing.norm() < seen
    assert (one - other).norm() < 0.9 * seen  # a step of one pixel changes little
    assert walled.norm() < 8 * seen  # with 14 times as many pixels


def test_games_are_closed_and_made_by_their_names(folder, tmp_path):
    run = training(folder, tmp_path)
    assert run.games == ["Catch", "Catch", "SoloPong"]
    assert run.lanes[0].asked.names == tuple(
        line.split(": ")[1].split(" ")[0]
        for line in make_env({"game_name": "Catch"}).reset(seed=0)[0]["action_space"].splitlines()
    )
    run.close()


def test_what_prompts_begin_with_is_computed_once_and_learned_from_all_the_same(
    folder, whole, monkeypatch
):
    batch = [whole.experience[n] for n in range(0, 12, 2)]
    found = {}
    for name, worthwhile in (("once", 4), ("each", 10_000)):
        monkeypatch.setattr(engine, "WORTHWHILE", worthwhile)
        base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
        counted = mock.Mock(side_effect=base.engine._forward)
        monkeypatch.setattr(base.engine, "_forward", counted)
        learner = TuningLearner(base, "full", UpdateConfig(updates=6))
        scores, _ = learner._worded(batch)
        torch.cat(scores).sum().backward()
        gradients = {n: p.grad.clone() for n, p in learner.weights.items() if p.grad is not None}
        found[name] = torch.cat(scores).detach(), gradients, counted.call_count
    (ones, one_gradients, one_passes), (eachs, each_gradients, each_passes) = (
        found["once"],
        found["each"],
    )
    games = len({d.messages[0].text for d in batch})
    assert (one_passes, each_passes) == (2 * games, 1)
    assert torch.allclose(ones, eachs, atol=1e-5)
    assert one_gradients.keys() == each_gradients.keys()
    assert all(torch.allclose(g, each_gradients[n], atol=1e-4) for n, g in one_gradients.items())


def test_the_teachers_words_are_learned_beside_its_action(folder, whole):
    base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
    learner = TuningLearner(base, "full", UpdateConfig(updates=40, batch_size=6, reasoning=1.0))
    batch = [whole.experience[n] for n in range(6)]
    assert all(decision.reasoning for decision in batch)
    first = learner.update(batch, np.ones(6))
    for _ in range(8):
        last = learner.update(batch, np.ones(6))
    assert last["reasoning"] < first["reasoning"]
    scores, words = learner._worded(batch)
    alone = [learner.states([d])[0][0] for d in batch]  # answers do not see the words
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(scores, alone, strict=True))
    assert (torch.stack(words).detach() > 0).all()
    learner.config = UpdateConfig(updates=40)
    assert "reasoning" not in learner.update(batch, np.ones(6))


def test_the_rate_holds_and_falls_over_its_share():
    config = UpdateConfig(updates=100, learning_rate=1.0, warm_up=0.0, falling=0.8)
    rates = [config.rate(update) for update in (1, 20, 60, 100)]
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.05])
    for falling in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="falling"):
            UpdateConfig(falling=falling)


def test_numbers_are_called_by_game_and_clause():
    words = "Ball at x=40, y=162; my paddle at y=-3; it arrives at y=15 in 6 steps, y=7."
    asked = TaughtDecision((Message.of("system", "Pong"), Message.of("user", "?")), ("A",), 0, 0)
    assert named_numbers(dataclasses.replace(asked, reasoning=words)) == {
        "Pong|Ball at x=#|0": 40,
        "Pong|y=#|0": 162,
        "Pong|my paddle at y=#|0": -3,
        "Pong|it arrives at y=# in # steps|0": 15,
        "Pong|it arrives at y=# in # steps|1": 6,
        "Pong|y=#|1": 7,
    }
    assert named_numbers(asked) == {}


def test_numbers_are_learned_from_pictures_and_behind_the_prompt(folder, whole):
    base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
    learner = TuningLearner(
        base, "full", UpdateConfig(updates=60, batch_size=6, learning_rate=3e-3)
    )
    places = Places(base, seed=0)
    decisions = [whole.experience[n] for n in range(len(whole.experience))]
    places.note(decisions)
    assert len(places._columns) >= 2
    looked = [places.look(learner, decisions[:12])["look"] for _ in range(25)]
    assert looked[-1] < 0.3 * looked[0]
    language = {n for n in learner.weights if "language_model" in n or "lm_head" in n}
    moved = {n for n, p in learner.weights.items() if p in learner.optimizer.state}
    assert moved and not moved & language  # a look changes what sees alone
    one_game = [d for d in decisions if d.messages[0].text == decisions[0].messages[0].text][:12]
    told = [places.answer(learner, one_game, joined=True) for _ in range(25)]
    assert all(told[-1][name] < told[0][name] for name in ("places", "loss"))
    visual = {p for name, p in learner.weights.items() if "visual" in name}
    for joined in (False, True):
        with _eyes(learner, learn=joined):
            scores, _ = learner.states(one_game)
        torch.cat(scores).sum().backward()
        assert all((p.grad is not None) == joined for p in visual)  # else what sees stays as it is
    learner.optimizer.zero_grad()
    silent = dataclasses.replace(one_game[0], reasoning="")
    assert {value for _, value in places._wanted(silent)} == {0.0}  # nothing is there
    strange = (Message.of("system", "another game"), *silent.messages[1:])
    unknown = [dataclasses.replace(silent, messages=strange)] * 4
    assert places.look(learner, unknown)["look"] == 0.0
    assert places.answer(learner, unknown, joined=True)["places"] == 0.0


def test_with_eyes_at_rest_it_reads_the_same_and_sees_as_before(folder, tmp_path):
    base = load_base("tiny", "new", LocalOptions(device="cpu"), folder)
    resting = {"watching": 0, "look": 0.0, "joined": 0.0}
    config = dataclasses.replace(CONFIG, rounds=2, **resting)
    assert config.eyes_rest and config.own_share(1) == config.alone
    assert not CONFIG.eyes_rest and not dataclasses.replace(config, joined=0.5).eyes_rest
    learning = UpdateConfig(updates=4, batch_size=4)
    run = Apprenticeship(ApprenticeRun(tmp_path, base, config, learning, None, Silent()))
    before = weights(run)
    asked = [lane.asked for lane in run.lanes]
    remembered = run.learner.log_probs(asked)
    assert len({image.digest for d in asked for image in d.messages[-1].images}) == len(
        run.learner.eyes._seen
    )
    eyes, run.learner.eyes = run.learner.eyes, None
    for row, seen in zip(remembered, run.learner.log_probs(asked), strict=True):
        np.testing.assert_allclose(row, seen, atol=1e-6)
    run.learner.eyes = eyes
    run.train()
    run.close()
    after = weights(run)
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed and not any(".visual." in name for name in changed)
