"""One table for every kind of world model: what must come out for models whose faults are known."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from atari_vlm import dream
from atari_vlm import evaluate as program
from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.evaluation.model_table import deciding, figures
from atari_vlm.evaluation.model_table.contestants import OfPictures, contestant
from atari_vlm.evaluation.model_table.costs import costs_of
from atari_vlm.evaluation.model_table.deciding import decision_value
from atari_vlm.evaluation.model_table.kept_play import keep_play
from atari_vlm.evaluation.model_table.measuring import (
    beginnings,
    fidelity_figures,
    one_step_figures,
)
from atari_vlm.evaluation.model_table.options import AHEAD, FidelityConfig
from atari_vlm.evaluation.model_table.planted import _opposite
from atari_vlm.evaluation.model_table.real_play import WARM_UP, record
from atari_vlm.evaluation.model_table.seeing import boxes_in_pictures
from atari_vlm.evaluation.model_table.table import write_table
from atari_vlm.experience.episode_files import read_data_set
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.world_models.base import ModelStep
from atari_vlm.world_models.checkpoint import save_checkpoint
from atari_vlm.world_models.code import CodeWorldModel
from atari_vlm.world_models.seeing import as_seen

SMALL = FidelityConfig(steps=40, beginnings=6, decision_steps=4, plans=4, horizon=4)
EXAMPLES = Path(__file__).parents[2] / "examples" / "fidelity"
STILL = "class Environment:\n    def set_state(self, s): self.s = s\n    def step(self, a): return self.s, 0.0, False\n"


@pytest.fixture(scope="module")
def pong():
    recorder, play = record("Pong", WARM_UP + SMALL.steps + max(AHEAD), 0)
    yield recorder, play
    recorder.close()


@pytest.fixture(scope="module")
def still(tmp_path_factory, pong):
    """A checkpoint of a program over object tables that holds everything still."""
    recorder, _ = pong
    table = Box(-np.inf, np.inf, (len(recorder.table.columns),), np.float32)
    spaces = {"observation_space": table, "action_space": Discrete(6)}
    names = recorder.action_names
    with CodeWorldModel(STILL, **spaces, frame_skip=4, action_names=names, game="Pong") as model:
        told = {"cost_usd": 0.25, "cpu_seconds": 12.5}
        return model.save(tmp_path_factory.mktemp("still") / "model", provenance=told)


@pytest.fixture(scope="module")
def table(tmp_path_factory, still):
    folder = tmp_path_factory.mktemp("table")
    models = (*FidelityConfig().models, str(still))
    words = ["--models", *models, "--game", "pong", "--save-dir", str(folder)]
    numbers = {
        "steps": 40,
        "beginnings": 6,
        "draws": 1,
        "decision-steps": 4,
        "plans": 4,
        "horizon": 4,
    }
    words += [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    assert program.main(["fidelity", *words]) == 0
    return json.loads((folder / "fidelity.json").read_text()), (folder / "fidelity.md").read_text()


def mean(figure):
    return figure["mean"]


def test_the_emulator_is_perfect_a_copy_worst_and_the_corrupt_one_between(table):
    models = table[0]["models"]
    for k in map(str, AHEAD):
        for kind in ("object", "pixel"):
            shares = {name: mean(row[kind][k]) for name, row in models.items() if row[kind][k]}
            assert shares["emulator"] == 1 and shares["copy"] == 0
            assert all(0 <= share <= 1 for share in shares.values())
            if k != "50":
                assert 0 < shares["corrupt"] < 1
    assert mean(models["golden"]["object"]["1"]) > 0.95
    assert mean(models["emulator"]["divergence"]) == 0 and mean(models["copy"]["divergence"]) == 1
    assert 0 < mean(models["corrupt"]["divergence"]) < 1


def test_points_are_recalled_and_chances_calibrated_by_the_game_itself(table):
    rows = table[0]["models"]
    assert table[0]["counts"]["points"] >= 1
    assert mean(rows["emulator"]["event_recall"]["points"]) == 1
    assert mean(rows["copy"]["event_recall"]["points"]) == 0
    assert rows["emulator"]["event_recall"]["lives"] is None  # Pong has none
    assert mean(rows["emulator"]["calibration"]) == 1 > mean(rows["copy"]["calibration"])
    assert mean(rows["copy"]["calibration"]["ends"]) == 1
    for row in rows.values():
        assert isinstance(row["decision_value"], float) and mean(row["seconds_per_step"]) > 0


def test_a_checkpoint_of_a_program_stands_in_it_with_its_costs(table, still):
    row = table[0]["models"][str(still)]
    assert mean(row["object"]["1"]) == 0 and row["pixel"]["1"] is None  # it draws nothing
    assert (row["cost_usd"], row["cpu_seconds"]) == (0.25, 12.5)
    assert table[0]["models"]["golden"]["cost_usd"] is None


def test_the_page_says_how_it_was_made(table):
    content, page = table
    assert content["command"] in page and "python -m atari_vlm.evaluate fidelity" in page
    assert content["machine"]["cpu"] in page and "| golden |" in page and "[" in page


class Painted:
    """Dreams real pictures of half the size: what the game shows a few steps later, or the first picture for ever."""

    frame_skip, reward_transform, context_length = 4, "sign", 1
    observation_space, action_space = Box(0, 255, (105, 80, 3), np.uint8), Discrete(6)

    def init(self, observations, actions, *, rng):
        assert observations.shape[1:] == (8, 105, 80, 3) and actions.shape[1] == 7
        return observations[:, -1]

    def step(self, state, action, *, rng):
        return ModelStep(state, np.zeros(len(state), np.float32), np.zeros(len(state), bool))

    def decode(self, state):
        return state


def test_models_of_pictures_are_measured_by_what_can_be_seen_in_them(pong):
    recorder, play = pong
    one = OfPictures(Painted(), recorder)
    begins = beginnings(play, SMALL)
    figures_of = fidelity_figures(one, play, begins, 0)
    assert mean(figures_of["object"]["5"]) == mean(figures_of["pixel"]["5"]) == 0
    real, _ = record("Pong", 1, 1)
    assert decision_value(one, real, SMALL) is not None
    real.close()


class Expecting(Painted):
    """Expects a reward of so much at every step."""

    def __init__(self, reward):
        self.reward = reward

    def step(self, state, action, *, rng):
        rewards = np.full(len(state), self.reward, np.float32)
        return ModelStep(state, rewards, np.zeros(len(state), bool))


def test_an_expected_reward_is_a_chance_and_no_point_before_it_is_likely(pong):
    recorder, play = pong
    share = (play.rewards[play.beginnings(SMALL.steps)] != 0).mean()
    for reward, recalled in ((-0.02, 0), (-0.9, 1), (0.9, 0)):
        found = one_step_figures(OfPictures(Expecting(reward), recorder), play, SMALL.steps, 0)
        assert mean(found["event_recall"]["points"]) == recalled  # all of this play's are lost
        expected = 1 - abs(abs(reward) - share)
        assert mean(found["calibration"]["rewards"]) == pytest.approx(expected, abs=1e-6)


def test_objects_found_by_colour_are_those_of_memory(pong):
    recorder, play = pong
    shown, boxes = recorder.palette.rgb[play.moments.last[::4]], play.moments.boxes[::4]
    names = tuple(recorder.table.kinds)
    same = figures.same_boxes(boxes_in_pictures("Pong", names, shown), boxes)
    assert same.mean(0).min() > 0.95
    small = figures.same_boxes(boxes_in_pictures("Pong", names, shown[:, ::2, ::2]), boxes)
    assert small.mean(0)[1:].min() > 0.9 and small.mean(0)[0] > 0.2  # the ball is one pixel there
    assert boxes_in_pictures("Boxing", ("you",), shown) is None


@pytest.mark.parametrize("px", [64, 96])
def test_blur_moves_what_is_found_by_less_than_a_pixel(pong, px):
    """What a dream gets wrong by blur alone is right; what it shows two pixels away is not."""
    recorder, play = pong
    shown, boxes = recorder.palette.rgb[play.moments.brighter[::4]], play.moments.boxes[::4]
    space, names = Box(0, 255, (px, px, 3), np.uint8), tuple(recorder.table.kinds)
    pixel = np.array([160 / px, 210 / px])
    small = np.stack([as_seen(picture, space) for picture in shown])
    found = boxes_in_pictures("Pong", names, small)
    assert ((found[..., 2] > 0) == (boxes[..., 2] > 0)).all()  # nor are walls and scores objects
    blurred = np.stack([cv2.GaussianBlur(picture, (3, 3), 0.5) for picture in small])
    same = figures.same_places(found, boxes_in_pictures("Pong", names, blurred), pixel)
    assert same.mean(0).min() > 0.9
    moved = boxes_in_pictures("Pong", names, np.roll(small, 2, axis=2))
    flies = (found[:, 0, 2] > 0) & (moved[:, 0, 2] > 0)
    assert flies.any() and not figures.same_places(found, moved, pixel)[flies, 0].any()


def test_places_in_pictures_are_the_same_within_a_pixel():
    ball, away, nothing = [10.0, 10.0, 12.0, 14.0], [12.4, 13.2, 14.4, 17.2], [0.0] * 4
    other = [13.0, 10.0, 15.0, 14.0]
    one = np.array([ball, ball, ball, ball, nothing])
    same = figures.same_places(one, np.array([ball, away, other, nothing, nothing]), np.array([2.5, 3.3]))  # fmt: skip
    assert same.tolist() == [True, True, False, False, True]


def test_shares_count_what_changed_and_nothing_else():
    last, real = (
        np.array([[0, 0, 2, 4]] * 3, float),
        np.array([[0, 0, 2, 4], [8, 0, 10, 4], [0] * 4]),
    )
    said = np.array([[0, 0, 2, 4], [8, 1, 10, 5], [0, 0, 2, 4]], float)
    same = figures.same_boxes
    top, bottom = figures.right_of_changed(same(real, last)[None], same(said, last)[None], same(real, said)[None])  # fmt: skip
    assert (top, bottom) == (1, 2)  # one stands still, one is found, one is not seen to vanish
    assert figures.share((np.zeros(3), np.zeros(3))) is None
    assert figures.less({"mean": 0.75, "low": 0.5, "high": 1.0}) == {
        "mean": 0.25,
        "low": 0,
        "high": 0.5,
    }
    pixels = np.array([[[0, 0, 0], [0, 30, 0]]], np.uint8)
    assert figures.same_pixels(pixels, np.full((1, 2, 3), 9, np.uint8)).tolist() == [[True, True]]
    assert figures.same_pixels(pixels, np.zeros((1, 2, 3), np.uint8)).tolist() == [[True, False]]


def test_calibration_is_one_minus_the_error_of_the_bins():
    happened = np.array([True, True, False, False])
    assert mean(figures.calibration(np.full(4, 0.5), happened)) == 1
    assert mean(figures.calibration(happened.astype(float), happened)) == 1
    assert mean(figures.calibration(np.full(4, 0.9), happened)) == pytest.approx(0.6)


def test_directions_have_opposites():
    names = ("NOOP", "FIRE", "UP", "LEFT", "UPRIGHT", "DOWNLEFTFIRE", "RIGHTFIRE")
    turned = ("NOOP", "FIRE", "DOWN", "RIGHT", "DOWNLEFT", "UPRIGHTFIRE", "LEFTFIRE")
    assert tuple(map(_opposite, names)) == turned


def test_costs_come_from_the_checkpoint_or_its_run(tmp_path):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    lines = [{"epoch": n, "epoch/cpu_seconds": 2.0} for n in (1, 2, 3)]
    text = "\n".join(map(json.dumps, lines)) + '\n[1]\n{"epoch": 4, "epoch/cpu'
    (run / "metrics.jsonl").write_text(text)
    assert costs_of(run / "model", {"epoch": 2}).cpu_seconds == 4.0
    assert costs_of(run / "model", {}).cpu_seconds == 6.0
    assert costs_of(run / "model", {"cpu_seconds": 1, "cost_usd": True}).cpu_seconds == 1.0
    assert costs_of(run / "model", {"cost_usd": float("nan")}).usd is None
    assert costs_of(tmp_path / "nowhere" / "at" / "all", {}).cpu_seconds is None


def test_what_cannot_be_measured_is_refused_in_a_line(pong, tmp_path, capsys):
    recorder, _ = pong
    with pytest.raises(UnknownNameError, match="Boxing, Breakout"):
        write_table(FidelityConfig(game="Qbert", save_dir=tmp_path))
    with pytest.raises(UnknownNameError, match="did you mean emulator"):
        contestant("emulater", recorder, 1)
    with pytest.raises(UnknownNameError, match="no such folder"):
        contestant("runs/none/model", recorder, 1)
    folder = tmp_path / "catch"
    names = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    config = {"frame_skip": 4, "reward_transform": "none", "action_names": names}
    save_checkpoint(folder, kind="catch", config={**config, "game": "ALE/Breakout-v5"})
    with pytest.raises(MismatchError, match="is a model of Breakout; the table is of Pong"):
        contestant(str(folder), recorder, 1)
    with pytest.raises(ConfigError, match="twice"):
        write_table(FidelityConfig(models=("copy", "copy"), save_dir=tmp_path))
    for wrong in (
        {"steps": 0},
        {"steps": 9999},
        {"models": ()},
        {"follow": 99},
        {"seed": -1},
        {"decision_games": 0},
        {"keep_play": Path("play.zip")},
    ):
        with pytest.raises(ConfigError):
            FidelityConfig(**wrong)
    assert program.main(["fidelity", "--game", "Qbert", "--save-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_of_other_actions_or_contexts_is_refused(pong, tmp_path):
    recorder, _ = pong
    sizes = {"rows": 8, "columns": 8, "cell_px": 8, "num_balls": 1}
    model = CatchWorldModel(**sizes)
    config = {"frame_skip": 1, "reward_transform": "none", "action_names": list(model.action_names)}
    save_checkpoint(tmp_path / "catch", kind="catch", config={**config, **sizes})
    with pytest.raises(MismatchError, match="acts with NOOP, RIGHT, LEFT"):
        contestant(str(tmp_path / "catch"), recorder, 1)
    spaces = {"observation_space": Box(0, 1, (3,), np.float32), "action_space": Discrete(6)}
    names = recorder.action_names
    with CodeWorldModel(STILL, **spaces, frame_skip=4, action_names=names) as model:
        folder = model.save(tmp_path / "three")
    with pytest.raises(MismatchError, match="neither object tables of Pong"):
        contestant(str(folder), recorder, 1)


def test_the_other_games_with_objects_are_measured_too(tmp_path):
    """Where lives are lost, they are recalled by the game itself and missed by a copy."""
    config = FidelityConfig(
        models=("emulator", "copy", "corrupt"), game="Seaquest",
        seed=3, steps=40, beginnings=3, decision_steps=0,
        save_dir=Path(tmp_path),
    )  # fmt: skip
    rows = write_table(config)["models"]
    assert mean(rows["emulator"]["event_recall"]["lives"]) == 1
    assert mean(rows["copy"]["event_recall"]["lives"]) == 0
    assert rows["emulator"]["decision_value"] is None
    shares = [mean(rows[name]["object"]["5"]) for name in ("copy", "corrupt", "emulator")]
    assert shares[0] == 0 < shares[1] < shares[2] == 1


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Play of another seed as the command keeps it."""
    path = tmp_path_factory.mktemp("kept") / "play.npz"
    words = ["--models", "copy", "--seed", "1", "--steps", "40", "--decision-steps", "0"]
    words += ["--save-dir", str(path.parent), "--keep-play", str(path)]
    assert program.main(["fidelity", *words]) == 0
    return path


