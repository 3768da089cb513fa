import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from training_helpers import CountingVLM

from atari_vlm import VLMTrainer
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.runs.demonstration_files import export_demonstrations, import_demonstrations
from atari_vlm.train import main
from atari_vlm.vlm import ScriptedVLM

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
EpisodeBuffer = pytest.importorskip("minari.data_collector").EpisodeBuffer

NAME = "atari_vlm/pong/test-v0"


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("minari")
    options = {"max_steps": 30, "videos": 0, "run_name": "run"}
    with VLMTrainer("Pong-v5", ScriptedVLM(), save_dir=tmp_path, **options) as trainer:
        trainer.train(2)
        return trainer.run.path, trainer.library.demonstrations


def test_demonstrations_come_back_as_they_went(run, tmp_path):
    folder, demonstrations = run
    assert export_demonstrations(folder, NAME) == 2
    dataset = minari.load_dataset(NAME)
    episode = next(iter(dataset.iterate_episodes()))
    assert (
        episode.observations.shape == (31, 224, 224, 3) and episode.observations.dtype == np.uint8
    )
    assert dataset.env_spec.id == "AtariVLM/Pong-v5" and dataset.action_space.n == 6
    for old, new in zip(demonstrations, import_demonstrations(NAME), strict=True):
        assert (new.game, new.episode_return, new.length) == (
            old.game,
            old.episode_return,
            old.length,
        )
        assert new.episode == old.episode - 2 and len(new.examples) == len(old.examples)
        for before, after in zip(old.examples, new.examples, strict=True):
            assert after.images == before.images
            assert dataclasses.replace(after, episode=0, frames=()) == dataclasses.replace(
                before, episode=0, frames=()
            )


def test_a_run_can_begin_with_them(run, tmp_path):
    folder, _ = run
    assert export_demonstrations(folder, NAME, best=1) == 1
    options = {"max_steps": 5, "videos": 0, "run_name": "taught", "demonstrations": NAME}
    with VLMTrainer("Pong-v5", ScriptedVLM(), save_dir=tmp_path, **options) as trainer:
        trainer.evaluate(1)
        assert len(trainer.library) == 1
        assert len(trainer.run.journal.calls(0)[0].request) > 2


def test_what_is_not_there_or_does_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="no local Minari dataset"):
        import_demonstrations("atari_vlm/pong/absent-v0")
    with pytest.raises(ConfigError, match="not a run folder"):
        export_demonstrations(tmp_path, NAME)
    with VLMTrainer(
        "Pong-v5", ScriptedVLM(), save_dir=tmp_path, videos=0, run_name="empty"
    ) as trainer:
        with pytest.raises(ConfigError, match="no finished training episode"):
            export_demonstrations(trainer.run.path, NAME)
    step = {"actions": [0], "rewards": [0.0], "terminations": [True], "truncations": [False]}
    names = ("algorithm_name", "author", "author_email", "code_permalink", "description")
    minari.create_dataset_from_buffers(
        "other-v0",
        buffer=[EpisodeBuffer(observations=[np.zeros(2, np.float32)] * 2, **step)],
        env="CartPole-v1",
        eval_env="CartPole-v1",
        observation_space=gym.spaces.Box(0, 1, (2,)),
        **{name: "test" for name in names},
    )
    with pytest.raises(ConfigError, match="unknown game 'CartPole"):
        import_demonstrations("other-v0")


def test_demonstrations_of_another_game_are_refused_and_nothing_is_played(run, tmp_path):
    """Both games are named; no run is begun, so none has to be continued or removed."""
    assert export_demonstrations(run[0], NAME, best=1) == 1
    options = {"save_dir": tmp_path / "runs", "max_steps": 5, "videos": 0, "demonstrations": NAME}
    vlm = CountingVLM(tmp_path / "calls")
    for game in ("Breakout", "ALE/Freeway-v5", "q*bert"):
        with pytest.raises(MismatchError, match=f"{NAME}.* are of Pong, the run plays [BFQ]"):
            VLMTrainer(game, vlm, **options)
    assert vlm.calls == 0 and not (tmp_path / "runs").exists()
    assert (
        main(["--game", "Breakout", "--use-icl", "--demonstrations", NAME])
        == MismatchError.exit_code
    )


def test_demonstrations_of_the_game_in_another_spelling_are_taken(run, tmp_path):
    assert export_demonstrations(run[0], NAME, best=1) == 1
    options = {"save_dir": tmp_path, "max_steps": 5, "videos": 0, "demonstrations": NAME}
    with VLMTrainer("ALE/pong-v5", CountingVLM(tmp_path / "calls"), **options) as trainer:
        assert [each.game for each in trainer.library.demonstrations] == ["Pong"]
