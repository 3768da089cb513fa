"""The messages an agent sends: what never changes first, so that vendors and local backends keep it in their cache.

1. system: the instructions;  2. in-context examples: user and assistant in turn;  3. this episode's own last turns;
4. user: the pictures of the last frames, oldest first, then the facts.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from atari_vlm import prompts
from atari_vlm.agents.parse import Answer, parse_action
from atari_vlm.agents.pictures import FrameLayout, scaled, tiled, with_axes
from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError, check_positive
from atari_vlm.pil_images import to_image
from atari_vlm.types import Image, Message, Text

_GAME = re.compile(r"^Game: (.+)$", re.MULTILINE)
_RUNG_OF_FORM = {"text": "tag", "json": "json", "choice": "name"}


@dataclass(frozen=True)
class MessageOptions:
    """What a message carries; every limit is separate.

    ``frames``: how many of the newest frames are shown (0: none), as ``frame_layout`` says: separate ``images``, one
    horizontal ``strip``, or a ``grid`` in reading order. ``turns``: how many of this episode's own turns (facts and reply)
    stand before the question, and for how many of these, the newest, the pictures stay in (``turn_images``).
    ``feedback``: after an answer that could not be used, the next question says so. ``overlay``: pixel coordinates along
    the picture's edges. ``scale``: the picture's size times this. ``overlay`` and ``scale`` hold for example pictures too.
    """

    frames: int = 2
    frame_layout: FrameLayout = "images"
    turns: int = 0
    turn_images: int = 0
    feedback: bool = True
    overlay: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive(scale=self.scale)
        check_counts(frames=self.frames, turns=self.turns, turn_images=self.turn_images)
        if self.frame_layout not in get_args(FrameLayout):
            raise UnknownNameError("frame_layout", self.frame_layout, get_args(FrameLayout))


def check_counts(**values: int) -> None:
    """Raise ``ConfigError`` for the first keyword whose value is not a whole number of at least 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name} must be a whole number of at least 0, got {value!r}")