def test_the_play_is_kept_as_a_data_set(kept):
    recorder, play = record("Pong", WARM_UP + 40 + max(AHEAD), 1)
    data = read_data_set(str(kept))
    assert data.action_names == recorder.action_names and data.frame_skip == 4
    (episode,) = data.episodes
    assert np.array_equal(episode.actions, play.actions)
    assert np.array_equal(episode.rewards, play.rewards) and play.rewards.any()
    assert np.array_equal(episode.pictures, recorder.palette.rgb[play.moments.brighter])
    recorder.close()


def test_a_game_that_ends_begins_another_episode_of_the_kept_play(pong, tmp_path):
    recorder, play = pong
    ends = play.ends.copy()
    ends[10] = True
    keep_play(tmp_path / "play.npz", recorder, dataclasses.replace(play, ends=ends))
    first, second = read_data_set(str(tmp_path / "play.npz")).episodes
    assert (len(first), len(second)) == (11, len(ends) - 11)
    assert first.terminated.tolist() == [False] * 10 + [True]
    assert not second.terminated.any()
    shown = recorder.palette.rgb[play.moments.brighter]
    assert np.array_equal(first.pictures[:11], shown[:11])
    assert np.array_equal(first.pictures[11], shown[10])  # what followed the end is another game's
    assert np.array_equal(second.pictures, shown[11:])


