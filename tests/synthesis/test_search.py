"""Whole searches: the planted program is found, what is asked and how, what may not be chosen, and the order of results."""

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import search_helpers as helpers
from search_helpers import Writer, buffer, prepared, program, reply

from atari_vlm.errors import BudgetExhaustedError, ConfigError, UnknownNameError
from atari_vlm.synthesis import SearchConfig, run_search, search
from atari_vlm.synthesis.judged_once import JudgedOnce
from atari_vlm.synthesis.pipeline import Steps, run_in_order
from atari_vlm.synthesis.replies import program_in
from atari_vlm.types import Reply


@pytest.fixture(autouse=True)
def no_sandbox(monkeypatch):
    monkeypatch.setattr(run_search, "ProgramJudge", lambda *_: helpers.judge)


@pytest.mark.parametrize("method", ["gif-mcts", "worldcoder", "zero-shot", "best-of-n"])
def test_a_search_ends_with_the_first_right_program(method):
    writer = prepared(0.2, "b", 0.5, 1.0, 0.7)
    result = search(writer, buffer(), SearchConfig(method=method, budget=9))
    assert result.calls == len(writer.asked) == 4
    assert result.program == program(1.0, "call-4")
    assert (result.score, result.held_out_score) == (1.0, 0.5)
    assert result.failures == {"bug": 1} and result.cost_usd == pytest.approx(0.04)
    assert result.nodes[-1].call == 4 and result.nodes[-1].score == 1.0


def test_without_a_right_program_the_first_of_the_best_is_taken():
    result = search(prepared(0.2, 0.6, 0.6, 0.1), buffer(), SearchConfig(budget=4))
    assert result.program == program(0.6, "call-2") and result.calls == 4


def test_worldcoder_refines_what_thompson_sampling_picks():
    writer = prepared(0.4, 0.5, "b", 0.6, 0.2)
    nodes = search(writer, buffer(), SearchConfig(method="worldcoder", budget=5)).nodes
    assert nodes[0].kind == "generate" and nodes[0].parent is None
    for node in nodes[1:]:
        parent = nodes[node.parent - 1]
        assert node.kind == ("fix" if parent.bug else "improve")
    for node in nodes:  # 1 + C r, 1 + C (1 - r), and a failure for every refinement
        refined = sum(other.parent == node.node for other in nodes)
        assert node.alpha == pytest.approx(1 + 5 * node.score)
        assert node.beta == pytest.approx(1 + 5 * (1 - node.score) + refined)
        assert node.visits == 1 + refined


def test_worldcoder_can_always_refine_the_newest():
    config = SearchConfig(method="worldcoder", budget=5, select_sequential=True)
    nodes = search(prepared(0.4, 0.5, "b", 0.6, 0.2), buffer(), config).nodes
    assert [node.parent for node in nodes] == [None, 1, 2, 3, 4]


def test_draws_of_one_prompt_are_told_apart():
    writer = prepared(0.1, 0.2, 0.3)
    search(writer, buffer(), SearchConfig(method="best-of-n", budget=3, reply_tokens=77, top_p=0.8))
    texts, samplings = zip(*writer.asked, strict=True)
    assert len({*texts}) == 1
    assert [sampling.sample for sampling in samplings] == [0, 1, 2]
    assert {(s.max_tokens, s.top_p, s.top_k) for s in samplings} == {(77, 0.8, None)}


def test_only_zero_shot_is_told_to_think_first():
    texts = []
    for method in ("best-of-n", "zero-shot"):
        writer = prepared(0.1)
        search(writer, buffer(), SearchConfig(method=method, budget=1))
        texts.append(writer.asked[0][0])
    assert "step by step" in texts[1] and "step by step" not in texts[0]


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_prompts_hold_what_they_are_about_word_for_word(preset):
    words = "\n    class Odd:  # `x` ```y``` $z {CODE}\n\t'''\"\"\"'''\n"
    scores = [0.3, "b", 0.4, 0.5, "b", 0.6, 0.35, 0.45] * 3
    texts = [f"{program(score, f'call-{i}')}{words}end = {i}" for i, score in enumerate(scores, 1)]
    writer = Writer(lambda number, *_: f"````python\n{texts[number - 1]}\n````")
    nodes = search(writer, buffer(), SearchConfig(budget=24, preset=preset, fixes=1)).nodes
    by_number = {node.node: node for node in nodes}
    kinds = set()
    for node in nodes[1:]:
        asked, parent = writer.asked[node.call - 1][0], by_number[node.parent]
        kinds.add((node.kind, parent.node > 0))
        if node.kind != "generate":
            assert parent.program in asked
        elif parent.program is not None:
            lines = parent.program.split("\n")
            shown = max(n for n in range(1, len(lines) + 1) if "\n".join(lines[:n]) in asked)
            assert not {*lines[shown:]} & {*asked.split("\n")}
    assert kinds >= {("generate", True), ("generate", False), ("improve", True), ("fix", True)}


