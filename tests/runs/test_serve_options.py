"""``--serve [PORT]``: with a number, without one, in a file, and never from a run."""

from dataclasses import dataclass

import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.command_line import command_of, parse, resume_hint
from atari_vlm.runs.serve_options import ServeOptions


@pytest.mark.parametrize(
    ("words", "port"),
    [
        ("", None),
        ("--serve", 0),
        ("--serve 8123", 8123),
        ("--serve=8123", 8123),
        ("--serve --episodes 2", 0),
        ("--episodes 2 --serve", 0),
        ("--serve none", None),
    ],
)
def test_a_port_may_be_left_out(words, port):
    assert parse(EvaluateConfig, words.split(), None).serve == port


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(ConfigError, match=f"serve takes a port from 0 .* got {port}"):
        parse(EvaluateConfig, ["--serve", str(port)], None)


def test_a_study_file_may_ask_for_it_and_a_run_never_does(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("serve: 0\nepisodes: 2\n")
    config = parse(EvaluateConfig, ["--study", str(study)], None)
    assert config.serve == 0 and "serve" not in command_of(config)
    assert "--serve 0" in resume_hint(config, tmp_path)
    run = tmp_path / "run.yaml"
    run.write_text("command: {serve: 0, episodes: 2}\n")
    config = parse(EvaluateConfig, ["--config", str(run)], None)
    assert config.serve is None and config.episodes == 2


def test_a_class_with_an_option_of_its_own_is_one_group():
    @dataclass(frozen=True)
    class Own(ServeOptions):
        """One group."""

        program = "own"
        number: int = 3

    assert parse(Own, ["--serve", "--number", "4"], None) == Own(number=4, serve=0)
