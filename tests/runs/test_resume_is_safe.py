"""A run folder may be a stranger's: nothing that runs code, opens an address or reads elsewhere is taken from one."""

from __future__ import annotations

import json

import pytest
import yaml

from atari_vlm import evaluate, plan, train
from atari_vlm.errors import AuthenticationError, ConfigError
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.plan import PlanConfig
from atari_vlm.runs.command_line import command_line, command_of, parse, resume_hint
from atari_vlm.runs.options import KeyOptions
from atari_vlm.train import TrainConfig

KEY = "sk-proj-0123456789abcdefghij"


def strangers_run(folder, **command):
    run = folder / "runs" / "shared-run"
    run.mkdir(parents=True)
    content = {"identity": "0" * 64, "settings": {}, "command": command}
    (run / "config.yaml").write_text(json.dumps(content))  # JSON is YAML
    return run


@pytest.mark.parametrize(
    ("kind", "command", "flags"),
    [
        (
            TrainConfig,
            {"vlm": "cogvlm2", "model": "/w", "trust_remote_code": True},
            "--model /w --trust-remote-code",
        ),
        (
            TrainConfig,
            {"vlm": "gpt-4o", "base_url": "http://127.0.0.1:9/v1"},
            "--base-url http://127.0.0.1:9/v1",
        ),
        (
            TrainConfig,
            {"vlm": "gpt-4o", "model": "x", "base_url": "http://h/v1"},
            "--model x --base-url http://h/v1",
        ),
        (TrainConfig, {"vlm": "qwen-vl", "model": "some/hub-id"}, "--model some/hub-id"),
        (TrainConfig, {"vlm": "replay", "model": "/dev/zero"}, "--model /dev/zero"),
        (TrainConfig, {"cache": "/home/me/replies.sqlite"}, "--cache /home/me/replies.sqlite"),
        (TrainConfig, {"use_icl": True, "demonstrations": "a/b-v0"}, "--demonstrations a/b-v0"),
        (TrainConfig, {"vlm_option": ["extra_body={a: 1}"]}, "--vlm-option 'extra_body={a: 1}'"),
        (PlanConfig, {"world_model": "/somewhere"}, "--world-model /somewhere"),
        (PlanConfig, {"dream": "/somewhere", "world_model": "catch"}, "--dream /somewhere"),
        (
            EvaluateConfig,
            {"agents": ["gpt-4o"], "base_url": "http://h/v1"},
            "--base-url http://h/v1",
        ),
        (EvaluateConfig, {"agents": ["gpt-4o", "llava"], "model": "x"}, "--model x"),
    ],
)
def test_what_reaches_outside_is_asked_for(tmp_path, kind, command, flags):
    run = strangers_run(tmp_path, **command)
    with pytest.raises(ConfigError) as raised:
        parse(kind, ["--resume", str(run)], "")
    assert f"python -m atari_vlm.{kind.program} --resume {run} {flags}" in str(raised.value)
    with pytest.raises(ConfigError):
        parse(kind, ["--config", str(run / "config.yaml")], "")  # a stranger's all the same


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        (
            TrainConfig,
            {
                "vlm": "gpt-4o",
                "model": "gpt-4.1-mini",
                "max_steps": None,
                "base_url": None,
                "cache": None,
            },
        ),
        (
            TrainConfig,
            {
                "vlm": "scripted",
                "demonstrations": None,
                "trust_remote_code": False,
                "vlm_option": [],
            },
        ),
        (PlanConfig, {"world_model": "catch", "game": "Catch", "dream": None, "follow": 3}),
        (EvaluateConfig, {"agents": ["claude"], "model": "claude-x", "seeds": [4]}),
    ],
)
def test_what_does_not_is_taken(tmp_path, kind, command):
    config = parse(kind, ["--resume", str(strangers_run(tmp_path, **command))], "")
    assert {name: command_of(config)[name] for name in command} == command