def test_a_reply_without_code_or_cut_is_a_counted_failure():
    replies = [
        "I cannot.",
        Reply(reply(program(0.9)), "m", finish_reason="length"),
        reply(program(0.4)),
    ]
    result = search(Writer(lambda n, *_: replies[n - 1]), buffer(), SearchConfig(budget=3))
    assert result.failures == {"cut": 1, "no-code": 1}
    assert [node.failure for node in result.nodes] == ["", "no-code", "cut", ""]
    assert [node.program for node in result.nodes][1:3] == [None, None]
    assert result.score == 0.4 and result.cost_usd is None  # one reply had no price


def test_nothing_but_failures_is_a_result_too():
    result = search(Writer(lambda *_: "no"), buffer(), SearchConfig(method="worldcoder", budget=3))
    assert (result.program, result.score, result.held_out_score) == (None, 0.0, None)
    assert result.failures == {"no-code": 3} and result.calls == 3


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("```python\nx = 1\n```", "generate", "x = 1"),
        ("```Python\nx = 1\n```", "generate", "x = 1"),
        ("``` py\n\nx = 1\n\n```", "generate", "x = 1"),
        ("~~~python\nx = 1\n~~~", "generate", "x = 1"),
        ("a\n```\nx = 1\n```", "generate", "x = 1"),
        ("```json\n{}\n```", "generate", None),
        ("```json\n{}\n```\n```python\nx = 1\n```", "fix", "x = 1"),
        ("```\nlog\n```\n```python\nx = 1\n```", "fix", "x = 1"),
        ("```python\nlong = 1\n```\n```python\nx\n```", "generate", "long = 1"),
        ("```python\nlong = 1\n```\n```python\nx\n```", "fix", "x"),
        ("```python\nlong = 1\n```\n```python\nx\n```", "improve", "x"),
        ("````python\n```\nx\n```\n````", "improve", "```\nx\n```"),
        ("```python\r\nx = 1\r\ny = 2\r\n```", "generate", "x = 1\ny = 2"),
        ("```python\nx = 1", "generate", None),
        ("```python\n\n```", "generate", None),
        ("x = 1", "generate", None),
        ("", "fix", None),
    ],
)
def test_the_program_in_a_reply(text, kind, found):
    program, failure = program_in(Reply(text, "m"), kind)
    assert (program, failure) == (found, "" if found is not None else "no-code")
    assert program_in(Reply(text, "m", finish_reason="length"), kind) == (None, "cut")


@pytest.mark.parametrize("method", ["gif-mcts", "worldcoder", "best-of-n"])
@pytest.mark.parametrize("parallel", [1, 3, 8])
def test_a_tree_is_a_function_of_seed_parallel_and_replies(method, parallel):
    def once(jitter):
        def answer(number, text, sample):
            time.sleep(((number * jitter) % 7) * 0.0007)
            return helpers.by_question(text, sample)

        config = SearchConfig(method=method, budget=30, parallel=parallel, seed=3)
        result = search(Writer(answer), buffer(), config)
        return result.nodes, result.weights, result.program

    first = once(1)
    assert once(3) == first and once(5) == first


def test_another_seed_is_another_tree():
    trees = {
        search(
            Writer(lambda n, text, k: helpers.by_question(text, k)),
            buffer(),
            SearchConfig(budget=30, seed=seed, exploration=5.0, method="worldcoder"),
        ).nodes
        for seed in range(4)
    }
    assert len(trees) > 1


def test_as_many_calls_are_in_flight_as_were_asked_for():
    inside, most, lock = [0], [0], threading.Lock()
    together = threading.Barrier(6)

    def answer(number, text, sample):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        if number <= 6:
            together.wait(30)  # nobody answers before six are asked
        with lock:
            inside[0] -= 1
        return helpers.by_question(text, sample)

    search(Writer(answer), buffer(), SearchConfig(budget=24, parallel=6))
    assert most[0] == 6