class Conversation:
    """One episode's messages: remembers frames and turns, and lays out each request."""

    def __init__(
        self, options: MessageOptions, prompt_type: str, form: str, examples: Sequence[Message]
    ):
        self._options, self._prompt_type, self._form = options, prompt_type, form
        self._examples = tuple(examples)
        _check_examples(self._examples)
        self._shown_examples: tuple[tuple[str, ...], tuple[Message, ...]] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the episode's frames and turns."""
        self._frames: deque[tuple[Image, Image]] = deque(
            maxlen=max(self._options.frames, 1)
        )  # as seen, as shown
        self._turns: deque[tuple[Message, str]] = deque(maxlen=self._options.turns)
        self._pictures: tuple[Image, ...] = ()

    def observe(self, observation: Mapping[str, Any]) -> None:
        """Take in an observation's pictures; called once a step, also when nothing is asked.

        ``observation["frames"]`` tells the last frames where it holds enough of them; else the frames remembered since the
        last reset do.
        """
        self._frames.append(self._prepared(to_image(observation["image"])))
        wanted, stack = self._options.frames, observation.get("frames")
        if not wanted:
            return
        if stack is not None and len(stack) >= wanted:
            pairs = [self._known(to_image(frame)) for frame in list(stack)[-wanted:]]
            self._frames = deque(pairs, maxlen=wanted)
        self._pictures = tiled([shown for _, shown in self._frames], self._options.frame_layout)

    def _known(self, frame: Image) -> tuple[Image, Image]:
        """The remembered frame that equals ``frame``: it may carry a palette plane, and it is encoded already."""
        return next(
            (pair for pair in reversed(self._frames) if pair[0] == frame), None
        ) or self._prepared(frame)

    def _prepared(self, image: Image) -> tuple[Image, Image]:
        shown = scaled(image, self._options.scale)
        return image, with_axes(shown, self._options.scale) if self._options.overlay else shown

    def question(self, observation: Mapping[str, Any], feedback: str | None = None) -> Message:
        """The last message: the pictures last looked at, what was wrong with the last answer, the facts."""
        notes = (Text(feedback),) if feedback and self._options.feedback else ()
        return Message("user", (*self._pictures, *notes, Text(observation["text"])))

    def messages(
        self, question: Message, names: Sequence[str], prompt: str | None = None
    ) -> tuple[Message, ...]:
        """The whole request; ``prompt`` stands in for the instructions."""
        if prompt is None:
            game = _GAME.search(question.text)
            prompt = prompts.instructions(
                self._prompt_type, game[1] if game else "", names, answer=self._form
            )
        return (
            Message.of("system", prompt),
            *self._example_messages(tuple(names)),
            *self._history(),
            question,
        )

    def add_turn(self, question: Message, reply_text: str) -> None:
        """Keep a turn whose answer was understood."""
        self._turns.append((question, split_thinking(reply_text)[1] or reply_text))

    def again(self, reply_text: str, problem: str, names: Sequence[str]) -> tuple[Message, Message]:
        """The two messages that ask once more: what was said, why it is no answer and what would be one."""
        how = {
            "text": "End with one line of this form: ACTION: <NAME>",
            "json": 'Answer with one JSON object: {"reasoning": "<short>", "action": "<NAME>"}',
            "choice": "Answer with one action name and nothing else",
        }[self._form]
        answer_text = split_thinking(reply_text)[1] or "(no answer)"
        request = (
            f"Your answer cannot be used: {problem}.\n{how}\nThe legal names: {', '.join(names)}"
        )
        return Message.of("assistant", answer_text), Message.of("user", request)

    def _history(self) -> list[Message]:
        messages = []
        for age, (question, reply) in zip(range(len(self._turns), 0, -1), self._turns, strict=True):
            keep = age <= self._options.turn_images
            parts = (
                question.parts
                if keep
                else tuple(part for part in question.parts if isinstance(part, Text))
            )
            messages += [Message("user", parts), Message.of("assistant", reply)]
        return messages

    def _example_messages(self, names: tuple[str, ...]) -> tuple[Message, ...]:
        if self._shown_examples is None or self._shown_examples[0] != names:
            self._shown_examples = (
                names,
                tuple(self._example(message, names) for message in self._examples),
            )
        return self._shown_examples[1]

    def _example(self, message: Message, names: Sequence[str]) -> Message:
        """An example as this conversation shows it: pictures prepared like frames, the reply in this form of answer."""
        if message.role == "assistant":
            return Message.of("assistant", in_form(message.text, self._form, names))
        pictures = tiled(
            [self._prepared(image)[1] for image in message.images], self._options.frame_layout
        )
        return Message(
            "user", (*pictures, *(part for part in message.parts if isinstance(part, Text)))
        )


def in_form(reply_text: str, form: str, names: Sequence[str]) -> str:
    """An example's reply in the form of answer that is asked for; verbatim if it has it already.

    With the form ``plans`` every reply stands as it is. Raises ``MismatchError`` if it names none of the legal actions.
    """
    if form == "plans":
        return reply_text
    answer = parse_action(reply_text, names)
    if not isinstance(answer, Answer):
        raise MismatchError(
            f"an example's reply does not fit the actions {', '.join(names)}: {answer}"
        )
    if answer.rung == _RUNG_OF_FORM[form]:
        return reply_text
    return write_answer(form, names[answer.action], answer.reasoning)


def write_answer(form: str, name: str, reasoning: str = "") -> str:
    """An answer in the form ``text``, ``json`` or ``choice``."""
    if form == "json":
        return json.dumps({"reasoning": reasoning, "action": name}, ensure_ascii=False)
    if form == "choice":
        return name
    return f"{reasoning}\nACTION: {name}".strip()


def complete_answers(thought: str, names: Sequence[str]) -> tuple[str, ...]:
    """The answer of form ``text`` for each name, all behind one thought."""
    return tuple(write_answer("text", name, thought) for name in names)


def _check_examples(examples: Sequence[Message]) -> None:
    roles = [message.role for message in examples]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise ConfigError(
            f"examples are pairs of a user and an assistant message, got the roles {roles}"
        )
