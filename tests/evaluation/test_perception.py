"""Perception: what is asked, how answers are judged, and that planted eyes get exactly the planted figures."""

import csv
import hashlib
import json
from collections import Counter

import planted_eyes
import pytest
from fake_server import FakeVendorServer

from atari_vlm import perceive as program
from atari_vlm.errors import ConfigError, UnavailableError, UnknownNameError
from atari_vlm.evaluation.perception import moments
from atari_vlm.evaluation.perception.answers import compare, is_same, overlap, read_answer
from atari_vlm.evaluation.perception.motion import DIRECTIONS, direction
from atari_vlm.evaluation.perception.perceive import PerceiveConfig, perceive
from atari_vlm.evaluation.perception.questions import KINDS, Question, questions
from atari_vlm.objects.base import ScreenObject
from atari_vlm.objects.tables import TABLES

COUNT = 5


@pytest.fixture(autouse=True)
def short_play(monkeypatch):
    monkeypatch.setattr(moments, "_MOMENTS", 160)


@pytest.fixture(scope="module")
def asked():
    """The questions of Breakout, seed 3, which the planted eyes know."""
    patch = pytest.MonkeyPatch()
    patch.setattr(moments, "_MOMENTS", 160)
    found = list(questions("Breakout", 3, COUNT))
    patch.undo()
    planted_eyes.KNOWN.clear()
    for question in found:
        planted_eyes.KNOWN.setdefault(question.prompt, question)
    return found


def config(tmp_path, *eyes, **options):
    agents = [f"{name}=planted_eyes:{name}" for name in eyes]
    given = {"games": ["Breakout"], "seeds": [3], "questions": COUNT, "run_name": "run", **options}
    return PerceiveConfig(agents=agents, save_dir=tmp_path, **given)


def lines(folder):
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


