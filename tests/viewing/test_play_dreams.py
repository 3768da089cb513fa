"""Playing in dreams, beside the real game, and looking at saved episodes; without a display and in SDL's dummy window."""

from __future__ import annotations

import numpy as np
import pygame
import pytest
from test_play import arrays_of, frames_of, press

from atari_vlm import play
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import read_episodes
from atari_vlm.viewing.browser_window import BrowserWindow, browse_in_window
from atari_vlm.viewing.dream_view import ModelView
from atari_vlm.viewing.episode_browser import EpisodeBrowser
from atari_vlm.world_models import CatchWorldModel, save_checkpoint
from atari_vlm.wrappers import WorldModelEnv

SIZES = {"rows": 6, "columns": 5, "cell_px": 8, "num_balls": 2}


@pytest.fixture
def catch(tmp_path) -> str:
    model = CatchWorldModel(**SIZES)
    config = {
        **SIZES,
        "action_names": list(model.action_names),
        "frame_skip": 1,
        "reward_transform": "none",
    }
    return str(save_checkpoint(tmp_path / "catch", kind="catch", config=config, start=model.start))


@pytest.fixture
def dummy_display(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def recording_of(env_id, checkpoint, path, steps) -> list[str]:
    """The options that record a random agent."""
    options = {"id": env_id, "checkpoint": checkpoint, "agent": "random", "record": path}
    return [word for name, value in options.items() for word in (f"--{name}", str(value))] + [
        f"--steps={steps}"
    ]


@pytest.fixture
def recorded(catch, tmp_path):
    """Three episodes of Catch, the last one cut off, as ``play --record`` writes them."""
    path = tmp_path / "catch.mp4"
    assert play.main(recording_of("dream", catch, path, 24)) == 0
    return path.with_suffix(".npz")


def test_an_agent_is_recorded_in_a_dream(recorded):
    kept = arrays_of(recorded)
    assert kept["starts"].tolist() == [0, 11, 22] and kept["terminated"].sum() == 2
    env = WorldModelEnv(CatchWorldModel(**SIZES))
    observation, _ = env.reset(seed=1)  # the second episode's seed
    for step in range(10):
        np.testing.assert_array_equal(kept["observations"][11 + step], observation)
        observation, reward, *_ = env.step(int(kept["actions"][10 + step]))
        assert reward == kept["rewards"][10 + step]
    _, frames = frames_of(recorded.with_suffix(".mp4"))
    assert len(frames) == 27


def test_a_person_plays_in_a_dream(catch, dummy_display):
    session = play.GameSession(
        play.make_env(play.PlayConfig(id="dream", checkpoint=catch)), None, seed=0
    )
    window = play.load("atari_vlm.viewing.game_window:Window")(session, 10_000)
    press(pygame.K_RIGHT)
    window.turn()
    assert "action RIGHT" in session.status()
    press(pygame.K_RIGHT, up=True)
    window.turn()
    assert "action NOOP" in session.status()
    window.close()


def test_real_beside_model_input_and_reconstruction():
    """Catch is exact: what it reconstructs is what it was shown, and both are the real picture."""
    real = WorldModelEnv(CatchWorldModel(**SIZES), render_mode="rgb_array")
    real.reset(seed=0)
    seen, again = ModelView(real, CatchWorldModel(**SIZES)).panels()
    assert (seen.title, again.title) == ("model input", "reconstruction")
    np.testing.assert_array_equal(seen.picture, real.render())
    np.testing.assert_array_equal(again.picture, real.render())


def test_side_by_side_in_the_program(tmp_path, catch, monkeypatch):
    import gymnasium

    gymnasium.register(
        "SideCatch-v0", lambda **options: WorldModelEnv(CatchWorldModel(**SIZES), **options)
    )
    path = tmp_path / "side.mp4"
    assert play.main([*recording_of("SideCatch-v0", catch, path, 3), "--zoom", "2"]) == 0
    del gymnasium.registry["SideCatch-v0"]
    _, frames = frames_of(path)
    width, gap = 40 * 2, 8
    picture = frames[-1][30 : 30 + 48 * 2].astype(int)  # below the header
    panels = [picture[:, i * (width + gap) : i * (width + gap) + width] for i in range(3)]
    assert panels[0].std() > 20
    for panel in panels[1:]:
        assert np.abs(panel - panels[0]).mean() < 6  # a lossy film


def test_episodes_are_read_as_they_were_recorded(recorded):
    kept, episodes = arrays_of(recorded), read_episodes(recorded)
    assert [len(episode.actions) for episode in episodes] == [10, 10, 4]
    np.testing.assert_array_equal(episodes[1].pictures, kept["observations"][11:22])
    np.testing.assert_array_equal(
        np.concatenate([episode.rewards for episode in episodes]), kept["rewards"]
    )
    assert [bool(episode.terminated[-1]) for episode in episodes] == [True, True, False]


def test_data_sets_without_last_pictures_are_read_too(tmp_path):
    ends = np.array([0, 0, 1, 0, 1], bool)
    np.savez(
        tmp_path / "steps.npz", frames=np.arange(5 * 48, dtype=np.uint8).reshape(5, 4, 4, 3), actions=np.arange(5),
        rewards=np.ones(5), terminated=ends, truncated=~ends & False, action_names=np.array(["A", "B", "C", "D", "E"]),
    )  # fmt: skip
    first, second = read_episodes(tmp_path / "steps.npz")
    assert first.actions.tolist() == [0, 1, 2] and second.actions.tolist() == [3, 4]
    assert len(first.pictures) == 3 and second.terminated.tolist() == [False, True]
    browser = EpisodeBrowser([first, second])
    browser.move(1)
    assert "action A" in browser.status()


def test_keys_walk_through_episodes(recorded, dummy_display, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    browser = EpisodeBrowser(read_episodes(recorded))
    window = BrowserWindow(browser, 10_000)

    def after(*keys):
        for key in keys:
            press(key)
        window.turn()
        return browser.at, browser.step

    assert after() == (0, 0)
    assert after(pygame.K_RIGHT, pygame.K_RIGHT) == (0, 2) and after(pygame.K_LEFT) == (0, 1)
    assert after(pygame.K_PAGEUP) == (0, 10) and "over" in browser.status()
    assert after(pygame.K_PAGEDOWN) == (0, 0)
    assert (
        after(pygame.K_UP) == (1, 0)
        and after(pygame.K_UP) == (2, 0)
        and after(pygame.K_UP) == (2, 0)
    )
    assert after(pygame.K_DOWN) == (1, 0)
    assert after(pygame.K_SPACE) == (1, 1) and after() == (1, 2)  # it plays
    assert after(pygame.K_PERIOD) == (1, 2) and after() == (1, 2)  # it pauses
    assert after(pygame.K_COMMA, pygame.K_SPACE) == (1, 3)
    after()
    after(pygame.K_COMMA)
    kept = arrays_of("recording-001.npz")
    assert len(kept["actions"]) == 2 and kept["starts"].tolist() == [0]
    np.testing.assert_array_equal(kept["actions"], browser.episode.actions[2:4])
    assert after(pygame.K_RETURN)[0] == 1 and browser.step <= 1
    after(pygame.K_ESCAPE)
    assert not window.open
    window.close()


def test_kinds_of_episodes_by_folder(recorded, tmp_path, dummy_display):
    raw = recorded.read_bytes()
    for kind in ("train", "imagination"):
        (tmp_path / "media" / kind).mkdir(parents=True)
        (tmp_path / "media" / kind / "one.npz").write_bytes(raw)
    browser = EpisodeBrowser(read_episodes(tmp_path / "media"))
    assert len(browser.shown) == 6
    browser.only("train")
    assert len(browser.shown) == 3 and browser.status().startswith("train one 1/3 (1 of 3)")
    browser.only("test")  # there are none
    assert len(browser.shown) == 6
    assert browse_in_window(browser, 10_000, steps=2) is None


def test_saved_episodes_become_a_film_again(recorded, tmp_path):
    path = tmp_path / "again.mp4"
    assert play.main(["--episodes", str(recorded), "--record", str(path)]) == 0
    first, second = arrays_of(recorded), arrays_of(path.with_suffix(".npz"))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert len(frames_of(path)[1]) == 27


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--id", "AtariVLM/Pong-REM-v5"], "needs checkpoint"),
        (["--id", "AtariVLM/Pong-REM-v5", "--checkpoint", "nowhere"], "no such folder"),
        (["--id", "dream"], "needs --checkpoint"),
        (["--reanchor-every", "3"], "--reanchor-every is for a dreamed game"),
        (["--episodes", "nowhere"], "no file of episodes"),
        (["--episodes", "x.npz", "--agent", "random"], "--episodes shows"),
    ],
)
def test_bad_input_is_one_line(flags, message, capsys):
    assert play.main(flags) > 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_what_is_no_episode_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no episodes"):
        read_episodes(tmp_path / "empty")
    good = {
        "observations": np.zeros((4, 8, 8, 3), np.uint8),
        "actions": np.zeros(3, int),
        "rewards": np.zeros(3),
    }
    for broken in (
        {"rewards": np.zeros(2)},
        {"observations": np.zeros((4, 8, 8, 3))},
        {"starts": np.array([2, 0])},
        {"observations": np.zeros((9, 8, 8, 3), np.uint8)},
        {"actions": np.array([{}, {}, {}], object)},
    ):
        np.savez(tmp_path / "bad.npz", **{**good, **broken})
        with pytest.raises(ConfigError, match="no file of episodes"):
            read_episodes(tmp_path / "bad.npz")
    np.savez(tmp_path / "good.npz", **good)
    assert len(read_episodes(tmp_path / "good.npz")) == 1
