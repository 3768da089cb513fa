"""Playing: an agent into an mp4 and an npz without a display, a person in a window of SDL's dummy driver."""

from __future__ import annotations

import re
import subprocess

import gymnasium
import imageio_ffmpeg
import numpy as np
import pygame
import pytest

from atari_vlm import play
from atari_vlm.agents.simple import RandomAgent
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.viewing.game_session import GameSession
from atari_vlm.viewing.game_window import Keys, Window, play_in_window
from atari_vlm.viewing.panels import Panel, draw_panels
from atari_vlm.viewing.recording import Recording


def arrays_of(path) -> dict[str, np.ndarray]:
    with np.load(path) as content:
        return dict(content)


def test_a_window_that_nobody_would_see_is_refused(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert play.main(["--id", "AtariVLM/Pong-v5"]) == 2
    assert capsys.readouterr().err == (
        "error: no display: let an agent play into a file instead, --agent NAME --record FILE.mp4\n"
    )


def test_a_file_that_cannot_be_written_is_one_line_with_its_path(tmp_path, capsys):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "o.mp4"
    assert play.main(["--agent", "random", "--record", str(path), "--steps", "3"]) not in (0, 1)
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and str(path) in said


@pytest.fixture
def dummy_display(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def frames_of(path) -> tuple[str, np.ndarray]:
    """What ffmpeg says of a video, and its pictures (T, H, W, 3)."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    about = done.stderr.decode(errors="replace")
    width, height = map(int, re.search(r"Video: h264.*?, (\d+)x(\d+)", about).groups())  # type: ignore[union-attr]
    return about, np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def test_agent_is_recorded_without_a_display(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    path = tmp_path / "pong.mp4"
    flags = [
        "--id",
        "AtariVLM/Pong-v5",
        "--agent",
        "scripted",
        "--record",
        str(path),
        "--steps",
        "40",
        "--seed",
        "7",
    ]
    assert play.main(flags) == 0
    assert capsys.readouterr().out.strip() == str(path)
    about, frames = frames_of(path)
    assert len(frames) == 41 and " 15 fps" in about
    kept = arrays_of(tmp_path / "pong.npz")
    assert kept["observations"].shape == (41, 224, 224, 3) and kept["starts"].tolist() == [0]
    env = AtariVLMEnvironment("Pong-v5", image_format="numpy")
    observation, _ = env.reset(seed=7)
    for step, action in enumerate(kept["actions"]):
        assert np.array_equal(kept["observations"][step], observation["image"])
        observation, reward, *_ = env.step(int(action))
        assert kept["rewards"][step] == reward
    screen = env.render().repeat(2, axis=0).repeat(2, axis=1)
    shown = frames[-1][-screen.shape[0] :].astype(int)
    assert (
        np.abs(shown - screen).mean() < 6
    )  # what the lossy film shows is the emulator's last picture


def test_an_agent_is_one_word_as_in_a_study(tmp_path):
    path = tmp_path / "pong.mp4"
    words = ["--record", str(path), "--steps", "2"]
    assert play.main([*words, "--agent", "n=nearest-example,frames=1"]) == 0 and path.is_file()


@pytest.mark.parametrize(
    ("agent", "sentence"),
    [
        ("scripted,frmes=1", "did you mean frames"),
        ("scripted,use_icl=true", "nothing is learned here"),
        ("a=noop,b=1", "option of the agent 'a'"),
        ("noop,random", "names 2"),
        ("mcts@emulator", "repeat_action_probability"),
    ],
)
def test_what_an_agents_word_gets_wrong_is_said(tmp_path, capsys, agent, sentence):
    path = tmp_path / "x.mp4"
    assert play.main(["--agent", agent, "--record", str(path), "--steps", "2"]) == 2
    assert sentence in capsys.readouterr().err and not path.exists()


def test_episodes_follow_one_another_in_a_recording(tmp_path):
    session = GameSession(play.make_game("CartPole-v1"), None, seed=0)
    session.agent = RandomAgent(action_space=session.env.action_space)
    session.recording = Recording(tmp_path / "pole.mp4", 30)
    play.record(session, 60)
    kept = arrays_of(tmp_path / "pole.npz")
    assert len(kept["starts"]) > 1 and kept["terminated"].sum() == len(kept["starts"]) - 1
    assert len(kept["observations"]) == 60 + len(kept["starts"])
    assert kept["observations"].shape[1:] == (
        400,
        600,
        3,
    )  # CartPole has no picture of its own: the rendered one is kept
    session.env.close()


def press(key: int, up: bool = False) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYUP if up else pygame.KEYDOWN, key=key))


def test_person_plays_pauses_records_and_quits(dummy_display, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = GameSession(play.make_game("AtariVLM/Pong-v5"), None, seed=0)
    window = Window(session, fps=10_000)
    names = session.action_names()
    window.turn()
    assert "action NOOP" in session.status()
    press(pygame.K_RIGHT)
    window.turn()
    assert "action RIGHT" in session.status()
    press(pygame.K_SPACE)
    window.turn()
    assert "action RIGHTFIRE" in session.status() and "RIGHTFIRE" in names
    press(pygame.K_RIGHT, up=True)
    press(pygame.K_SPACE, up=True)
    press(pygame.K_PERIOD)
    before = session.status()
    for _ in range(3):
        window.turn()
    assert session.status() == before and window.paused
    press(pygame.K_PERIOD)
    press(pygame.K_COMMA)
    for _ in range(5):
        window.turn()
    press(pygame.K_COMMA)
    window.turn()
    assert window.saved[0].name == "recording-001.mp4"
    assert len(arrays_of("recording-001.npz")["actions"]) == 5
    press(pygame.K_RETURN)
    window.turn()
    assert session.status().startswith("step 1 ")
    shown = pygame.surfarray.array3d(pygame.display.get_surface())
    assert shown.std() > 10
    press(pygame.K_ESCAPE)
    window.turn()
    assert not window.open
    window.close()
    session.env.close()


def test_watching_an_agent_for_some_turns(dummy_display):
    session = GameSession(play.make_game("AtariVLM/Breakout-v5"), RandomAgent(), seed=0)
    assert play_in_window(session, 10_000, steps=30) is None
    assert session.status().startswith("step 30 ")
    session.env.close()


def test_program_in_a_window(dummy_display, capsys):
    assert (
        play.main(["--id", "AtariVLM/Pong-v5", "--steps", "5", "--fps", "1000", "--no-header"]) == 0
    )
    assert capsys.readouterr().out == ""


def test_keys_of_other_games():
    pole = play.make_game("CartPole-v1")
    keys = Keys(pole)
    assert (
        keys.action(frozenset("1")) == 1
        and keys.action(frozenset()) == 0
        and keys.action(frozenset("9")) == 0
    )
    pole.close()
    pong = play.make_game("AtariVLM/Pong-v5")
    assert Keys(pong).action(frozenset({"d", "space", "q"})) == 4
    assert Keys(pong).action(frozenset({"w"})) == 0
    pong.close()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--id", "AtariVLM/Pung-v5"], "AtariVLM/Pong-v5"),
        (["--id", "Nothing:At-v0"], "cannot be made"),
        (["--agent", "gtp-4o", "--record", "x.mp4"], "gpt-4o"),
        (["--agent", "random", "--record", "x.gif"], "ends in .mp4"),
        (["--steps", "0"], "greater than 0"),
        (["--model", "x"], "belong to an agent"),
    ],
)
def test_bad_input_is_one_line(flags, message, capsys):
    assert play.main(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_panels_side_by_side():
    left, right = np.full((10, 8, 3), 50, np.uint8), np.full((6, 5, 3), 200, np.uint8)
    drawn = draw_panels([Panel(left, "game"), Panel(right, "dream")], "step 3", zoom=3)
    assert drawn.shape[0] % 2 == drawn.shape[1] % 2 == 0
    assert (drawn[30:60, :24] == 50).all() and (drawn[30:48, 32:47] == 200).all()
    plain = draw_panels([Panel(left)], zoom=2)
    assert np.array_equal(plain, left.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw_panels([])
    with pytest.raises(ConfigError, match="uint8"):
        Panel(np.zeros((4, 4)))


def test_recording_refuses_pictures_of_another_size(tmp_path):
    recording = Recording(tmp_path / "x.mp4", 10)
    recording.start(np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ConfigError, match="shape"):
        recording.step(
            (0, 0.0, False, False), np.zeros((8, 8, 3), np.uint8), np.zeros((20, 16, 3), np.uint8)
        )
    recording.close()
    with pytest.raises(UnknownNameError):
        play.make_game("No-v0")


def test_a_game_whose_drawing_lacks_a_library_is_one_line(monkeypatch, capsys):
    def render(self):
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.render", render)
    assert play.main(["--id", "CartPole-v1", "--agent", "random", "--record", "x.mp4"]) == 2
    told = capsys.readouterr().err
    assert told == "error: CartPole-v1 cannot be drawn: pygame is not installed\n"
