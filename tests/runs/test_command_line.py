"""A configuration becomes a command line and is read back as the same; what a run recorded is never guessed."""

import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.errors import BudgetExhaustedError, ConfigError, RunError
from atari_vlm.runs.command_line import (
    command_line,
    command_of,
    line_of,
    parse,
    recorded_line,
    resume_hint,
    wrapped,
)
from atari_vlm.runs.continuing import ResumeRules, amounts_of, continued, earlier_parts
from atari_vlm.runs.option_files import given_names, option_words
from atari_vlm.runs.options import names_of, pairs
from atari_vlm.train import TrainConfig


def again(config):
    """What the line of a configuration asks for."""
    words = shlex.split(command_line(config))
    assert words[:3] == ["python", "-m", "atari_vlm.train"]
    return parse(TrainConfig, words[3:], None)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"game": "Breakout", "seed": 3},
        {"use_icl": True, "icl_strategy": "best", "icl_tokens": 100},
        {"max_steps": None, "vlm_option": ("structured=false", "top_p=0.5")},
        {"use_icl": True, "demonstrations": "a folder/with 'marks'", "eval_only": True},
        {"log": ("tensorboard",), "budget_usd": 0.25},
    ],
)
def test_the_line_of_a_configuration_asks_for_the_same(options):
    config = TrainConfig(**options)
    assert again(config) == config


@pytest.mark.parametrize(
    ("words", "switched"),
    [
        (["--use_icl", "True", "--eval-only", "false"], (True, False)),
        (["--use-icl=true", "--eval_only=True"], (True, True)),
        (["--eval-only", "--game", "Pong"], (False, True)),
    ],
)
def test_a_switch_may_have_its_value_written_out(words, switched):
    config = parse(TrainConfig, words, None)
    assert (config.use_icl, config.eval_only) == switched


@given(st.integers(0, 100_000), st.integers(1, 10**6), st.booleans())
def test_the_line_names_only_what_differs_from_the_defaults(seed, episodes, eval_only):
    config = TrainConfig(seed=seed, num_episodes=episodes, eval_only=eval_only)
    default = TrainConfig()
    names = given_names(TrainConfig, shlex.split(command_line(config)))
    assert names == {
        name
        for name in ("seed", "num_episodes", "eval_only")
        if getattr(config, name) != getattr(default, name)
    }


def test_neither_a_key_nor_the_name_of_a_run_is_recorded():
    config = TrainConfig(api_key="sk-canary-0123456789abcdef", run_name="mine", resume=None)
    recorded = command_of(config)
    assert not {"api_key", "run_name", "resume", "show_recommendations"} & recorded.keys()
    assert "canary" not in command_line(config) and "mine" not in command_line(config)
    assert recorded.keys() < {item.name for item in fields(TrainConfig)}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("eval_only", True, ["--eval-only"]),
        ("eval_only", False, ["--no-eval-only"]),
        ("max_steps", None, ["--max-steps", "None"]),
        ("seeds", [1, 2], ["--seeds", "1", "2"]),
        ("vlm_option", ("a=1", "b=2"), ["--vlm-option", "a=1", "--vlm-option", "b=2"]),
        ("vlm_option", (), []),
    ],
)
def test_an_option_as_words(name, value, words):
    assert option_words(name, value) == words


def test_a_line_is_quoted_for_the_shell():
    line = line_of("train", {"save_dir": "a b; rm -r c"}, ["first one"])
    assert shlex.split(line)[3:] == ["first one", "--save-dir", "a b; rm -r c"]


def test_the_line_that_a_run_recorded_comes_before_its_options():
    command = {"game": "Pong", "eval_only": True}
    assert recorded_line({"command_line": "python x", "command": command}) == "python x"
    older = {"command": command, "settings": {"program": "plan"}}
    assert recorded_line(older) == "python -m atari_vlm.plan --game Pong --eval-only"
    assert recorded_line({"settings": {}}) == ""


