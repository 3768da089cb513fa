"""Runs as LeRobot and Minari data sets: what is read back is what was played, seen, said and thought."""

import contextlib
import hashlib
import io
import json
import sqlite3
import sys

import gymnasium as gym
import numpy as np
import pytest
import yaml
from PIL import Image

from atari_vlm import VLMTrainer, report
from atari_vlm.runs.demonstration_files import import_demonstrations
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_schema import COLUMNS, insert
from atari_vlm.vlm import ScriptedVLM

STEPS = 8
PICTURE = "observation.images.screen"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    options = {"max_steps": STEPS, "videos": 0, "run_name": "run"}
    with VLMTrainer("Pong-v5", ScriptedVLM(), save_dir=folder, **options) as trainer:
        trainer.train(2)
        trainer.evaluate(1)
    return folder / "run"


@pytest.fixture(scope="module")
def played(run):
    """What the journal holds, and the pictures of the same seeds and actions in an environment made here."""
    episodes = []
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        for row in journal.episodes():
            steps, calls = journal.steps(row.episode), journal.calls(row.episode)
            env = gym.make("AtariVLM/Pong-v5", image_format="numpy")
            seen = [env.reset(seed=row.seed)[0]]
            seen += [env.step(step.action)[0] for step in steps]
            env.close()
            episodes.append((row, steps, calls, seen))
    return episodes


