"""Problems of APPS: reading, running, comparing, counting; what a writer is shown, and what hostile solutions come to."""

import json

import apps_helpers as helpers
import pytest
from search_helpers import Writer

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.synthesis.apps.comparing import same_text, same_value
from atari_vlm.synthesis.apps.evaluating import evaluate, pass_at
from atari_vlm.synthesis.apps.judging import AppsJudge
from atari_vlm.synthesis.apps.problems import (
    ProblemSet,
    bundled_folder,
    chosen_names,
    problem_names,
    read_problem,
    read_solutions,
)
from atari_vlm.synthesis.apps.questions import apps_questions
from atari_vlm.synthesis.apps.running import Mark, RunLimits, run_program
from atari_vlm.synthesis.apps.saving import read_runs
from atari_vlm.synthesis.apps.solving import AppsConfig, solve
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import Choice, Outcome
from atari_vlm.synthesis.run_search import Place


def drawn(folder, programs, budget=3, run="r", where=None, **search):
    """Solve the problems of a folder by samples: ``programs`` by the name of the problem, in the order of the draws."""

    def answer(number, text, sample):
        name = next(name for name in programs if f"({name})" in text)
        program = programs[name][sample]
        return "no program" if program is None else helpers.reply(program)

    config = AppsConfig(SearchConfig(method="zero-shot", budget=budget, held_out=0.0, **search))
    problems = ProblemSet(folder, problem_names(folder))
    return solve(Place(where or folder.parent, run), Writer(answer), problems, config)


def test_strict_accuracy_average_and_pass_at_k_counted_by_hand(tmp_path):
    folder = helpers.doubles(tmp_path / "problems")
    programs = {
        "0000": [helpers.BROKEN, helpers.HALF, helpers.DOUBLE],  # one of three is right
        "0001": [helpers.ADD, helpers.HALF, None],  # none: 1 and 2 of 4 tests
    }
    solved = drawn(folder, programs)
    assert [(one.chosen, one.score) for one in solved] == [(2, 1.0), (1, 0.5)]
    saved, _ = evaluate(tmp_path / "r", folder)
    content = json.loads((tmp_path / "r" / "apps_results.json").read_text())
    assert content["strict_accuracy"] == 0.5 and content["problems"] == 2
    assert content["test_case_average"] == pytest.approx(0.75)
    assert content["pass_at_k"] == pytest.approx({"1": 1 / 6, "2": 1 / 3, "3": 1 / 2})
    tests = json.loads((tmp_path / "r" / "apps_tests.json").read_text())
    assert tests["0000"] == [[-2] * 4, [1, 1, 0, 0], [1] * 4]
    assert tests["0001"] == [[0, 1, 0, 0], [1, 1, 0, 0], []]
    assert content["calls"] == 6 and content["cost_usd"] == pytest.approx(0.06)
    assert saved.complete and json.loads((tmp_path / "r" / "codes.json").read_text()) == {
        name: [code for code in codes if code] for name, codes in programs.items()
    }


def test_pass_at_k():
    assert pass_at(2, 5, 2) == pytest.approx(1 - 3 / 10)
    assert pass_at(1, 20, 5) == pytest.approx(0.25)
    assert pass_at(20, 20, 1) == 1.0 and pass_at(3, 3, 0) == 0.0 and pass_at(4, 3, 1) == 1.0
    for wrong in ((0, 3, 1), (1, 3, 4), (1, 3, -1)):
        with pytest.raises(ConfigError):
            pass_at(*wrong)


