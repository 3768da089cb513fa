"""``codewm play``: whole real games, planned in a program."""

import csv
import threading

import numpy as np
import pytest

from atari_vlm.codewm import main
from atari_vlm.errors import MismatchError, StoppedError
from atari_vlm.runs.player import PlayerOptions
from atari_vlm.synthesis.command_options import AheadOptions
from atari_vlm.synthesis.playing import PlayedIn, RealGame, agent_for, model_of, play_real
from atari_vlm.types import Transition
from atari_vlm.world_models.code import golden

SHORT = [
    "play",
    "--simulations",
    "8",
    "--horizon",
    "6",
    "--max-steps",
    "8",
    "--unsafe-local-code",
    "True",
]
LITTLE = AheadOptions(simulations=4, horizon=4)


def rows_of(folder):
    with open(folder / "episodes.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_episodes_are_played_and_written(tmp_path, capsys):
    asked = ["--world-model", "golden", "--game", "Pong-v5", "--num-episodes", "2", "--seed", "7"]
    assert main([*SHORT, *asked, "--save-dir", str(tmp_path)]) == 0
    (run,) = tmp_path.iterdir()
    rows = rows_of(run)
    assert [row["seed"] for row in rows] == ["7", "8"]
    assert all(float(row["episode_return"]) == 0 and row["length"] == "8" for row in rows)
    assert "mean return" in capsys.readouterr().out
    assert (run / "results.json").exists() and (run / "config.yaml").exists()


@pytest.mark.parametrize("planner", ["mcts", "cem"])
def test_it_goes_to_the_ball(planner):
    """In the model itself: with a ball that comes to a resting paddle far above it, the plan is to go down."""
    with golden("Pong", unsafe_local_code=True) as model:
        row = np.array(model.start.observations[0, 0])
        at = {"x": 21, "y": 22, "dx": 23, "dy": 24, "serve": 30}
        row[at["x"]], row[at["y"]], row[at["dx"]], row[at["dy"]], row[at["serve"]] = (
            150,
            160,
            2,
            0,
            0,
        )
        options = AheadOptions(planner=planner, simulations=48, horizon=12)
        agent, rng = agent_for(model, options), np.random.default_rng(0)
        agent.reset(seed=0)
        rewards, state = [], model.init(row[None, None], np.zeros((1, 0), np.int64), rng=rng)
        for _ in range(12):
            seen = state.values[0].astype(np.float32)
            decision = agent.act(seen)
            step = model.step(state, np.array([decision.action]), rng=rng)
            state, reward = step.state, float(step.reward[0])
            after = state.values[0].astype(np.float32)
            agent.observe(Transition(seen, decision, reward, after, False, False, {}))
            rewards.append(reward)
        assert -1.0 not in rewards and state.values[0, at["dx"]] < 0


def test_a_stopped_run_goes_on(tmp_path):
    game, stop = RealGame("Pong-v5", 2, seed=1, max_steps=6), threading.Event()
    stop.set()
    with golden("Pong", unsafe_local_code=True) as model:
        stopped = PlayedIn(tmp_path, watching=PlayerOptions(max_steps=6, stop=stop))
        with pytest.raises(StoppedError):
            play_real(model, game, LITTLE, stopped)
        told = []
        place = PlayedIn(tmp_path, watching=PlayerOptions(max_steps=6))
        rows = play_real(model, game, LITTLE, place, on_run=told.append)
    assert told[0].resumed and [row.length for row in rows] == [6, 6]
    assert len(rows_of(told[0].path)) == 2


def test_a_program_of_one_s_own(tmp_path):
    with golden("Pong", unsafe_local_code=True) as model:
        folder = model.save(tmp_path / "mine")
    game = RealGame("Pong-v5", 1, seed=0, max_steps=3)
    with model_of(str(folder), game, unsafe_local_code=True) as model:
        assert play_real(
            model, game, LITTLE, PlayedIn(tmp_path / "runs", watching=PlayerOptions(max_steps=3))
        )
    with pytest.raises(MismatchError, match="object table of Breakout"):
        with model_of(str(folder), RealGame("Breakout-v5", 1, seed=0)):
            pass


@pytest.mark.parametrize(
    "words, said",
    [
        (["--game", "Alien-v5"], "game with objects 'Alien'"),
        (["--game", "Breakout-v5"], "golden program 'Breakout'"),
        (["--planner", "dice"], "planner 'dice'"),
        (["--num-episodes", "0"], "num_episodes"),
        (["--horizon", "0"], "horizon"),
    ],
)
def test_bad_input_is_one_line(words, said, tmp_path, capsys):
    assert main([*SHORT, *words, "--save-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1
