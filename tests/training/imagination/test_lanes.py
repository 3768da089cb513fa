"""Steps of games and what is made of them: replay rows, metrics, kept episodes, start frames, streams of ranks."""

import types

import gymnasium
import numpy as np
import pytest
import torch
from replay_helpers import add_step, picture_replay

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.training.imagination.checkpoints import START_ROWS, start_frames
from atari_vlm.training.imagination.lanes import GameStep, Returns
from atari_vlm.training.imagination.playing import EpisodeKeeper
from atari_vlm.training.imagination.ranks import streams_of_others, streams_of_rank
from atari_vlm.world_models.learned.random_streams import Streams
from atari_vlm.world_models.learned.team import Team, device_of_rank, open_team, text_from_first


def step(t=0, terminated=False, truncated=False, lost_life=False):
    before, after = ({"state": np.array([k], np.float32)} for k in (t, t + 1))
    return GameStep(0, before, t % 3, float(t), terminated, truncated, lost_life, after)


@pytest.mark.parametrize(
    ("flags", "over", "ends", "ends_without_lives"),
    [
        ((False, False, False), False, False, False),
        ((True, False, False), True, True, True),
        ((False, True, False), True, False, False),
        ((False, False, True), False, True, False),
        ((True, False, True), True, True, True),
    ],
)
def test_a_lost_life_ends_a_learners_episode_and_no_game(flags, over, ends, ends_without_lives):
    one = step(4, *flags)
    assert one.over == over
    assert one.columns()["terminated"] == ends
    assert one.columns(life_loss_ends=False)["terminated"] == ends_without_lives
    row = one.columns()
    assert (row["state"], row["action"], row["reward"]) == (np.array([4.0]), 1, 4.0)
    assert row["truncated"] == flags[1]


def test_metrics_are_of_finished_games_only():
    assert Returns([], []).metrics("evaluation") == {}
    metrics = Returns([1.0, 5.0], [10, 30]).metrics("evaluation")
    assert metrics == {
        "evaluation/episodes": 2.0,
        "evaluation/return": 3.0,
        "evaluation/return_std": 2.0,
        "evaluation/length": 20.0,
    }


def test_the_first_steps_of_the_first_games_are_kept():
    keeper = EpisodeKeeper(games=2, steps=3)
    for t in range(5):
        for row in (2, 1):  # game 0 never began, game 2 is one too many
            keeper.see(row, step(t, terminated=t == 4))
    (episode,) = keeper.episodes()
    assert episode.inputs["state"].flatten().tolist() == [0, 1, 2, 3]
    assert episode.actions.tolist() == [0, 1, 2] and episode.rewards.dtype == np.float32
    assert not episode.terminated.any()


def learner_with(lengths, context, px=2):
    """A learner whose replay has episodes of these lengths; every picture shows its step's number."""
    replay = picture_replay(200, px)
    for length in lengths:
        for t in range(length):
            add_step(replay, np.full((px, px, 3), t, np.uint8), t % 2, 0.0, t == length - 1, False)
    space = gymnasium.spaces.Box(0, 255, (px, px, 3), np.uint8)
    model = types.SimpleNamespace(context_length=context, observation_space=space)
    return types.SimpleNamespace(replay=replay, world_model=lambda: model)


@pytest.mark.parametrize("context", [1, 3])
def test_start_frames_are_neighbours_of_one_episode(context):
    start = start_frames(learner_with([1, 2, 9, 6], context), seed=0)
    assert 0 < len(start.actions) <= START_ROWS and start.actions.shape[1] == context - 1
    steps = start.observations[..., 0, 0, 0].astype(int)
    assert steps.shape == start.observations.shape[:2] == (len(start.actions), context)
    assert (np.diff(steps, axis=1) == 1).all()
    assert (start.actions == steps[:, :-1] % 2).all()
    again = start_frames(learner_with([1, 2, 9, 6], context), seed=0)
    assert np.array_equal(start.observations, again.observations)


def test_a_replay_of_short_episodes_has_no_start_frames():
    assert start_frames(learner_with([2, 2, 1], 3), seed=0) is None
    assert start_frames(learner_with([1, 1], 1), seed=0) is None


class OfThree(Team):
    """One of three ranks whose other two hand in what they have."""

    size = 3

    def __init__(self, rank, others):
        self.rank, self.others = rank, list(others)

    def gather(self, tensor):
        return torch.cat([tensor, *(self.others.pop(0))])


def test_streams_of_other_ranks_travel_in_a_checkpoint():
    ranks = [Streams(5, rank, "cpu", 2).arrays() for rank in range(3)]
    given = [
        [torch.from_numpy(ranks[k][name].view(np.uint8).copy())[None] for k in (1, 2)]
        for name in ranks[0]
    ]
    arrays = streams_of_others(OfThree(0, given), ranks[0])
    for rank in (1, 2):
        back = streams_of_rank(OfThree(rank, []), arrays)
        assert all(np.array_equal(back[name], ranks[rank][name]) for name in ranks[rank])
    assert streams_of_rank(OfThree(0, []), arrays) is None
    one_less = {name: rows[:1] for name, rows in arrays.items()}
    assert streams_of_rank(OfThree(1, []), one_less) is None
    assert streams_of_others(Team(), ranks[0]) == {}


def test_a_batch_is_shared_evenly_or_not_at_all():
    assert OfThree(1, []).share(12) == 4 and Team().share(7) == 7
    with pytest.raises(ConfigError, match="3 processes cannot share a batch of 7"):
        OfThree(1, []).share(7)


def test_a_team_of_one_gives_back_what_it_is_given(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with open_team() as team:
        assert type(team) is Team and not team.any(False) and team.any(True)
        assert team.sum_values({"a": 2.5}) == {"a": 2.5}
        assert text_from_first(team, "läuft") == "läuft"
        team.check_equal({"w": np.zeros(3)})


class Rival(OfThree):
    def gather(self, tensor):
        return torch.cat([tensor, tensor, tensor ^ 1])


def test_weights_that_differ_between_processes_stop_the_run():
    with pytest.raises(MismatchError, match="weights differ between the processes"):
        Rival(0, []).check_equal({"w": np.ones(3)})


def test_cuda_is_each_ranks_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [device_of_rank(name) for name in ("cuda", "cpu", "cuda:0")] == [
        "cuda:1",
        "cpu",
        "cuda:0",
    ]
    for here, own in ((True, "cuda:1"), (False, "auto")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda here=here: here)
        assert device_of_rank("auto") == own
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert [device_of_rank(name) for name in ("cuda", "auto")] == ["cuda", "auto"]