def test_parts_of_a_set_are_measured_together_and_others_are_not(tmp_path):
    folder = helpers.doubles(tmp_path / "problems", 3)
    right = {name: [helpers.DOUBLE] for name in problem_names(folder)}
    config = AppsConfig(SearchConfig(method="zero-shot", budget=1, held_out=0.0))
    writer = Writer(lambda *_: helpers.reply(right["0000"][0]))
    for part in (1, 2):
        names = chosen_names(problem_names(folder), 0, None, (part, 2))
        solve(Place(tmp_path / "runs", f"part-{part}"), writer, ProblemSet(folder, names), config)
    saved, found = evaluate(tmp_path / "runs", folder)
    assert [one.problem for one in found.each] == ["0000", "0001", "0002"] and saved.asked == 3
    solve(Place(tmp_path / "runs", "again"), writer, ProblemSet(folder, ("0002",)), config)
    with pytest.raises(ConfigError, match="0002 twice"):
        read_runs(tmp_path / "runs")
    other = AppsConfig(SearchConfig(method="worldcoder", budget=1, held_out=0.0))
    solve(Place(tmp_path / "runs", "again-2"), writer, ProblemSet(folder, ("0002",)), other)
    with pytest.raises(ConfigError, match="several kinds"):
        read_runs(tmp_path / "runs")
    with pytest.raises(ConfigError, match="no run of codewm apps"):
        read_runs(tmp_path / "problems")


def test_a_run_of_a_stranger_is_read_with_care(tmp_path):
    folder = helpers.doubles(tmp_path / "problems", 1)
    drawn(folder, {"0000": [helpers.DOUBLE]}, budget=1)
    file = tmp_path / "r" / "problems" / "0000" / "solution.json"
    content = json.loads(file.read_text())
    for change in (
        {"chosen": 5},
        {"chosen": -1},
        {"programs": ["x\0"]},
        {"programs": 3},
        {"problem": "0001"},
        {"more": 1},
    ):
        file.write_text(json.dumps({**content, **change}))
        with pytest.raises(RunError, match=r"solution\.json"):
            read_runs(tmp_path / "r")
    file.unlink()
    file.symlink_to(__file__)
    with pytest.raises(RunError, match="link"):
        read_runs(tmp_path / "r")


def test_the_bundled_problems_are_solved_by_their_solutions_alone():
    folder = bundled_folder()
    names = problem_names(folder)
    problems = [read_problem(folder, name) for name in names]
    assert len(names) >= 10 and len({problem.difficulty for problem in problems}) == 3
    assert {problem.fn_name is None for problem in problems} == {True, False}
    assert all(len(problem.tests) >= 8 for problem in problems)
    for name in ("0003", "0006", "0010"):
        (program,) = read_solutions(folder, name)
        assert run_program(program, read_problem(folder, name), RunLimits()).right
        drafts = json.loads((folder / name / "drafts.json").read_text())
        assert drafts[-1] == program
        assert not run_program(drafts[1], read_problem(folder, name), RunLimits()).right


@pytest.mark.slow
def test_every_bundled_problem_has_a_right_solution_and_wrong_drafts():
    folder = bundled_folder()
    for name in problem_names(folder):
        problem, (program,) = read_problem(folder, name), read_solutions(folder, name)
        assert run_program(program, problem, RunLimits()).right, name
        for draft in json.loads((folder / name / "drafts.json").read_text())[:2]:
            assert not run_program(draft, problem, RunLimits()).right, name


def test_texts_and_values_are_compared_as_documented():
    for said, wanted in (("1 2\n3", "1  2\n3\n\n"), ("0.333333", "0.3333333"), ("1e3", "1000.0"), ("007", "7")):  # fmt: skip
        assert same_text(said, wanted)
    for said, wanted in (("1 2", "1\n2"), ("1000000", "1000001"), ("nan", "0.5"), ("", "0")):
        assert not same_text(said, wanted)
    same = (("[1, 2]", [1, 2]), ("3", [3]), ("0.3333333", 1 / 3), ('{"1": [2]}', {"1": [2]}))
    for said, wanted in (*same, ("null", None)):
        assert same_value(said, wanted)
    for said, wanted in (("true", 1), ("[1]", [2]), ("1", [1, 2]), ("1000001", 1000000), ("{", 1), ("[" * 9999, 1)):  # fmt: skip
        assert not same_value(said, wanted)


