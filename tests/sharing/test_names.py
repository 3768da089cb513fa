"""Names on the Hub: what is one, and that ``hub:`` never means a folder."""

import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.sharing.contents import check_names, why_left_out
from atari_vlm.sharing.names import HubName, is_hub_name


def test_a_name_is_read_with_and_without_its_revision():
    assert HubName.of("me/pong") == HubName("me/pong", None)
    assert HubName.of("hub:me/pong@v1.0") == HubName("me/pong", "v1.0")
    assert str(HubName.of("me/pong@refs/pr/1")) == "me/pong@refs/pr/1"
    assert HubName.of(f"me/pong@{'a' * 40}").is_commit and not HubName.of("me/pong@main").is_commit
    assert is_hub_name("hub:me/pong") and not is_hub_name("me/pong")


@pytest.mark.parametrize(
    "text",
    ["", "pong", "a/b/c", "/pong", "me/", "../pong", "me/..", "me/po ng", "me/p--q", "me/-p", "me/p.",
     "me/pong@", "me/pong@../x", "me/pong@a b", "me/pong\n", "~/pong", "C:/pong", "me/" + "p" * 97],
)  # fmt: skip
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ConfigError, match="no name on the Hub: OWNER/NAME"):
        HubName.of(text)


@pytest.mark.parametrize(
    "name",
    ["../x.json", "/etc/x.json", "a/../../x.json", "a//x.json", "a\\..\\x.json", "C:\\x.json", "a/./x.json",
     "x\n.json", "..", "a/ /x.json", "x\u202e.json", "~/x.json"],
)  # fmt: skip
def test_file_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(ConfigError, match="could lead elsewhere"):
        check_names(["good.json", name])


def test_two_names_for_one_file_are_refused():
    with pytest.raises(ConfigError, match="twice"):
        check_names(["a.json", "A.json"])
    with pytest.raises(ConfigError, match="is a file, too"):
        check_names(["a", "a/b.json"])


def test_data_is_shared_and_code_is_not():
    shared = [
        "config.yaml",
        "journal.sqlite",
        "model/weights.safetensors",
        "a.npz",
        "d/x.parquet",
        "README.md",
    ]
    assert all(why_left_out(name) is None for name in shared)
    for name, reason in {"a.py": "code", "model.pkl": "pickled", "w.PT": "pickled", "r.html": "page", "v.mp4": "film",
                         "x.hdf5": "another kind", ".hidden/x.json": "another kind"}.items():  # fmt: skip
        assert reason in (why_left_out(name) or ""), name
