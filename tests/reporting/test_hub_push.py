"""Pushing to a Hub on this machine with its real client: the card, what is left out, keys and places, an upload that was cut."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from atari_vlm import evaluate, report, train
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import Episode
from atari_vlm.reporting.hub.cleaning import Cleaner
from atari_vlm.runs.demonstration_files import export_demonstrations, import_demonstrations
from atari_vlm.runs.journal import Journal
from atari_vlm.world_models import CatchWorldModel, load_world_model, save_checkpoint
from atari_vlm.world_models.code import CodeWorldModel

CONFIG = {
    "rows": 6, "columns": 5, "cell_px": 2, "num_balls": 3,
    "action_names": ["NOOP", "RIGHT", "LEFT"], "frame_skip": 1, "reward_transform": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """A run of ``train`` with two training episodes, asked for with the path of its folder."""
    folder = tmp_path_factory.mktemp("lessons")
    words = "--vlm scripted --use-icl --num-episodes 2 --num-eval-episodes 2 --max-steps 12 --videos 0 --run-name lesson"
    assert train.main([*words.split(), "--save-dir", str(folder)]) == 0
    return folder / "lesson"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    words = "--games Catch --agents random --seeds 0 1 --episodes 1 --run-name small"
    assert evaluate.main([*words.split(), "--save-dir", str(folder)]) == 0
    return folder / "small"


def front_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def episodes(steps=4):
    pictures = np.random.default_rng(steps).integers(0, 255, (steps + 1, 24, 24, 3), np.uint8)
    ends = np.arange(steps) == steps - 1
    return Episode({"image": pictures}, np.arange(steps) % 6, np.ones(steps), ends, ~ends & ends)


def test_a_study_is_pushed_with_its_card_and_pulled_again(hub, study, tmp_path, capsys):
    assert report.main(["push", str(study), "me/study", "--license", "cc-by-4.0"]) == 0
    said = capsys.readouterr()
    assert f"{hub.url}/datasets/me/study/commit/" in said.out and "report.html" in said.err
    files = hub.files("dataset", "me/study")
    card = files["README.md"].decode()
    assert front_of(card)["license"] == "cc-by-4.0" and "atari-vlm" in front_of(card)["tags"]
    assert re.search(
        r"\| Catch \| random \| -?\d\.\d{3} \[-?\d\.\d{3}, -?\d\.\d{3}\] \| 2 \|", card
    )
    for word in ("- game: Catch", "- agents: random", "## Protocol", "- seeds: 0, 1",
                 "python -m atari_vlm.evaluate --games Catch", "report pull me/study"):  # fmt: skip
        assert word in card
    assert not [name for name in files if name.endswith((".html", ".py", ".mp4"))]
    assert report.main(["pull", "me/study", "--out", str(tmp_path / "mine")]) == 0
    pulled = {
        p.relative_to(tmp_path / "mine").as_posix(): p for p in (tmp_path / "mine").rglob("*")
    }
    assert pulled.keys() == files.keys() and not any(p.is_symlink() for p in pulled.values())
    with Journal(study / "journal.sqlite", read_only=True) as own:
        with Journal(pulled["journal.sqlite"], read_only=True) as theirs:
            assert theirs.episodes() == own.episodes() and len(own.episodes()) == 2
    assert report.main(["compare", str(tmp_path / "mine"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again/results.csv").read_bytes() == (study / "results.csv").read_bytes()


def test_nothing_that_is_pushed_names_a_place_of_this_machine(hub, lesson):
    assert report.main(["push", str(lesson), "me/lesson"]) == 0
    files = hub.files("dataset", "me/lesson")
    here = [
        str(lesson.parent).encode(),
        os.getcwd().encode(),
        os.path.expanduser("~").encode() + b"/",
    ]
    for name, content in files.items():
        assert not [place for place in here if place in content], name
    assert (
        b"python -m atari_vlm.train" in files["README.md"]
        and b"directory: ." in files["config.yaml"]
    )


def test_cleaning_takes_places_and_nothing_else(tmp_path):
    clean = Cleaner([tmp_path]).text
    assert (
        clean(f"--save-dir={tmp_path}/runs --model /data/models/mine")
        == "--save-dir=runs --model mine"
    )
    assert (
        clean(f'"{tmp_path}": "C:\\\\Users\\\\me\\\\x.npz", ~/secret/place')
        == '".": "x.npz", place'
    )
    same = "AtariVLM/Pong-v5 at https://host/v1/chat, 3/4 and/or 1 / 2, hub:me/name, a/b/c, $1/step"
    assert clean(same) == same
    assert clean("file:///home/me/x") == "x"


def test_a_checkpoint_is_pushed_as_a_model_that_loads_by_its_name(hub, tmp_path):
    sizes = {name: CONFIG[name] for name in ("rows", "columns", "cell_px", "num_balls")}
    save_checkpoint(
        tmp_path / "catch", kind="catch", config=CONFIG, start=CatchWorldModel(**sizes).start,
        provenance={"command": f"make --from {tmp_path}/data", "seed": 7},
    )  # fmt: skip
    assert report.main(["push", str(tmp_path / "catch"), "me/catch"]) == 0
    files = hub.files("model", "me/catch")
    assert json.loads(files["provenance.json"])["command"] == "make --from data"
    assert (
        "seed: 7" in files["README.md"].decode()
        and "make --from data" in files["README.md"].decode()
    )
    assert isinstance(load_world_model("hub:me/catch"), CatchWorldModel)


def test_a_checkpoint_that_is_a_program_is_not_pushed(hub, tmp_path, capsys):
    from gymnasium.spaces import Box, Discrete

    program = "class Environment:\n    def set_state(self, s): self.s = s\n    def step(self, a): return self.s, 0.0, False\n"
    spaces = {"observation_space": Box(0, 1, (2,), np.float32), "action_space": Discrete(2)}
    with CodeWorldModel(program, **spaces) as model:
        model.save(tmp_path / "code")
    assert report.main(["push", str(tmp_path / "code"), "me/code"]) == 2
    assert "no code is shared this way" in capsys.readouterr().err and not hub.repos


def test_keys_links_and_what_is_nothing_are_refused_before_anything_is_sent(
    hub, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "set"
    folder.mkdir()
    assert report.main(["push", str(folder), "me/set"]) == 2
    assert "neither a run" in capsys.readouterr().err
    write_episodes(folder / "a.npz", [episodes()])
    (folder / "notes.md").write_text("my key is sk-" + "a1b2c3d4" * 3)
    assert report.main(["push", str(folder), "me/set"]) == 2
    assert "notes.md looks like a key" in capsys.readouterr().err
    (folder / "notes.md").unlink()
    (folder / "link.npz").symlink_to(folder / "a.npz")
    assert report.main(["push", str(folder), "me/set"]) == 2
    assert "symbolic link" in capsys.readouterr().err
    (folder / "link.npz").unlink()
    (folder / "b.npz").write_bytes(b"\x80\x04pickle")
    assert report.main(["push", str(folder), "me/set"]) == 2
    assert "b.npz is not what its name says" in capsys.readouterr().err
    (folder / "b.npz").unlink()
    assert report.main(["push", str(folder), "me/set", "--license", "My own!"]) == 2
    for name in ("set", "me/set@main", "../x/y"):
        assert report.main(["push", str(folder), name]) == 2
        assert "no name on the Hub" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert report.main(["push", str(folder), "me/set"]) == 77
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "does not know the token" in said and "hf_of" not in said
    monkeypatch.delenv("HF_TOKEN")
    assert report.main(["push", str(folder), "me/set"]) == 77
    assert not hub.repos and not hub.large


def test_without_the_extra_it_says_which(hub, tmp_path, capsys, monkeypatch):
    write_episodes(tmp_path / "a.npz", [episodes()])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert report.main(["push", str(tmp_path), "me/set"]) == 2
    assert "atari-vlm[hub]" in capsys.readouterr().err


def test_an_upload_that_was_killed_goes_on_where_it_stopped(hub, tmp_path):
    for steps in (3, 4, 5, 6):
        write_episodes(tmp_path / "set" / f"{steps}.npz", [episodes(steps)])
    arrived: list[str] = []

    def hold(oid):
        arrived.append(oid)
        if len(arrived) > 1:
            until = time.monotonic() + 20
            while not hub.large and time.monotonic() < until:
                time.sleep(0.02)
            os.kill(pushing.pid, signal.SIGKILL)

    hub.hold = hold
    words = [sys.executable, "-m", "atari_vlm.report", "push", str(tmp_path / "set"), "me/set"]
    pushing = subprocess.Popen(words, env={**os.environ, "HF_HUB_OFFLINE": "0"})
    assert pushing.wait(120) == -signal.SIGKILL
    hub.hold, whole = None, dict(hub.large)
    assert 1 <= len(whole) < 4 and hub.files("dataset", "me/set") == {}
    assert report.main(["push", str(tmp_path / "set"), "me/set"]) == 0
    sizes = {oid: len(content) for oid, content in whole.items()}
    assert {oid: hub.sent[oid] for oid in whole} == sizes  # not sent again
    files = hub.files("dataset", "me/set")
    for steps in (3, 4, 5, 6):
        sent = hashlib.sha256(files[f"{steps}.npz"]).hexdigest()
        assert sent == hashlib.sha256((tmp_path / "set" / f"{steps}.npz").read_bytes()).hexdigest()


def test_demonstrations_come_from_a_shared_run_and_a_shared_data_set(
    hub, lesson, tmp_path, monkeypatch
):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    export_demonstrations(lesson, "lesson/pong-v0")
    local = import_demonstrations("lesson/pong-v0")
    assert report.main(["push", str(lesson), "me/lesson"]) == 0
    assert report.main(["push", str(tmp_path / "datasets/lesson/pong-v0"), "me/pong"]) == 0
    shared = hub.files("dataset", "me/pong")
    assert set(shared) == {"README.md", "dataset.json", "episodes.npz"}
    assert "AtariVLM/Pong-v5" in shared["README.md"].decode()
    for place in ("hub:me/lesson", "hub:me/pong"):
        found = import_demonstrations(place)
        assert [(d.game, d.episode, d.examples) for d in found] == [
            (d.game, d.episode, d.examples) for d in local
        ], place
    words = "--vlm nearest-example --use-icl --num-episodes 1 --num-eval-episodes 1 --max-steps 3 --videos 0"
    assert (
        train.main([*words.split(), "--save-dir", str(tmp_path), "--demonstrations", "hub:me/pong"])
        == 0
    )
    with pytest.raises(ConfigError, match="there is no me/none"):
        import_demonstrations("hub:me/none")


def test_a_strangers_run_is_not_played_in_what_it_names(hub, lesson):
    assert report.main(["push", str(lesson), "me/lesson"]) == 0
    files = dict(hub.files("dataset", "me/lesson"))
    config = yaml.safe_load(files["config.yaml"])
    for env in ({"resize_shape": [90000, 90000]}, {"checkpoint": "/etc"}):
        config["settings"]["env"] = env
        hub.put("dataset", "me/lesson", {"config.yaml": yaml.safe_dump(config).encode()})
        with pytest.raises(ConfigError, match="not made again"):
            import_demonstrations("hub:me/lesson")
    config["settings"] |= {"env": {}, "game_name": "os:Path"}
    hub.put("dataset", "me/lesson", {"config.yaml": yaml.safe_dump(config).encode()})
    with pytest.raises(ConfigError, match="no game of ALE"):
        import_demonstrations("hub:me/lesson")