def test_only_the_first_half_of_the_tests_is_ever_shown(tmp_path):
    helpers.put(tmp_path, "0000", [f"{n}\n" for n in range(9)], [f"{2 * n}\n" for n in range(9)])
    problem = read_problem(tmp_path, "0000")
    outcome = AppsJudge(problem, RunLimits())("print(1)")
    shown = [example["test"] for example in outcome.examples]
    assert sorted(shown) == [0, 1, 2, 3, 4] != shown and outcome.score == 0 and not outcome.failure
    assert AppsJudge(problem, RunLimits())("print(2 * int(input()) + (n := 0))").solved
    late = AppsJudge(problem, RunLimits())("n = int(input())\nprint(2 * n if n < 6 else 0)")
    assert late.examples == () and late.score == pytest.approx(6 / 9)
    asked = apps_questions(problem, "vanilla-zero-shot", SearchConfig())
    words = asked.ask(Choice(1, "improve", basis=outcome)).messages[1].text
    assert problem.question in words and outcome.examples[0]["given"].strip() in words


def test_a_bug_is_a_program_that_cannot_be_begun(tmp_path):
    helpers.put(tmp_path, "0000", [[1], [2]], [2, [4]], fn_name="twice")
    problem = read_problem(tmp_path, "0000")
    judge = AppsJudge(problem, RunLimits())
    assert judge("def twice(x): return 2 * x").solved
    for program, words in (
        ("def twice(x:", "SyntaxError"),
        ("def thrice(x): pass", "no function 'twice'"),
        ("1 / 0", "ZeroDivision"),
    ):
        outcome = judge(program)
        assert outcome.failure == "bug" and words in outcome.error
    raising = judge("def twice(x): return 1 / 0")
    assert raising.failure == "" and raising.score == 0 and raising.examples[0]["raised"]
    assert judge("x = '\0'") == Outcome(failure="no-code", error=judge("x = '\0'").error)


def test_three_manners_of_asking(tmp_path):
    helpers.put(tmp_path, "0000", [[1]], [2], "twice", starter_code__py="def twice(x):")
    problem = read_problem(tmp_path, "0000")
    words = {
        strategy: apps_questions(problem, strategy, SearchConfig()).ask(Choice(1, "generate"))
        for strategy in ("vanilla-zero-shot", "zero-shot-CoT", "plan-and-solve")
    }
    texts = {name: question.messages[1].text for name, question in words.items()}
    assert len(set(texts.values())) == 3 and all("`twice`" in text for text in texts.values())
    assert "step by step" in texts["zero-shot-CoT"] and "a plan" in texts["plan-and-solve"]
    assert all("def twice(x):" in text for text in texts.values())
    assert not any(message.role == "assistant" for q in words.values() for message in q.messages)
    with pytest.raises(ConfigError, match="strategy"):
        AppsConfig(strategy="zero-shot-COT")


def test_a_hostile_solution_does_nothing_and_the_next_one_is_judged(tmp_path):
    file = tmp_path / "written"
    hostile = f"""
os = sys.modules["os"]
try: os.write(os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT), b"x")
except BaseException: pass
try: os.fork()
except BaseException: pass
n = int(input())
if n == 1:
    while True: print("x" * 1000)
if n == 2: bytearray(1 << 40)
if n == 3: os._exit(0)
while True: pass
"""
    folder = helpers.doubles(tmp_path / "problems", 1)
    problem = read_problem(folder, "0000")
    verdict = run_program(hostile, problem, RunLimits(deadline_s=0.5))
    assert [run.mark for run in verdict.runs] == [Mark.RAISED] * 4
    for words, run in zip(("prints more", "MemoryError", "ended", "did not answer"), verdict.runs, strict=True):  # fmt: skip
        assert words in run.said
    assert not file.exists()
    assert run_program(helpers.DOUBLE, problem, RunLimits()).right