def test_the_whole_command_is_taken_and_words_are_no_flags(tmp_path):
    run = strangers_run(
        tmp_path, vlm="gpt-4o", base_url="http://evil/v1", seed=3, game="--trust-remote-code"
    )
    config = parse(TrainConfig, ["--resume", str(run), "--base-url", "http://mine/v1"], "")
    assert (config.base_url, config.seed, config.trust_remote_code) == ("http://mine/v1", 3, False)
    wrongs = (
        {"seed": {"a": 1}},
        {"seed": [1]},
        {"vlm": ["x"]},
        {"api_key": KEY},
        {"model": KEY},
        {"sed": 1},
    )
    for number, wrong in enumerate(wrongs):
        run = strangers_run(tmp_path / str(number), **wrong)
        with pytest.raises(ConfigError) as raised:
            parse(TrainConfig, ["--resume", str(run)], "")
        assert KEY not in str(raised.value)


def test_a_strangers_code_does_not_run(tmp_path, capsys):
    weights = tmp_path / "weights"
    weights.mkdir()
    ran = tmp_path / "RAN"
    (weights / "conf.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    (weights / "config.json").write_text(
        json.dumps({"model_type": "c", "auto_map": {"AutoConfig": "conf.C"}})
    )
    run = strangers_run(
        tmp_path, vlm="cogvlm2", model=str(weights), trust_remote_code=True, num_episodes=1
    )
    assert train.main(["--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"--model {weights} --trust-remote-code" in said
    assert not ran.exists() and not (run / "journal.sqlite").exists()


@pytest.mark.parametrize("program", [train.main, plan.main, evaluate.main])
@pytest.mark.parametrize(
    "words",
    [
        ["--model", KEY],
        [f"--model={KEY}"],
        ["--api-key-env", KEY],
        ["--run-name", KEY],
        ["--cache", f"x/{KEY}"],
        ["--vlm-option", f"extra_body={{key: {KEY}}}"],
        ["--max-calls", KEY],
        [KEY],
    ],
)
def test_a_key_in_a_wrong_place_is_neither_shown_nor_stored(tmp_path, capsys, program, words):
    assert program(["--save-dir", str(tmp_path), *words]) == 2
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err and "looks like a key" in shown.err
    assert not list(tmp_path.iterdir())


def test_the_environments_keys_are_known_whatever_they_look_like(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "plainwordsonly")
    assert train.main(["--save-dir", str(tmp_path), "--model", "plainwordsonly"]) == 2
    assert "plainwords" not in capsys.readouterr().err


def test_a_key_from_a_variable_of_ones_own(monkeypatch):
    monkeypatch.setenv("MY_SERVERS_KEY", "secret-of-mine")
    assert KeyOptions(api_key_env="MY_SERVERS_KEY").key() == "secret-of-mine"
    assert KeyOptions(api_key="given").key() == "given" and KeyOptions().key() is None
    with pytest.raises(AuthenticationError, match="NOT_THERE"):
        KeyOptions(api_key_env="NOT_THERE").key()
    for wrong in (KeyOptions(api_key_env="AIzaSyNotAName"), KeyOptions("a", "MY_SERVERS_KEY")):
        with pytest.raises(ConfigError) as raised:
            wrong.key()
        assert "AIza" not in str(raised.value)


def test_a_hint_says_what_the_run_may_not(tmp_path):
    class Spent(Exception):
        kind = "calls"

    config = TrainConfig(
        vlm="gpt-4o", base_url="http://h/v1", max_calls=10, api_key="secret", cache=tmp_path / "c"
    )
    hint = resume_hint(config, tmp_path / "run", Spent())
    assert hint.endswith(
        f"train --resume {tmp_path}/run --base-url http://h/v1 --cache {tmp_path}/c --max-calls 20"
    )
    assert "secret" not in command_line(config) and "secret" not in repr(config)


def test_a_name_with_markup_is_printed_as_it_is(tmp_path, capsys):
    folder = tmp_path / "x[" / "foo]"
    options = [
        "--num-episodes",
        "1",
        "--num-eval-episodes",
        "0",
        "--max-steps",
        "2",
        "--videos",
        "0",
    ]
    assert train.main([*options, "--save-dir", f"{folder}\x1b[31m:smile:"]) == 0
    shown = capsys.readouterr()
    assert (
        f"{folder}\\x1b[31m:smile:/Pong-scripted-cot-001 (new)" in shown.err
        and "\x1b" not in shown.err + shown.out
    )
    config = yaml.safe_load(next(tmp_path.rglob("config.yaml")).read_text())
    assert config["command_line"].startswith("python -m atari_vlm.train --num-episodes 1")
