"""The bundled model without torch and transformers: the same requests, the same scores, the same play."""

import configparser
import fnmatch
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atari_vlm import games, prompts
from atari_vlm.agents.make import make_agent
from atari_vlm.errors import ConfigError, MissingDependencyError, NotSupportedError
from atari_vlm.types import Image, Message
from atari_vlm.vlm import Sampling, load_vlm
from atari_vlm.vlm.local.choices import ChoiceTree
from atari_vlm.vlm.local.engine import score_request
from atari_vlm.vlm.local.tiny import backends, bundled

needs_model = pytest.mark.skipif(not bundled.is_here(), reason="no model is bundled")
NAMES = ("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "DOWNLEFTFIRE")
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from atari_vlm.train import main
sys.exit(main(sys.argv[1:]))
"""
NO_TORCH = ("torch", "transformers", "accelerate", "safetensors", "jinja2", "huggingface_hub")


SIZES = ((210, 160), (224, 224), (28, 40), (96, 300), (250, 37))


def picture(rng):
    return Image(rng.integers(0, 256, (*rng.choice(SIZES), 3), dtype=np.uint8))


def some_requests(rng, every=8):
    """One of some games: instructions, one to four pictures of several sizes, some facts; and some of its actions."""
    for number, game in enumerate(games.game_names()[::every]):
        names = list(rng.permutation(NAMES)[: rng.integers(1, 9)])
        style = prompts.PROMPT_STYLES[number % 3]
        shown = [picture(rng) for _ in range(1 + number % 4)]
        told = f"Game: {game}\nStep: {number} <|im_end|> é"
        asked = prompts.instructions(style, game, names, answer="choice")
        yield [Message.of("system", asked), Message.of("user", *shown, told)], names
    yield [Message.of("user", "No picture at all.")], ["UP"]


@pytest.fixture(scope="module")
def pair():
    """The bundled model on ONNX Runtime and on torch."""
    onnx = load_vlm("tiny", backend="onnx")
    torch = load_vlm("tiny", backend="torch", device="cpu")
    yield onnx, torch
    onnx.close()
    torch.close()


@needs_model
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_requests_are_read_and_scored_as_torch_does(pair, every):
    onnx, torch = pair
    rng = np.random.default_rng(every)
    batch = []
    for messages, names in some_requests(rng, every):
        mine, theirs = (
            score_request(encoder, messages, names)
            for encoder in (onnx._loaded.encoder, torch._encoder)
        )
        assert mine.choices == theirs.choices
        assert np.array_equal(mine.prompt.ids, theirs.prompt.ids)
        assert np.array_equal(mine.prompt.positions, theirs.prompt.positions)
        for one, other in zip(mine.prompt.pieces, theirs.prompt.pieces, strict=True):
            assert one.tensors.keys() == other.tensors.keys()
            assert all(np.array_equal(one.tensors[k], other.tensors[k]) for k in one.tensors)
        batch.append((mine, theirs))
    for start in range(0, len(batch), 6):  # rows of different lengths beside one another
        ours, expected = zip(*batch[start : start + 6], strict=True)
        found = onnx._loaded.engine.score(ours)
        for scores, right in zip(found, torch._engine.score(expected), strict=True):
            np.testing.assert_allclose(scores, right, atol=1e-4, rtol=0)


@needs_model
def test_both_backends_choose_the_same_and_only_score(pair):
    messages, names = next(some_requests(np.random.default_rng(1)))
    onnx, torch = pair
    assert np.argmax(onnx.score_choices(messages, names)) == np.argmax(
        torch.score_choices(messages, names)
    )
    for vlm in pair:
        assert {"scores", "only scores"} == vlm.capabilities
        with pytest.raises(NotSupportedError, match="trained to be scored"):
            vlm.complete(messages, sampling=Sampling())
    assert onnx.name != torch.name and onnx.name[-12:] == torch.name[-12:]


@needs_model
def test_an_agent_scores_in_the_style_that_was_trained():
    agent = make_agent("tiny", backend="onnx")
    assert (agent.answer, agent.prompt_type) == ("scores", bundled.taught().prompt_type)
    agent.vlm.close()
    assert bundled.ways("tiny", {"model": "/elsewhere"}) == {}
    assert bundled.ways("tiny", {"adapter": "/elsewhere"}) == {}
    assert bundled.ways("scripted", {}) == {}


@needs_model
def test_commands_and_studies_take_the_style_that_was_trained():
    from atari_vlm.evaluation.study import check
    from atari_vlm.evaluation.study_options import EvaluateConfig
    from atari_vlm.runs.command_line import parse
    from atari_vlm.train import TrainConfig

    style = bundled.taught().prompt_type
    assert parse(TrainConfig, ["--vlm", "tiny"], None).prompt_type == style
    assert parse(TrainConfig, ["--vlm", "tiny", "--prompt-type", "expert"], None).prompt_type == (
        "expert"
    )
    assert parse(TrainConfig, ["--vlm", "scripted"], None).prompt_type == "cot"
    assert parse(TrainConfig, ["--vlm", "tiny", "--model", "/x"], None).prompt_type == "cot"
    agents = ("tiny", "other=tiny,prompt_type=expert", "scripted")
    study = check(EvaluateConfig(games=("Pong",), agents=agents))
    told = {spec.label: spec.options.get("prompt_type") for spec in study.given}
    assert told == {"tiny": style, "other": "expert", "scripted": None}


@needs_model
def test_it_plays_where_torch_and_transformers_are_absent(tmp_path):
    program = WITHOUT.format(absent=NO_TORCH)
    words = (
        "--vlm tiny --game Catch --num-episodes 1 --eval-only --num-eval-episodes 1 --max-steps 20"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *words.split(), "--save-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    (run,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert ":onnx-weights=" in ended.stdout + ended.stderr
    assert lines


@needs_model
def test_every_file_of_it_is_package_data_and_small():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    patterns = setup["options.package_data"]["atari_vlm"].split(", ")
    files = list(bundled.folder().iterdir())
    assert {"config.json", "model.safetensors", "model.onnx"} <= {file.name for file in files}
    for file in files:
        assert any(fnmatch.fnmatch(f"data/tiny/{file.name}", pattern) for pattern in patterns)
        assert file.stat().st_size <= 10_000_000


def test_without_either_library_one_line_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "_place", lambda: tmp_path)
    (tmp_path / bundled.WEIGHTS).write_bytes(
        b""
    )  # nothing of it is read before libraries are asked for
    monkeypatch.setattr(backends, "_OF_TORCH", ("no_such_torch",))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="extra 'onnx'") as caught:
        load_vlm("tiny")
    assert "\n" not in str(caught.value)


def test_a_package_without_the_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "_place", lambda: tmp_path)
    with pytest.raises(ConfigError, match="no model is bundled"):
        load_vlm("tiny")
    assert bundled.ways("tiny", {}) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "onxx"}, "onnx"),
        ({"backend": "onnx", "model": "/somebody/else's"}, "bundled model alone"),
        ({"backend": "onnx", "device": "cuda"}, "takes no device=cuda"),
        ({"backend": "onnx", "load_in": "4bit"}, "takes no load_in=4bit"),
    ],
)
def test_what_the_onnx_form_is_not_for_is_refused(options, said, monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "_place", lambda: tmp_path)
    (tmp_path / bundled.WEIGHTS).write_bytes(b"")
    with pytest.raises(ConfigError, match=said):
        load_vlm("tiny", **options)


def test_scores_of_arrays_are_those_of_tensors():
    torch = pytest.importorskip("torch")
    tree = ChoiceTree.of([(3,), (3, 4), (5, 6, 7)])
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32))
    np.testing.assert_allclose(
        tree.array_scores(logits.numpy(), [1, 2]), tree.scores(logits, [1, 2]), atol=2e-6
    )