def test_a_barely_trained_rem_and_dreamer_stand_in_it(kept, tmp_path):
    """Trained by the documented commands, a few updates each: every column, not below a copy, far below the game."""
    sizes = "networks.tokenizer.channels=[8,8,8,8] networks.world_model.num_layers=1"
    stages = (
        "tokenizer.updates.steps=2 world_model.updates.steps=2 world_model.updates.first_epoch=1"
    )
    once = "networks.deter=32 learning.batch=2 learning.length=4 learning.ratio=0.02"
    runs = {"rem": f"{sizes} {stages}", "dreamer": once}
    for kind, changes in runs.items():
        config = ["--config", str(EXAMPLES / f"{kind}_pong.yaml"), "--settings", *changes.split()]
        words = ["--dataset", str(kept), *config, "--epochs", "1", "--threads", "1"]
        assert dream.main([kind, *words, "--save-dir", str(tmp_path), "--run-name", kind]) == 0
    models = {kind: str(tmp_path / kind / "model") for kind in runs}
    asked = dataclasses.replace(SMALL, models=("copy", *models.values()), draws=2, decision_games=2)
    rows = write_table(dataclasses.replace(asked, save_dir=tmp_path / "table"))["models"]
    for name in models.values():
        row = rows[name]
        for kind in ("object", "pixel"):
            assert all(0 <= mean(row[kind][str(k)]) < 0.5 for k in AHEAD)
        assert 0.5 < mean(row["divergence"]) <= 1 and row["cpu_seconds"] > 0
        assert 0 <= mean(row["event_recall"]["points"]) <= 1 and mean(row["seconds_per_step"]) > 0
        assert 0 <= mean(row["calibration"]) <= 1
        points = row["decision_value"]
        assert points["low"] <= points["mean"] <= points["high"]


def test_several_games_of_the_planner_give_an_interval(pong, monkeypatch):
    recorder, _ = pong
    played = {}

    def points(one, real, config, seed):
        played[seed] = None
        return {7: 1.0, 8: -2.0, 9: 1.0}[seed]

    monkeypatch.setattr(deciding, "_points", points)
    several = dataclasses.replace(SMALL, seed=7, decision_games=3)
    figure = deciding.decision_value(None, recorder, several)
    assert list(played) == [7, 8, 9] and figure == {"mean": 0, "low": -2, "high": 1}
    assert deciding.decision_value(None, recorder, dataclasses.replace(several, seed=8, decision_games=1)) == -2  # fmt: skip
