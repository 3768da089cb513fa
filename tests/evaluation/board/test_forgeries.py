"""Forged bundles are refused, each for what was forged; the honest one beside them is accepted."""

import json
import os
import shutil

import pytest

from atari_vlm import report as program
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.board.board import build_board, bundles_in
from atari_vlm.evaluation.board.bundle import EPISODES, MANIFEST, SUBMISSION, Refused
from atari_vlm.evaluation.board.judging import judge
from atari_vlm.evaluation.board.submitting import submit
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.proofs.board_forgeries import FORGERIES, Forgery, forge


def bundle_of(folder, **options):
    run, _ = evaluate(EvaluateConfig(**{"save_dir": folder, "run_name": "run", **options}))
    return submit(run)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Of Catch, which is played at once."""
    folder = tmp_path_factory.mktemp("honest")
    return bundle_of(folder, games=["Catch"], agents=["nearest-example"], seeds=[0, 1], max_steps=5)


@pytest.fixture(scope="module")
def pong(tmp_path_factory):
    """Of a game of ALE, with sticky actions."""
    return bundle_of(tmp_path_factory.mktemp("pong"), games=["Pong"], seeds=[0], max_steps=8)


def refusal(honest, forgery, tmp_path):
    with pytest.raises(Refused) as caught:
        judge(forge(honest, forgery, tmp_path / "forged"))
    return str(caught.value)


def test_the_bundle_holds_what_its_format_says(pong):
    submission = json.loads((pong / SUBMISSION).read_text())
    assert submission["format"] == 1 and submission["config"]["games"] == ["Pong"]
    game = submission["games"]["Pong"]
    assert game["env_id"] == "AtariVLM/Pong-v5" and len(game["rom_sha256"]) == 64
    assert {"ale_py", "gymnasium", "atari_vlm"} == submission["versions"].keys()
    assert [entry["model_served"] for entry in submission["agents"]] == ["", "scripted"]
    assert all(len(sha) == 64 for sha in submission["prompts"]) and submission["prompts"]
    episodes = [json.loads(line) for line in (pong / EPISODES).read_text().splitlines()]
    assert [(e["agent"], e["seed"]) for e in episodes] == [
        *(("random", 0), ("scripted", 0)),
    ]
    asked = episodes[1]
    assert len(asked["actions"]) == len(asked["replies"]) == asked["length"] == 8
    assert asked["truncated"] and not asked["terminated"]
    assert {"step", "call", "text", "model", "request_sha256"} == asked["replies"][0].keys()


def test_the_kinds_are_ten_with_two_each():
    kinds = [forgery.kind for forgery in FORGERIES]
    assert len(FORGERIES) == 20 and {kinds.count(kind) for kind in kinds} == {2}


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda f: f"{f.kind}: {f.name}")
def test_a_forged_bundle_is_refused(honest, forgery, tmp_path):
    assert forgery.reason in refusal(honest, forgery, tmp_path)


@pytest.mark.parametrize("number", [8, 9, 13])
def test_a_forged_bundle_of_an_ale_game_is_refused(pong, number, tmp_path):
    assert FORGERIES[number].reason in refusal(pong, FORGERIES[number], tmp_path)


def test_other_conditions_show_in_the_questions(pong, tmp_path):
    assert judge(pong).steps == 16
    assert "request_sha256" in refusal(pong, Forgery("", "", not_sticky_in_both, ""), tmp_path)


def more_seeds_in_both(it):
    it.submission["config"]["seeds"].append(7)
    it.submission["protocol"]["seeds"].append(7)
    it.submission["protocol"]["name"] = it.submission["protocol"]["name"].replace("0 1", "0 1 7")


def not_sticky_in_both(it):
    it.submission["config"]["env"] = {"repeat_action_probability": 0.0}
    it.submission["protocol"]["env"] = {"repeat_action_probability": 0.0}
    it.submission["protocol"]["name"] += ", repeat_action_probability=0.0"


def an_own_model(it):
    it.submission["config"]["agents"] = ["random", "nearest-example=own_players:LightVLM"]


def a_module(it):
    it.submission["config"]["games"] = ["surely_not_there:Game-v0"]


def a_dream(it):
    it.submission["config"]["games"] = ["AtariVLM/Pong-REM-v5,checkpoint=models"]


def huge_pictures(it):
    it.submission["config"]["games"] = ["Pong"]
    it.submission["config"]["env"] = {"resize_shape": [100_000, 100_000]}


def wrong_seed(it):
    it.silent["env_seed"] += 2


def a_source(it):
    it.asked["sources"] = "b" + it.asked["sources"][1:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (more_seeds_in_both, "2 of its 6 episodes are missing"),
        (an_own_model, "the name of the agent 'nearest-example'"),
        (a_module, "no module is imported for a bundle's sake"),
        (a_dream, "not in the bundle"),
        (huge_pictures, "resize_shape=[100000, 100000] is not made"),
        (wrong_seed, "env_seed is"),
        (a_source, "is said to come from buffer, and comes from model"),
    ],
)
def test_other_lies_are_refused(honest, tmp_path, change, reason):
    assert reason in refusal(honest, Forgery("", "", change, ""), tmp_path)


def damaged(honest, tmp_path, name, change):
    folder = tmp_path / "bad"
    shutil.copytree(honest, folder)
    change(folder / name)
    with pytest.raises(Refused) as caught:
        judge(folder)
    return str(caught.value)


def with_link(path):
    text = path.read_text()
    path.unlink()
    (path.parent.parent / "elsewhere").write_text(text)
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (EPISODES, lambda p: p.unlink(), "it holds no episodes.jsonl"),
        (EPISODES, lambda p: p.write_text("x"), "is damaged"),
        (SUBMISSION, with_link, "is a symbolic link"),
        (SUBMISSION, lambda p: os.truncate(p, 1 << 26), "is larger than"),
        (MANIFEST, lambda p: p.write_text("[" * 60_000), "manifest.json cannot be read"),
        (MANIFEST, lambda p: p.write_text('{"a": 1, "a": 2}'), "stands twice"),
        ("more", lambda p: p.mkdir(), "is no plain file"),
    ],
)
def test_files_that_are_no_bundle_are_refused(honest, tmp_path, name, change, reason):
    assert reason in damaged(honest, tmp_path, name, change)


def test_odd_json_is_refused(honest, tmp_path):
    def nan(it):
        it.silent["rewards"][0] = float("nan")

    def deep(it):
        nested = it.submission["config"]
        for _ in range(60):
            nested["env"] = {}
            nested = nested["env"]

    assert "NaN is no number" in refusal(honest, Forgery("", "", nan, ""), tmp_path)
    reason = refusal(honest, Forgery("", "", deep, ""), tmp_path / "two")
    assert "nested more than 40 deep" in reason


def test_the_board_shows_the_honest_and_names_the_forged(honest, tmp_path, capsys):
    shutil.copytree(honest, tmp_path / "bundles" / "good")
    forge(honest, FORGERIES[8], tmp_path / "bundles" / "<b>bad")
    site = tmp_path / "site"
    assert program.main(["board", str(tmp_path / "bundles"), "--out", str(site)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("refused: ")] == [
        "refused: <b>bad: it is of another Catch: version is 'v4', and None on this machine"
    ]
    board = json.loads((site / "board.json").read_text())
    (accepted,), (refused,) = board["accepted"], board["refused"]
    assert accepted["bundle"] == "good" and len(accepted["rows"]) == 4
    assert refused["bundle"] == "<b>bad"
    page = (site / "index.html").read_text()
    assert "&lt;b&gt;bad" in page and "<b>bad" not in page and "GPT-4V Turbo" in page
    assert "max_steps=5" in page and "0.232" in page and "<script" not in page


def test_a_folder_without_bundles_is_said(tmp_path, capsys):
    with pytest.raises(ConfigError, match="is no bundle and holds none"):
        bundles_in([tmp_path])
    assert program.main(["board", str(tmp_path / "nowhere"), "--out", str(tmp_path / "s")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="at least one folder"):
        build_board([], tmp_path / "s")
