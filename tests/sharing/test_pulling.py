"""Pulling from a Hub on this machine with its real client: what comes, what is left out, what is refused; nothing runs."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from atari_vlm.agents.worlds import Worlds
from atari_vlm.errors import AuthenticationError, CheckpointError, ConfigError, UnavailableError
from atari_vlm.sharing.names import HubName
from atari_vlm.sharing.pulling import local_folder, pull
from atari_vlm.world_models import CatchWorldModel, load_world_model, save_checkpoint

NAME = HubName("someone/play")
CONFIG = {
    "rows": 6, "columns": 5, "cell_px": 2, "num_balls": 3,
    "action_names": ["NOOP", "RIGHT", "LEFT"], "frame_skip": 1, "reward_transform": "none",
}  # fmt: skip


class Runs:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def npz(**arrays):
    raw = io.BytesIO()
    np.savez(raw, **arrays)
    return raw.getvalue()


def tree(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def checkpoint_files(folder):
    sizes = {name: CONFIG[name] for name in ("rows", "columns", "cell_px", "num_balls")}
    save_checkpoint(folder, kind="catch", config=CONFIG, start=CatchWorldModel(**sizes).start)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_put_there_comes_whole_and_a_revision_is_kept_to(hub, tmp_path):
    first = hub.put("dataset", NAME.repo, {"a.npz": npz(x=np.arange(3)), "d/b.json": b"1"})
    hub.put("dataset", NAME.repo, {"d/b.json": b"2", ".gitattributes": b"*.npz filter=lfs"})
    fetched = pull(NAME, tmp_path / "out")
    assert tree(fetched.folder) == ["a.npz", "d/b.json"] and [r for _, r in fetched.left_out] == [
        ""
    ]
    assert (fetched.folder / "d/b.json").read_bytes() == b"2"
    pull(HubName(NAME.repo, first), tmp_path / "old")
    assert (tmp_path / "old/d/b.json").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "hf") == ["old", "out"]


def test_a_malicious_repository_brings_no_code_and_runs_none(hub, tmp_path):
    evil = pickle.dumps(Runs(tmp_path / "executed"))
    hub.put("model", NAME.repo, {
        **checkpoint_files(tmp_path / "made"), "weights.pkl": evil, "pytorch_model.bin": evil,
        "modeling.py": b"import os; os.mkdir('executed')", "sub/__init__.py": b"x", "page.html": b"<script>",
    })  # fmt: skip
    hub.links = ["secrets", "sub/link.json"]
    fetched = pull(NAME, tmp_path / "out")
    assert "manifest.json" in tree(fetched.folder) and not set(tree(fetched.folder)) & {
        "weights.pkl", "pytorch_model.bin", "modeling.py", "sub/__init__.py", "page.html"
    }  # fmt: skip
    reasons = dict(fetched.left_out)
    assert reasons["modeling.py"] == "code" and reasons["weights.pkl"] == "pickled"
    assert reasons["secrets"] == reasons["sub/link.json"] == "no plain file"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    load_world_model(fetched.folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["../escaped.json", "/tmp/escaped.json", "a/../../escaped.json", "a\\b.json"]
)
def test_names_that_lead_out_are_refused_before_anything_is_fetched(hub, tmp_path, name):
    hub.put("dataset", NAME.repo, {"a.json": b"1", name: b"{}"})
    with pytest.raises(ConfigError, match=r"someone/play is refused.*could lead elsewhere"):
        pull(NAME, tmp_path / "out")
    assert not any("/resolve/" in asked for asked in hub.asked) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "a.npz", "journal.sqlite", "a.parquet", "a.json"]
)
def test_a_pickle_under_another_name_is_refused(hub, tmp_path, name):
    hub.put("dataset", NAME.repo, {name: pickle.dumps(Runs(tmp_path / "executed")) + b"\0"})
    with pytest.raises(ConfigError, match=f"refused: {name} is not what its name says"):
        pull(NAME, tmp_path / "out")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "out").exists()


def test_arrays_of_objects_are_refused(hub, tmp_path):
    objects = io.BytesIO()
    np.lib.format.write_array(
        objects, np.array([Runs(tmp_path / "executed")], object), allow_pickle=True
    )
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("x.npy", objects.getvalue())
    hub.put("dataset", NAME.repo, {"a.npz": raw.getvalue()})
    with pytest.raises(ConfigError, match="array of objects"):
        pull(NAME, tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_a_folder_that_is_there_a_link_and_a_repository_without_data_are_refused(hub, tmp_path):
    hub.put("dataset", NAME.repo, {"a.py": b"x"})
    with pytest.raises(ConfigError, match="no file that is shared"):
        pull(NAME, tmp_path / "out")
    hub.put("dataset", NAME.repo, {"a.json": b"1"})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for out in ("full", "link"):
        with pytest.raises(ConfigError, match="is there already"):
            pull(NAME, tmp_path / out)
    (tmp_path / "empty").mkdir()
    assert tree(pull(NAME, tmp_path / "empty").folder) == ["a.json"]


def test_what_is_missing_not_shown_or_not_there_is_one_sentence(hub, tmp_path, monkeypatch):
    hub.put("dataset", NAME.repo, {"a.json": b"1"})
    with pytest.raises(ConfigError, match="there is no someone/none at http"):
        pull(HubName("someone/none"), tmp_path / "out")
    with pytest.raises(ConfigError, match="has no revision v9"):
        pull(HubName(NAME.repo, "v9"), tmp_path / "out")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(AuthenticationError, match="does not know the token in HF_TOKEN") as told:
        pull(NAME, tmp_path / "out")
    assert "hf_of_somebody" not in str(told.value)
    monkeypatch.setenv("HF_TOKEN", "")
    hub.public = False
    with pytest.raises(ConfigError, match="shown without HF_TOKEN"):
        pull(NAME, tmp_path / "out")
    monkeypatch.setenv("HF_ENDPOINT", "ftp://hub")
    with pytest.raises(ConfigError, match="HF_ENDPOINT is no address"):
        pull(NAME, tmp_path / "out")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="same command goes on"):
        pull(NAME, tmp_path / "out")


def test_a_world_model_is_loaded_by_its_name_and_never_from_a_folder_of_that_name(
    hub, tmp_path, monkeypatch
):
    files = checkpoint_files(tmp_path / "made")
    commit = hub.put("model", "someone/catch", files)
    monkeypatch.chdir(tmp_path)
    planted = tmp_path / "hub:someone" / "catch"
    checkpoint_files(planted)
    (planted / "manifest.json").write_text("not this one")
    model = load_world_model("hub:someone/catch")
    assert type(model) is CatchWorldModel
    assert (
        type(Worlds("hub:someone/catch")._loaded) is CatchWorldModel
    )  # --world-model, mcts@hub:...
    before = len(hub.asked)
    load_world_model(f"hub:someone/catch@{commit}")
    assert len(hub.asked) == before  # a commit that is there is not asked for
    with pytest.raises(ConfigError, match="no name on the Hub"):
        load_world_model("hub:catch")
    hub.put("model", "someone/catch", {"config.json": files["config.json"] + b" "})
    with pytest.raises(CheckpointError, match="damaged"):
        load_world_model("hub:someone/catch")


def test_what_was_fetched_is_there_when_nothing_may_be_asked(hub, monkeypatch):
    hub.put("dataset", NAME.repo, {"a.json": b"1"})
    folder = local_folder(f"hub:{NAME}")
    hub.put("dataset", NAME.repo, {"a.json": b"2"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert local_folder(f"hub:{NAME}") == folder and (folder / "a.json").read_bytes() == b"1"
    with pytest.raises(ConfigError, match="not fetched before"):
        local_folder("hub:someone/other")