def sha256(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def exported(run, out, *more, kind="lerobot"):
    return report.main(["export", str(run), "--format", kind, "--out", str(out), *more])


def test_lerobot_rows_are_what_was_played_and_said(run, played, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "set"
    assert exported(run, out) == 0
    said = capsys.readouterr()
    assert "3 episodes, 24 steps" in said.err and str(out) in said.out
    rows = parquet.read_table(out / "data/chunk-000/file-000.parquet").to_pylist()
    told = iter(rows)
    for number, (_row, steps, calls, seen) in enumerate(played):
        for step, call, observation in zip(steps, calls, seen, strict=False):
            found = next(told)
            picture = Image.open(io.BytesIO(found[PICTURE]["bytes"]))
            assert picture.mode == "RGB" and found["episode_index"] == number
            assert sha256(np.asarray(picture)) == sha256(observation["image"])
            assert found["observation.sha256"] == sha256(observation["image"])
            assert found["observation.text"] == observation["text"]
            assert (found["action"], found["next.reward"]) == (step.action, step.reward)
            assert found["frame_index"] == step.step and found["source"] == "model"
            assert found["reasoning"] == step.decision["reasoning"] != ""
            assert found["reply"] == call.reply["text"]
            asked = json.loads(found["prompt"])
            assert [turn["role"] for turn in asked] == [role for role, _ in call.request]
            assert any(observation["text"] in part.get("text", "") for part in asked[-1]["content"])
            shown = [p["sha256"] for p in asked[-1]["content"] if p["type"] == "image"]
            assert shown == [sha for kind, sha in call.request[-1][1] if kind == "image"] != []
    assert next(told, None) is None


def test_lerobot_metadata_says_what_the_loader_asks_for(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert exported(run, tmp_path / "set", "--phase", "train") == 0
    meta = tmp_path / "set/meta"
    info = json.loads((meta / "info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 15
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 2 * STEPS, 1)
    data = parquet.read_table(
        tmp_path / "set" / info["data_path"].format(chunk_index=0, file_index=0)
    )
    assert set(info["features"]) == set(data.column_names)
    assert info["features"][PICTURE]["shape"] == [224, 224, 3]
    kinds = json.loads(data.schema.metadata[b"huggingface"])["info"]["features"]
    assert kinds[PICTURE] == {"_type": "Image"} and set(kinds) == set(data.column_names)
    episodes = parquet.read_table(meta / "episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(e["dataset_from_index"], e["dataset_to_index"]) for e in episodes] == [
        (0, STEPS),
        (STEPS, 2 * STEPS),
    ]
    assert {e["phase"] for e in episodes} == {"train"} and episodes[0]["tasks"] == ["Play Pong."]
    tasks = parquet.read_table(meta / "tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pylist() == [{"task_index": 0, "task": "Play Pong."}]
    stats = json.loads((meta / "stats.json").read_text())
    levels = np.concatenate(
        [
            np.asarray(Image.open(io.BytesIO(row["bytes"]))).reshape(-1, 3)
            for row in data[PICTURE].to_pylist()
        ]
    )
    assert np.ravel(stats[PICTURE]["mean"]) == pytest.approx(levels.mean(0) / 255)
    assert np.ravel(stats[PICTURE]["std"]) == pytest.approx(levels.std(0) / 255)
    assert stats["action"]["mean"] == pytest.approx([np.mean(data["action"].to_pylist())])


def test_minari_holds_pictures_and_words_and_can_be_demonstrations(
    run, played, tmp_path, monkeypatch
):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "elsewhere"))
    assert exported(run, tmp_path / "sets/pong-words-v0", kind="minari") == 0
    assert not (tmp_path / "elsewhere/pong-words-v0").exists()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    dataset = minari.load_dataset("pong-words-v0")
    assert dataset.env_spec.id == "AtariVLM/Pong-v5" and dataset.total_episodes == 3
    for episode, (row, steps, calls, seen) in zip(dataset.iterate_episodes(), played, strict=True):
        found = [sha256(picture) for picture in episode.observations]
        assert found == [sha256(observation["image"]) for observation in seen]
        words = {name: [t.decode() for t in texts] for name, texts in episode.infos.items()}
        assert words["sha256"] == found and len(words["text"]) == STEPS + 1
        assert words["text"] == [observation["text"] for observation in seen]
        assert words["reasoning"] == [step.decision["reasoning"] for step in steps]
        assert words["reply"] == [call.reply["text"] for call in calls]
        assert all(json.loads(prompt) for prompt in words["prompt"])
        assert episode.actions.tolist() == [step.action for step in steps]
        assert sum(episode.rewards) == row.episode_return
    assert [d.length for d in import_demonstrations("pong-words-v0")] == [STEPS] * 3


def test_a_toy_and_a_run_that_asks_nobody(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from atari_vlm import evaluate

    words = "--games Catch --agents random --seeds 0 --max-steps 5 --save-dir"
    assert evaluate.main([*words.split(), str(tmp_path), "--run-name", "toy"]) == 0
    assert exported(tmp_path / "toy", tmp_path / "set") == 0
    rows = parquet.read_table(tmp_path / "set/data").to_pylist()
    assert rows and {row["prompt"] for row in rows} == {row["reply"] for row in rows} == {""}
    assert {row["source"] for row in rows} == {"policy"}
    episodes = parquet.read_table(tmp_path / "set/meta/episodes").to_pylist()
    assert {e["agent"] for e in episodes} == {"random"}


def changed(run, folder, change):
    """A copy of the run with another config.yaml."""
    folder.mkdir()
    for file in ("config.yaml", "journal.sqlite"):
        (folder / file).write_bytes((run / file).read_bytes())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config["settings"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda s: s.update(env={"resize_shape": [9999, 9999]}), "which is not made again"),
        (lambda s: s.update(env={"mode": "x"}), "which is not made again"),
        (lambda s: s.update(dream="/etc"), "was played in a dreamed game"),
        (lambda s: s.update(game_name="nobodys:Pong-v0"), "--trust-module nobodys"),
        (lambda s: s.update(game_name="Nowhere"), "Nowhere"),
    ],
)
def test_a_strangers_run_is_refused_in_a_sentence(run, tmp_path, capsys, change, said):
    pytest.importorskip("pyarrow")
    strange = changed(run, tmp_path / "strange", change)
    assert exported(strange, tmp_path / "set") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in " ".join(lines) and "Traceback" not in " ".join(lines)
    assert not (tmp_path / "set").exists()


def test_places_names_and_choices_that_cannot_be(run, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/config.yaml").symlink_to(run / "config.yaml")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (tmp_path / "elsewhere/journal.sqlite").symlink_to(run / "journal.sqlite")
    for words, said in [
        ((run, tmp_path / "there"), "is there already"),
        ((run, tmp_path / "link"), "is there already"),
        ((tmp_path / "there", tmp_path / "set"), "is not a run folder"),
        ((tmp_path / "linked", tmp_path / "set"), "symbolic link"),
        ((tmp_path / "elsewhere", tmp_path / "set"), "symbolic link"),
        ((run, run / "config.yaml" / "set"), "cannot be made"),
        ((run, tmp_path / "set", "--game", "Boxing"), "has no finished episode of Boxing"),
    ]:
        assert exported(*words) == 2, said
        assert said in " ".join(capsys.readouterr().err.split())
    assert exported(run, tmp_path / "no id", kind="minari") == 2
    assert "is no id of a Minari data set" in " ".join(capsys.readouterr().err.split())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "link", "linked", "there"]


FORGED = {
    "a button that is none": ("steps", "action", 99),
    "no number": ("steps", "action", '"x"'),
    "a decision that is none": ("steps", "decision", "[]"),
    "a request that is none": ("calls", "request", '[["user", [["text"]]]]'),
    "a reply that is none": ("calls", "reply", "[1]"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_journal_with_right_digests_is_refused_in_a_sentence(run, tmp_path, capsys, what):
    pytest.importorskip("pyarrow")
    strange = changed(run, tmp_path / "strange", lambda settings: None)
    table, column, value = FORGED[what]
    with contextlib.closing(sqlite3.connect(strange / "journal.sqlite")) as db:
        names = [*COLUMNS[table]]
        row = list(db.execute(f"SELECT {', '.join(names)} FROM {table} LIMIT 1").fetchone())
        row[names.index(column)] = value
        insert(db, table, row)
        db.commit()
    assert exported(strange, tmp_path / "set") in (2, 73)
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said.splitlines()) == 1 and "Traceback" not in said
    assert not (tmp_path / "set").exists()


EXTRAS = [("lerobot", "pyarrow", "lerobot"), ("minari", "minari", "datasets")]


@pytest.mark.parametrize(("kind", "module", "extra"), EXTRAS)
def test_a_missing_extra_is_named(run, tmp_path, capsys, monkeypatch, kind, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    assert exported(run, tmp_path / "set-v0", kind=kind) == 2
    assert f"[{extra}]" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "set-v0").exists()
