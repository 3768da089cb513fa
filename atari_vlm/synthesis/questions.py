"""What the writer is asked: the task, what a program has to be, and what is wanted of it this time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import Choice, Outcome
from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling


@dataclass(frozen=True)
class Question:
    """A choice in words; ``sampling.sample`` counts earlier draws of the same words."""

    choice: Choice
    messages: tuple[Message, ...]
    sampling: Sampling


@dataclass(frozen=True)
class Wording:
    """The words of one search: what it is about, the templates of a folder of this package, and what stands in all of them.

    ``example`` puts what a program got wrong into the words of the template ``mispredicted``; ``thinking`` is said where a
    program is written anew.
    """

    subject: str
    folder: str
    about: Mapping[str, str]
    example: Callable[[Mapping[str, Any]], dict[str, str]]
    thinking: str = ""

    def template(self, name: str) -> Template:
        """A template of the folder."""
        file = resources.files("atari_vlm.synthesis").joinpath(
            *self.folder.split("/"), f"{name}.md"
        )
        return Template(file.read_text(encoding="utf-8"))


def questions_about(env_id: str, description: str, config: SearchConfig) -> Questions:
    """The questions for a program that models an environment."""
    bare = Wording(env_id, "prompts", {}, example_in_words)
    about = {
        "env": env_id,
        "description": description.strip(),
        "contract": bare.template("contract").template.strip(),
    }
    thinking = bare.template("thinking").template if config.method == "zero-shot" else ""
    return Questions(Wording(env_id, "prompts", about, example_in_words, thinking), config)


class Questions:
    """Makes the questions of one search; what it makes depends on the choices before, so it is called in their order."""

    def __init__(self, wording: Wording, config: SearchConfig):
        self.subject, self._config, self._wording = wording.subject, config, wording
        self._asked: Counter[str] = Counter()
        self._improved: Counter[str] = Counter()

    def ask(self, choice: Choice) -> Question:
        """The question for a choice."""
        return self._question(choice, self._words(choice))

    def ask_shorter(self, call: int, basis: Outcome) -> Question:
        """The question for a shorter program that does the same."""
        choice = Choice(call, "simplify", basis=basis)
        return self._question(choice, self._filled("simplify", program=fenced(basis.program or "")))

    def _question(self, choice: Choice, words: str) -> Question:
        draw = self._asked[words]
        self._asked[words] += 1
        sampling = Sampling(
            temperature=self._config.temperature,
            max_tokens=self._config.reply_tokens,
            seed=self._config.seed,
            sample=draw,
            top_p=self._config.top_p,
            top_k=self._config.top_k,
        )
        system = self._wording.template("system").template.strip()
        return Question(choice, (Message.of("system", system), Message.of("user", words)), sampling)

    def _words(self, choice: Choice) -> str:
        if choice.kind == "generate":
            begun = self._wording.template("begun").substitute(partial=fenced(choice.partial))
            thinking = self._wording.thinking
            wanted = [begun] * bool(choice.partial) + [thinking] * bool(thinking)
            return self._filled("generate", more="\n".join(wanted))
        basis = choice.basis
        assert basis is not None and basis.program is not None
        if choice.kind == "fix":
            return self._filled("fix", program=fenced(basis.program), error=fenced(basis.error, ""))
        example = self._example(basis)
        return self._filled("improve", program=fenced(basis.program), example=example)

    def _example(self, basis: Outcome) -> str:
        """Something that the program got wrong, another thing each time where there are several."""
        if not basis.examples:
            return ""
        turn = self._improved[basis.program or ""]
        self._improved[basis.program or ""] += 1
        example = basis.examples[turn % len(basis.examples)]
        return self._wording.template("mispredicted").substitute(self._wording.example(example))

    def _filled(self, name: str, **values: str) -> str:
        return self._wording.template(name).substitute(values, **self._wording.about).strip()


def fenced(text: str, language: str = "python") -> str:
    """``text``, word for word, between fences that it does not hold itself."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def example_in_words(example: Mapping[str, Any]) -> dict[str, str]:
    """The parts of an example as a prompt shows them."""
    predicted = example["predicted"]
    history = example.get("history") or []
    steps = "".join(f"- in {state!r} action {action!r}\n" for state, action in history)
    before = f"These steps of its episode led there:\n{steps}\n" if steps else ""
    return {
        "history": before,
        "state": repr(example["state"]),
        "action": repr(example["action"]),
        "truth": _step_in_words(example),
        "prediction": _step_in_words(predicted),
        "wrong": ", ".join(example["wrong"]),
    }


def _step_in_words(step: Mapping[str, Any]) -> str:
    if "error" in step:
        return f"It raises: {step['error']}"
    names = (("state", "next_state"), ("reward", "reward"), ("done", "done"))
    return "\n".join(f"- {word}: {step[name]!r}" for word, name in names)