def test_a_program_that_comes_again_is_not_judged_again():
    judged, wrong = [], [True]

    def judge(text):
        judged.append(text)
        time.sleep(0.01)
        if "call-2" in text and wrong and wrong.pop():
            raise ConfigError("once")
        return helpers.judge(text)

    once = JudgedOnce(judge)
    texts = [program(0.5, f"call-{number % 3}") for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(once, text) for text in texts]
    failed = [one for one in outcomes if one.exception() is not None]
    assert 1 <= len(failed) <= 8 and {str(one.exception()) for one in failed} == {"once"}
    assert all(
        one.result().program == t
        for one, t in zip(outcomes, texts, strict=True)
        if one not in failed
    )
    assert once(program(0.5, "call-2")).program == program(0.5, "call-2")
    assert sorted(judged) == sorted([*{*texts}, program(0.5, "call-2")])


def test_results_are_used_in_the_order_of_choice():
    used = []

    def work(number):
        time.sleep(0.03 if number % 4 == 1 else 0.0)
        return number * 10

    def use(number, result):
        used.append((number, result))
        return number == 7

    done = run_in_order(Steps(lambda number: number, work, use), 50, 4)
    assert used == [
        (n, n * 10) for n in range(1, 11)
    ]  # three were under way when the seventh ended it
    assert done == 10


def test_the_first_error_is_raised_when_nothing_is_under_way_any_more():
    ended = []

    def work(number):
        time.sleep(0.01 * number)
        ended.append(number)
        if number in (2, 3):
            raise ConfigError(str(number))

    with pytest.raises(ConfigError, match="2"):
        run_in_order(Steps(lambda number: number, work, lambda *_: False), 9, 4)
    assert sorted(ended) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("limit", "kind"), [({"budget_usd": 0.035}, "usd"), ({"max_calls": 4}, "calls")]
)
def test_a_limit_stops_a_search(limit, kind):
    writer = prepared(*[0.1] * 9)
    with pytest.raises(BudgetExhaustedError) as stopped:
        search(writer, buffer(), SearchConfig(budget=9, **limit))
    assert stopped.value.kind == kind and stopped.value.exit_code == 75
    assert len(writer.asked) == 4


def test_a_shorter_equal_program_is_kept_and_no_other(monkeypatch):
    long = f"{program(1.0, 'long')}\nmore = 1"
    replies = [program(0.5), long, program(1.0, "short"), program(0.9, "s"), "# s 1.0", "# s b"]
    writer = Writer(lambda number, *_: reply(replies[number - 1]))

    def right(text):
        outcome = helpers.judge(text)
        return dataclasses.replace(outcome, held_out=outcome.score)

    monkeypatch.setattr(run_search, "ProgramJudge", lambda *_: right)
    result = search(writer, buffer(), SearchConfig(method="best-of-n", budget=20, simplify=4))
    assert result.calls == 6 and result.program == "# s 1.0" and result.score == 1.0
    assert long in writer.asked[2][0] and replies[2] in writer.asked[3][0]
    assert len(result.nodes) == 2  # a shorter program is no node


def test_programs_that_are_not_right_are_not_made_shorter():
    writer = prepared(0.5, 0.6)
    config = SearchConfig(method="best-of-n", budget=2, simplify=3)
    assert search(writer, buffer(), config).calls == 2
    half = search(prepared(1.0), buffer(), SearchConfig(budget=9, simplify=3))
    assert half.calls == 1  # right on the feedback, 0.5 on what was held out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": 2.5}, "budget"),
        ({"parallel": 0}, "parallel"),
        ({"held_out": 1.0}, "held_out"),
        ({"held_out": float("nan")}, "held_out"),
        ({"fixes": -1}, "fixes"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"eps": 0.0}, "eps"),
        ({"exploration": float("inf")}, "exploration"),
        ({"prior_fix": (1.5, 2)}, "prior_fix"),
        ({"prior_fix": (0.5, 0)}, "prior_fix"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 2.0}, "top_p"),
        ({"allow_generate": False, "allow_improve": False}, "both"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        SearchConfig(**options)


@pytest.mark.parametrize(
    ("option", "nearest"),
    [("method", "gif-mcts"), ("preset", "paper"), ("scorer", "tolerant"), ("feedback", "first")],
)
def test_words_that_nobody_knows_are_refused_with_the_nearest(option, nearest):
    with pytest.raises(UnknownNameError, match=f"{option}.*{nearest}"):
        SearchConfig(**{option: f"{nearest}s"})