@pytest.mark.parametrize(
    ("kind", "option", "limit"),
    [("calls", "max_calls", 6), ("usd", "budget_usd", 0.5), ("tokens", "max_tokens", 100)],
)
def test_a_hint_raises_the_limit_that_is_used_up(kind, option, limit):
    error = BudgetExhaustedError("spent")
    error.kind = kind
    hint = resume_hint(TrainConfig(**{option: limit}), Path("runs/a b"), error)
    words = shlex.split(hint.removeprefix("continue with: "))
    assert words[3:5] == ["--resume", "runs/a b"]
    assert words[words.index("--" + option.replace("_", "-")) + 1] == str(2 * limit)


@pytest.mark.parametrize(
    "limit",
    [{"budget_usd": 0.0}, {"budget_usd": float("nan")}, {"max_calls": 0}, {"max_tokens": -1}],
)
def test_a_limit_that_is_none_is_refused_by_its_option(limit):
    with pytest.raises(ConfigError, match=f"{next(iter(limit))} must be greater than 0"):
        TrainConfig(**limit)


def test_a_hint_holds_what_a_run_may_not_say_itself():
    hint = resume_hint(TrainConfig(base_url="http://127.0.0.1:9/v1", seed=4), Path("run"))
    assert "--base-url http://127.0.0.1:9/v1" in hint and "--seed" not in hint


def test_descriptions_are_wrapped_and_examples_left_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    example = "    python -m atari_vlm.train --game Pong-v5 --num-episodes 100 --seed 3"
    text = wrapped("word " * 40 + "\n\n" + example)
    assert example in text and max(map(len, text.split("\n\n")[0].splitlines())) <= 60


@pytest.mark.parametrize("words", [["a"], ["=1"]])
def test_an_option_without_name_and_value_is_refused_with_its_flag(words):
    with pytest.raises(ConfigError, match="--vlm-option"):
        pairs(tuple(words), "--vlm-option")


def test_option_pairs_are_plain_values():
    assert pairs(("a=1", "b=x=y", "c=false", "d=[1, 2]"), "--x") == {
        "a": 1,
        "b": "x=y",
        "c": False,
        "d": [1, 2],
    }


RULES = ResumeRules(free=("device",), amounts=("plan.episodes",), defaults={"new": 1})


def config_of(episodes, **more):
    return {"settings": {"plan": {"episodes": episodes}, "device": "cpu", **more}}


def test_the_same_settings_go_on_and_more_of_them_extend(tmp_path):
    config, extended = continued(tmp_path, config_of(2), config_of(2)["settings"], RULES)
    assert not extended and config["parts"] == []
    config, extended = continued(tmp_path, config_of(2), config_of(5)["settings"], RULES)
    assert extended and config["parts"] == [{"plan.episodes": 2}]
    longer = {**config_of(5), "parts": config["parts"]}
    config, extended = continued(tmp_path, longer, config_of(9)["settings"], RULES)
    assert extended and config["parts"] == [{"plan.episodes": 2}, {"plan.episodes": 5}]
    assert longer["parts"] == [{"plan.episodes": 2}]  # what was given is left as it is


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (config_of(1), r"plan\.episodes was 2, is now 1"),
        (config_of(2, new=2), "new was 1, is now 2"),
        (config_of(3, new=2), "new was 1, is now 2"),
        (config_of("2"), "plan.episodes was 2, is now '2'"),
        (config_of(True), "plan.episodes was 2, is now True"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, settings, named):
    with pytest.raises(RunError, match=named):
        continued(tmp_path, config_of(2), settings["settings"], RULES)


def test_a_free_setting_and_a_newer_one_at_its_default_change_nothing(tmp_path):
    settings = {**config_of(2)["settings"], "device": "cuda", "new": 1}
    assert continued(tmp_path, config_of(2), settings, RULES)[1] is False
    assert amounts_of(settings, RULES) == {"plan.episodes": 2}
    assert earlier_parts({"parts": [{"plan.episodes": 1}]}, RULES) == [{"plan.episodes": 1}]


def test_groups_share_no_option_by_accident():
    """An option is declared once: no two groups of ``train`` have a field of one name."""
    groups = [base for base in TrainConfig.__mro__ if "__dataclass_fields__" in vars(base)]
    own = [name for group in groups for name in vars(group).get("__annotations__", {})]
    own = [name for name in own if name in names_of(TrainConfig)]
    assert sorted(own) == sorted(set(own))
