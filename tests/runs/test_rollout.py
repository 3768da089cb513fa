import threading
import time

import numpy as np
import pytest

from atari_vlm.agents import RandomAgent, VLMAgent
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError, StoppedError
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.player import finished_row, step_row
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.rollout import RolloutOptions, in_parallel, play_episode, play_episodes
from atari_vlm.types import Decision, Reply, Source
from atari_vlm.vlm import ScriptedVLM
from atari_vlm.wrappers import LatencyAware


def pong():
    return AtariVLMEnvironment("Pong-v5")


def facts(trajectory):
    return (
        trajectory.seed,
        trajectory.actions,
        trajectory.rewards.tolist(),
        trajectory.transitions[-1].next_observation,
    )


class SlowThinker(RandomAgent):
    """Random, but every decision cost this many seconds of waiting."""

    def act(self, observation):
        return Decision(
            super().act(observation).action,
            Source.MODEL,
            replies=(Reply("", "m", latency_s=0.2, cost_usd=0.5),),
        )


def test_an_episode_is_recorded_without_pictures():
    seen = []
    trajectory = play_episode(
        pong(), VLMAgent(ScriptedVLM()), seed=3, max_steps=12, on_step=seen.append
    )
    assert (trajectory.game, trajectory.seed, trajectory.length) == ("Pong", 3, 12)
    assert trajectory.transitions[-1].truncated and not any(
        t.truncated for t in trajectory.transitions[:-1]
    )
    assert [t.decision for t in trajectory.transitions] == [t.decision for t in seen]
    assert "image" in seen[0].observation and set(trajectory.transitions[0].observation) == {
        "text",
        "action_space",
    }
    assert trajectory.fallback_rate == 0.0 and trajectory.cost_usd == 0.0


def test_an_episode_ends_with_the_game():
    trajectory = play_episode(
        AtariVLMEnvironment("Pong-v5", max_episode_steps=9), RandomAgent(), seed=0
    )
    assert trajectory.length == 9 and trajectory.transitions[-1].truncated


def test_results_are_in_order_and_do_not_depend_on_how_many_run_at_once():
    seeds = [5, 1, 9, 1, 4]
    seen = {index: 0 for index in range(5)}

    def count(index, transition):
        seen[index] += 1

    one = play_episodes(pong, lambda index: RandomAgent(), seeds, RolloutOptions(max_steps=15))
    four = play_episodes(
        pong, lambda index: RandomAgent(), seeds, RolloutOptions(15, parallel=4, on_step=count)
    )
    assert [facts(t) for t in one] == [facts(t) for t in four]
    assert [t.seed for t in four] == seeds and set(seen.values()) == {15}
    assert facts(four[1]) == facts(four[3]) != facts(four[0])


def test_the_first_error_stops_the_others():
    class Fails(RandomAgent):
        def __init__(self, index):
            super().__init__()
            self.index, self.steps = index, 0

        def act(self, observation):
            self.steps += 1
            if self.index == 1 and self.steps == 3:
                raise ConfigError("no")
            return super().act(observation)

    agents = {}
    with pytest.raises(ConfigError, match="no"):
        make = lambda index: agents.setdefault(index, Fails(index))  # noqa: E731
        play_episodes(pong, make, range(8), RolloutOptions(max_steps=5000, parallel=2))
    assert max(agent.steps for agent in agents.values()) < 5000 and len(agents) < 8


def test_threads_really_run_side_by_side():
    start = time.perf_counter()
    assert in_parallel(lambda n: (time.sleep(0.1), n)[1], range(8), 8, threading.Event()) == list(
        range(8)
    )
    assert time.perf_counter() - start < 0.6


def test_being_stopped_is_no_error_beside_a_real_one():
    def work(n):
        if n == 1:
            time.sleep(0.05)
            raise ConfigError("real")
        time.sleep(0.02)
        raise StoppedError("asked to")

    with pytest.raises(ConfigError):
        in_parallel(work, range(2), 2, threading.Event())


def test_waiting_for_a_reply_costs_game_time():
    trajectory = play_episode(LatencyAware(pong()), SlowThinker(), seed=0, max_steps=5)
    assert [t.info["latency_s"] for t in trajectory.transitions] == [0.2] * 5
    assert sum(t.info["held_steps"] for t in trajectory.transitions) == 15


@pytest.mark.parametrize("wrap", [lambda env: env, LatencyAware])
def test_a_recorded_episode_plays_again(tmp_path, wrap):
    with Journal(tmp_path / "j") as journal:
        spec = EpisodeRow(0, "train", 6)
        played = play_episode(wrap(pong()), SlowThinker(), seed=6, max_steps=40)
        for step, transition in enumerate(played.transitions):
            journal.record_step(step_row(0, step, transition, []))
        row = finished_row(spec, played)
        pictures = []
        again = replay_episode(
            wrap(pong()),
            row,
            journal.steps(0),
            lambda t: pictures.append(np.asarray(t.observation["image"])),
        )
        assert facts(again) == facts(played) and again.cost_usd == played.cost_usd == 20.0
        assert len(pictures) == 40 and pictures[0].shape == (224, 224, 3)


@pytest.mark.parametrize("options", [{"parallel": 0}, {"max_steps": 0}, {"max_steps": -1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigError):
        RolloutOptions(**options)
