"""What a writer is asked about a programming problem, in three manners of asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from atari_vlm.synthesis.apps.problems import Problem
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.questions import Questions, Wording, fenced

Strategy = Literal["zero-shot-CoT", "vanilla-zero-shot", "plan-and-solve"]
_FOLDER = "apps/prompts"
_THINKING: dict[Strategy, str] = {
    "zero-shot-CoT": "thinking_cot",
    "vanilla-zero-shot": "",
    "plan-and-solve": "thinking_plan",
}


def apps_questions(problem: Problem, strategy: Strategy, config: SearchConfig) -> Questions:
    """The questions about a problem.

    ``"vanilla-zero-shot"`` asks for the program, ``"zero-shot-CoT"`` to think step by step before it (arXiv 2205.11916),
    ``"plan-and-solve"`` to make a plan and to carry it out (arXiv 2305.04091).
    """
    words = Wording(problem.name, _FOLDER, {}, _example_in_words)
    about = {"question": problem.question, "contract": _contract(problem, words)}
    name = _THINKING[strategy]
    thinking = words.template(name).template if name else ""
    return Questions(Wording(problem.name, _FOLDER, about, _example_in_words, thinking), config)


def _contract(problem: Problem, words: Wording) -> str:
    if problem.fn_name is None:
        contract = words.template("contract_stdin").template
    else:
        contract = words.template("contract_function").substitute(fn_name=problem.fn_name)
    if problem.starter:
        contract += "\n" + words.template("starter").substitute(starter=fenced(problem.starter))
    return contract.strip()


def _example_in_words(example: Mapping[str, Any]) -> dict[str, str]:
    return {
        "given": fenced(example["given"], ""),
        "wanted": fenced(example["wanted"], ""),
        "verb": "What came of the program" if example["raised"] else "What the program answers",
        "said": fenced(example["said"], ""),
    }