def test_time_for_all_tests_is_bounded(tmp_path):
    folder = helpers.doubles(tmp_path / "problems", 1)
    limits = RunLimits(deadline_s=0.2, total_s=0.3)
    verdict = run_program("while True: pass", read_problem(folder, "0000"), limits)
    assert not verdict.right and "were over" in verdict.runs[-1].said


WRONG = {
    "no inputs": ({"outputs": []}, "no inputs and outputs"),
    "a list": ([1], "no inputs and outputs"),
    "other lengths": ({"inputs": ["1"], "outputs": []}, "one length"),
    "no tests": ({"inputs": [], "outputs": []}, "no tests"),
    "numbers for texts": ({"inputs": [1], "outputs": ["1"]}, "are texts"),
    "a name that is none": ({"inputs": [[1]], "outputs": [1], "fn_name": "a b"}, "names a function"),
    "a hidden name": ({"inputs": [[1]], "outputs": [1], "fn_name": "__init__"}, "names a function"),
    "no arguments": ({"inputs": ["1"], "outputs": [1], "fn_name": "f"}, "are lists"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_problem_of_another_format_is_refused(what, tmp_path):
    content, words = WRONG[what]
    place = helpers.put(tmp_path, "0000", ["1"], ["1"])
    (place / "input_output.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=words) as error:
        read_problem(tmp_path, "0000")
    assert "0000" in str(error.value) and "\n" not in str(error.value)


def test_folders_and_files_that_are_none(tmp_path):
    place = helpers.put(tmp_path / "APPS" / "test", "0000", ["1"], ["1"])
    for folder, words in (
        (tmp_path / "APPS", "perhaps .*test is meant"),
        (tmp_path, "no folders NNNN"),
        (tmp_path / "x", "no such folder"),
    ):
        with pytest.raises(ConfigError, match=words):
            problem_names(folder)
    (place / "metadata.json").write_text('{"difficulty": "in\\u0007"}')
    assert read_problem(place.parent, "0000").difficulty == "unknown"
    for file, data, words in (
        ("input_output.json", b"[" * 100_000, "no JSON"),
        ("input_output.json", b'{"inputs": ', "no JSON"),
        ("question.txt", b"\xff", "UTF-8"),
    ):
        kept = (place / file).read_bytes()
        (place / file).write_bytes(data)
        with pytest.raises(ConfigError, match=words):
            read_problem(place.parent, "0000")
        (place / file).write_bytes(kept)
    (place / "question.txt").unlink()
    (place / "question.txt").symlink_to(__file__)
    with pytest.raises(ConfigError, match="link"):
        read_problem(place.parent, "0000")
    with pytest.raises(ConfigError, match="no problem"):
        read_problem(place.parent, "../0000")


def test_which_problems():
    names = tuple(f"{number:04d}" for number in range(10))
    assert chosen_names(names, 2, 3, (1, 1)) == ("0002", "0003", "0004")
    assert chosen_names(names, 7, None, (1, 1)) == ("0007", "0008", "0009")
    parts = [chosen_names(names, 0, None, (part, 3)) for part in (1, 2, 3)]
    assert sorted(sum(parts, ())) == list(names) and parts[0] == ("0000", "0003", "0006", "0009")
    for idx, total in ((8, 3), (10, None), (0, 11)):
        with pytest.raises(ConfigError, match="there are 10 problems"):
            chosen_names(names, idx, total, (1, 1))
    assert (
        chosen_names(names, 0, 1, (2, 2)) == ()
    )  # a job array may have more tasks than there is work


def test_a_run_is_not_continued_with_other_problems(tmp_path):
    folder = helpers.doubles(tmp_path / "problems", 1)
    drawn(folder, {"0000": [helpers.DOUBLE]}, budget=1)
    (folder / "0000" / "question.txt").write_text("Print thrice the number. (0000)")
    with pytest.raises(RunError, match="other settings"):
        drawn(folder, {"0000": [helpers.DOUBLE]}, budget=1)