def test_half_blind_eyes_get_the_planted_figures(tmp_path, asked):
    folder, rows = perceive(config(tmp_path, "Sharp", "HalfBlind", "Constant", parallel=3))
    sharp, half, constant = rows
    plain = [question for question in asked if question.variant == "plain"]
    seen = [len(question.truth) for question in plain if question.kind == "objects"]
    right = sum((n + 1) // 2 for n in seen)
    assert half["f1"] == 2 * right / (2 * right + len(seen) + sum(n // 2 for n in seen))
    fields = len([kind for kind in ("count", "lives", "score")])
    good = 3 * fields - 1  # numbers 0, 2, 4 of 5, and the count 4 cannot be read
    assert half["field_accuracy"] == good / (fields * COUNT)
    assert half["direction_accuracy"] == 3 / COUNT
    # numbers 0 and 3 of each kind are answered otherwise; the unreadable count 4 is read when it is asked again
    assert half["flip_rate"] == (2 * len(KINDS)) / (len(KINDS) * COUNT)
    assert half["decoy_echo"] == 2 / COUNT
    assert half["failed"] == 2 and half["cost_usd"] == 0.25 * 15 * len(KINDS)
    assert (sharp["f1"], sharp["field_accuracy"], sharp["direction_accuracy"]) == (1.0, 1.0, 1.0)
    assert (sharp["flip_rate"], sharp["decoy_echo"], sharp["failed"]) == (0.0, 0.0, 0)
    assert sharp["questions"] == 15 * len(KINDS) and sharp["model"] == "planted"
    assert constant["f1"] == 0.0 and constant["flip_rate"] == 0.0
    assert constant["direction_accuracy"] <= constant["direction_chance"]
    table = list(csv.DictReader((folder / "perception.csv").read_text().splitlines()))
    assert [row["agent"] for row in table] == ["Sharp", "HalfBlind", "Constant"]
    assert float(table[1]["f1"]) == half["f1"]
    assert {"perception.json", "perception.md", "questions.csv"} <= {
        path.name for path in folder.iterdir()
    }


def test_the_questions_do_not_depend_on_the_agent(tmp_path, asked):
    folder, _ = perceive(config(tmp_path, "Sharp", "Constant"))
    told = ("reply", "answer", "correct", "agent")
    both = [
        [{k: v for k, v in line.items() if k not in told} for line in lines(folder) if line["agent"] == label]
        for label in ("Sharp", "Constant")
    ]  # fmt: skip
    assert both[0] == both[1] and len(both[0]) == 15 * len(KINDS)
    first = next(line for line in lines(folder) if line["kind"] == "objects")
    assert first["pictures"] == [hashlib.sha256(asked[0].images[0].png).hexdigest()]
    assert first["picture_size"] == [480, 630]


def test_a_broken_run_goes_on_and_ends_the_same(tmp_path, asked):
    whole, _ = perceive(config(tmp_path / "whole", "Breaks"))
    planted_eyes.Breaks.left = 17
    with pytest.raises(UnavailableError):
        perceive(config(tmp_path / "broken", "Breaks"))
    planted_eyes.Breaks.left = 15 * len(KINDS) - 17  # not one call more than is left
    again, _ = perceive(config(tmp_path / "broken", "Breaks"))
    planted_eyes.Breaks.left = None
    for name in ("questions.jsonl", "perception.csv", "questions.csv"):
        assert (whole / name).read_bytes() == (again / name).read_bytes()


def test_equal_questions_never_come_from_the_cache(tmp_path, asked):
    cache = tmp_path / "cache.sqlite"
    perceive(config(tmp_path / "one", "Breaks", cache=cache))
    planted_eyes.Breaks.left = 5 * len(KINDS)  # those asked again
    _, rows = perceive(config(tmp_path / "two", "Breaks", cache=cache))
    assert planted_eyes.Breaks.left == 0
    planted_eyes.Breaks.left = None
    assert rows[0]["f1"] == 1.0 and rows[0]["cost_usd"] == 0.25 * 5 * len(KINDS)


def test_a_server_gets_the_pictures_whose_digests_are_told(tmp_path, asked):
    """The same figures through a vendor's wire: the server knows a question by its words and the bytes of its pictures."""
    known = {question.prompt: question for question in asked}
    seen = []

    def answer(text, images):
        seen.append([hashlib.sha256(image).hexdigest() for image in images])
        prompt = next(prompt for prompt in known if text.endswith(prompt))
        return json.dumps({"answer": known[prompt].truth})

    with FakeVendorServer(answer=answer) as server:
        word = f"served=qwen-vl,base_url={server.openai_url},model=eyes"
        folder, rows = perceive(
            PerceiveConfig(
                agents=[word],
                games=["Breakout"],
                seeds=[3],
                questions=COUNT,
                save_dir=tmp_path,
                run_name="run",
            )
        )
    assert (rows[0]["f1"], rows[0]["field_accuracy"], rows[0]["direction_accuracy"]) == (1, 1, 1)
    assert (rows[0]["flip_rate"], rows[0]["decoy_echo"], rows[0]["failed"]) == (0, 0, 0)
    assert seen == [line["pictures"] for line in lines(folder)]


def test_the_program_prints_its_table(tmp_path, asked, capsys):
    words = ["--agents", "s=planted_eyes:Sharp", "--games", "Breakout", "--seeds", "3"]
    more = ["--questions", str(COUNT), "--save-dir", str(tmp_path)]
    assert program.main([*words, *more]) == 0
    assert "| s | planted | Breakout | 75 | 1.000 |" in capsys.readouterr().out


@pytest.mark.parametrize("game", ["Freeway", "Pong"])
def test_what_is_asked(game):
    found = list(questions(game, 0, 6))
    assert [q.id for q in found] == [q.id for q in questions(game, 0, 6)]
    ids = [question.id for question in found]
    assert len(set(ids)) == len(ids)
    by_prompt = Counter((q.prompt, tuple(i.digest for i in q.images)) for q in found)
    assert set(by_prompt.values()) == {1, 2}  # an equal question has the same words and pictures
    by_id = {question.id: question for question in found}
    for question in found:
        if question.variant == "again":
            assert by_id[question.pair].prompt == question.prompt
        if question.variant == "decoy":
            assert not is_same(question.decoy, question.truth)
            assert json.dumps(question.decoy) in question.prompt
        if question.kind == "objects":
            width, height = question.picture_size
            for item in question.truth:
                left, top, right, bottom = item["box"]
                assert 0 <= left < right <= width and 0 <= top < bottom <= height
                assert item["name"] in question.names
    ways = Counter(q.truth for q in found if q.kind == "direction" and q.variant == "plain")
    assert max(ways.values()) - min(ways.values()) <= 1 and set(ways) <= set(DIRECTIONS)
    assert "lives" not in {question.kind for question in found}


def question(kind, truth, choices=()):
    return Question("x", "Pong", 0, kind, "plain", "?", (), [480, 630], truth, ("ball",), choices)


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        ("count", '{"answer": 3}', 3),
        ("count", 'I see three. ```json\n{"answer": 3}\n```', 3),
        ("count", '{"answer": "3"}', None),
        ("count", '{"answer": true}', None),
        ("count", '{"answer": 3} or {"answer": 4}', None),
        ("count", "3", None),
        ("count", "", None),
        ("direction", '{"answer": "Left"}', "left"),
        ("direction", '{"answer": "down"}', None),
        ("objects", '{"answer": []}', []),
        (
            "objects",
            '{"answer": [{"name": "ball", "box": [1, 2.5, 3, 4]}]}',
            [{"name": "ball", "box": [1, 2.5, 3, 4]}],
        ),
        ("objects", '{"answer": [{"name": "ball", "box": [1, 2, 3]}]}', None),
        ("objects", '{"answer": [{"name": "ball", "box": [1, 2, 3, NaN]}]}', None),
        ("objects", '{"answer": [{"name": "ball", "box": [1, 2, 3, 1e999]}]}', None),
        ("objects", '{"answer": [{"box": [1, 2, 3, 4]}]}', None),
        ("objects", '{"answer": {"name": "ball"}}', None),
    ],
)
def test_what_a_reply_says(kind, text, answer):
    choices = ("left", "right") if kind == "direction" else ()
    assert read_answer(text, question(kind, [], choices)) == answer


def test_each_box_is_used_once_and_pairs_are_as_many_as_can_be():
    near, far = [0, 0, 10, 10], [2, 0, 12, 10]
    truth = [{"name": "car", "box": box} for box in (near, far)]
    assert overlap(near, far) == 80 / 120
    told = [{"name": "car", "box": [1, 0, 11, 10]}, {"name": "car", "box": [-2, 0, 8, 10]}]
    assert compare(truth, told) == (2, 0, 0)  # a greedy choice of the best pair would leave one out
    assert compare(truth, [told[0], told[0], told[0]]) == (2, 1, 0)
    assert compare(truth, [{"name": "ball", "box": near}]) == (0, 1, 2)
    assert compare(truth, None) == (0, 0, 2)
    assert compare([], []).f1 is None


def test_directions():
    at = ScreenObject("ball", 50, 50, 2, 4)
    ways = {
        (50, 50): "still",
        (54, 51): "right",
        (40, 50): "left",
        (50, 44): "up",
        (51, 58): "down",
    }
    for (x, y), way in ways.items():
        assert direction(at, ScreenObject("ball", x, y, 2, 4)) == way
    for x, y, width in ((54, 54, 2), (51, 50, 2), (120, 50, 2), (54, 50, 1)):
        assert direction(at, ScreenObject("ball", x, y, width, 4)) is None


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"games": ["Alien"]}, UnknownNameError, "Breakout"),
        ({"games": ["Pongg"]}, UnknownNameError, "Pong"),
        ({"agents": ["random"]}, ConfigError, "complete"),
        ({"agents": ["mcts@emulator"]}, ConfigError, "complete"),
        ({"agents": []}, ConfigError, "at least one agent"),
        ({"agents": ["gpt-4o,frames=3"]}, ConfigError, "frames"),
        ({"agents": ["gpt-4o,temprature=0"]}, UnknownNameError, "temperature"),
        ({"seeds": [1, 1]}, ConfigError, "different"),
        ({"questions": 0}, ConfigError, "questions"),
        ({"questions": 100_000}, ConfigError, "ask for no more"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, options, error, said):
    given = {"agents": ["planted_eyes:Sharp"], "games": ["Pong"], **options}
    with pytest.raises(error, match=said):
        perceive(PerceiveConfig(save_dir=tmp_path, run_name="run", **given))


def test_the_games():
    assert {"Boxing", "Breakout", "Freeway", "MontezumaRevenge", "Pong", "Skiing"} <= TABLES.keys()
    assert all(table.score is None or "score" in table.shown for table in TABLES.values())
    assert all(table.lives is None or "lives" in table.shown for table in TABLES.values())
