"""In-context learning: which examples a prompt shows, within a budget, and the messages that show them.

The messages are the constant part of the prompt after the instructions, so they are the same at every step of an episode and
a vendor's prompt cache (or a local model's prefix cache) pays for them once. The strategy ``most-similar-frame`` is the
exception: it looks for other examples at every step, behind the instructions, so only the instructions stay cached.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np

from atari_vlm.agents.in_context.demonstrations import Demonstration, Example, ExampleOptions
from atari_vlm.agents.messages import write_answer
from atari_vlm.agents.vlm_agent import VLMAgent
from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import VLM, Sampling

Strategy = Literal["best", "recent", "reward-centred", "most-similar-frame", "random", "none"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class InContextOptions:
    """What examples a prompt may hold.

    A prompt shows at most ``max_examples`` examples with at most ``max_images`` pictures and about ``max_tokens`` tokens
    (see :func:`estimate_tokens`). ``episodes`` is how many demonstrations ``best`` and ``recent`` draw on, and
    ``candidates`` how many examples ``most-similar-frame`` searches. ``seed`` is the one of ``random``.
    """

    strategy: Strategy = "reward-centred"
    max_examples: int = 8
    max_images: int = 16
    max_tokens: int = 6000
    episodes: int = 2
    candidates: int = 2000
    seed: int = 0
    examples: ExampleOptions = field(default_factory=ExampleOptions)

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UnknownNameError("in-context strategy", self.strategy, STRATEGIES)
        check_positive(
            max_examples=self.max_examples,
            max_images=self.max_images,
            max_tokens=self.max_tokens,
            episodes=self.episodes,
            candidates=self.candidates,
        )
        if self.max_images < self.examples.images_per_example:
            raise ConfigError(
                f"max_images={self.max_images} is less than one example's {self.examples.images_per_example} images"
            )


def select(
    demonstrations: Sequence[Demonstration], options: InContextOptions
) -> tuple[Example, ...]:
    """The examples every prompt of the next episodes shows, in order of episode and step.

    ``demonstrations`` are best first (``DemonstrationLibrary.snapshot``). Empty for ``none``, for
    ``most-similar-frame`` (see :class:`SimilarExamplesVLM`), and as long as nothing was learned.
    """
    groups = {
        "best": lambda: [_by_outcome(d) for d in demonstrations[: options.episodes]],
        "recent": lambda: [_by_outcome(d) for d in _latest(demonstrations)[: options.episodes]],
        "reward-centred": lambda: _windows(demonstrations),
        "random": lambda: _shuffled(demonstrations, options.seed),
        "most-similar-frame": lambda: [],
        "none": lambda: [],
    }[options.strategy]()
    return within_budget(_in_turn(groups), options)


def within_budget(
    examples: Iterator[Example] | Sequence[Example], options: InContextOptions
) -> tuple[Example, ...]:
    """The first examples that fit, in order of episode and step. One that does not fit is passed over."""
    selected: list[Example] = []
    images = tokens = 0
    for example in examples:
        cost = estimate_tokens(example)
        if images + len(example.frames) > options.max_images or tokens + cost > options.max_tokens:
            continue
        selected.append(example)
        images, tokens = images + len(example.frames), tokens + cost
        if len(selected) == options.max_examples:
            break
    return tuple(sorted(selected, key=lambda example: (example.episode, example.step)))


def estimate_tokens(example: Example) -> int:
    """About how many tokens an example costs: four characters of text each, and per image the larger of 85 and pixels / 750.

    That is the upper end for images of up to 512 x 512 pixels (Anthropic's pixels / 750, OpenAI's low-detail 85).
    """
    pixels = [math.prod(image.pixels.shape[:2]) for image in example.images]
    return (
        sum(max(85, math.ceil(count / 750)) for count in pixels)
        + math.ceil(len(example.text) / 4)
        + 40
    )


def example_messages(examples: Sequence[Example], form: str = "text") -> tuple[Message, ...]:
    """For each example a user message (pictures, then facts and what followed) and the assistant's answer to it.

    ``form`` is ``text``, ``json`` or ``choice``. An agent that is given messages brings them into its own form.
    """
    messages: list[Message] = []
    for example in examples:
        followed = (
            "no reward followed"
            if example.outcome == 0
            else f"reward {example.outcome:+g} followed"
        )
        messages.append(
            Message.of(
                "user",
                *example.images,
                f"Example:\n{example.text}\nAfter this decision {followed}.",
            )
        )
        reason = f"In this situation {example.action} was played and {followed}."
        messages.append(Message.of("assistant", write_answer(form, example.action, reason)))
    return tuple(messages)


class ExampleIndex:
    """Finds the examples whose newest picture is nearest to a picture.

    Candidates are examples of the better half of the demonstrations after which no loss followed, best first. Distance: mean
    square difference, grey, 32 x 32, area averaged; equal distances in candidate order.
    """

    def __init__(self, demonstrations: Sequence[Demonstration], options: InContextOptions):
        self._options = options
        better = demonstrations[: math.ceil(len(demonstrations) / 2)]
        candidates = [example for d in better for example in d.examples if example.outcome >= 0]
        self._candidates = candidates[: options.candidates]
        self._thumbnails = np.array(
            [_thumbnail(example.images[-1]) for example in self._candidates]
        )  # (N, 1024)

    def nearest(self, image: Image) -> tuple[Example, ...]:
        """The nearest examples that fit into the budget, in order of episode and step."""
        if not self._candidates:
            return ()
        distances = ((self._thumbnails - _thumbnail(image)) ** 2).mean(axis=1)
        return within_budget(
            (self._candidates[i] for i in np.argsort(distances, kind="stable")), self._options
        )


class SimilarExamplesVLM:
    """A VLM that is shown, at each request, the examples nearest to the request's newest picture, behind the instructions.

    Wrap it *around* the journal, which then records what was really asked. ``form`` is the agent's form of answer.
    """

    def __init__(self, vlm: VLM, index: ExampleIndex, form: str = "text"):
        self._vlm, self._index, self.form = vlm, index, form
        self.name, self.capabilities = vlm.name, vlm.capabilities

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer with the nearest examples in view."""
        return self._vlm.complete(self._with_examples(messages), sampling=sampling)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Score with the nearest examples in view."""
        return self._vlm.score_choices(self._with_examples(messages), choices)

    def _with_examples(self, messages: Sequence[Message]) -> list[Message]:
        pictures = [image for message in messages for image in message.images]
        shown = example_messages(self._index.nearest(pictures[-1]), self.form) if pictures else ()
        system = sum(
            1 for _ in itertools.takewhile(lambda message: message.role == "system", messages)
        )
        return [*messages[:system], *shown, *messages[system:]]


def agent_with_examples(
    vlm: VLM,
    shown: Sequence[Demonstration],
    options: InContextOptions,
    make: Callable[[VLM, tuple[Message, ...]], VLMAgent],
) -> VLMAgent:
    """An agent of ``make`` (given the VLM to ask and its examples) that is shown examples of ``shown``.

    ``options`` choose them; with ``most-similar-frame`` they are looked for at every request.
    """
    examples = example_messages(select(shown, options))
    if options.strategy != "most-similar-frame":
        return make(vlm, examples)
    asked = SimilarExamplesVLM(vlm, ExampleIndex(shown, options))
    agent = make(asked, examples)
    asked.form = "choice" if agent.answer == "scores" else agent.answer
    return agent


def _thumbnail(image: Image) -> np.ndarray:
    """float32 ``(1024,)``, 0 to 255."""
    grey = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def _by_outcome(demonstration: Demonstration) -> list[Example]:
    return sorted(demonstration.examples, key=lambda example: (-example.outcome, example.step))


def _latest(demonstrations: Sequence[Demonstration]) -> list[Demonstration]:
    return sorted(demonstrations, key=lambda demonstration: -demonstration.episode)


def _shuffled(demonstrations: Sequence[Demonstration], seed: int) -> list[list[Example]]:
    pool = [example for demonstration in demonstrations for example in demonstration.examples]
    pool.sort(key=lambda example: (example.episode, example.step))
    random.Random(seed).shuffle(pool)
    return [pool]


def _windows(demonstrations: Sequence[Demonstration]) -> list[list[Example]]:
    """Reward windows, highest outcome first, of equals the better episode's; window i is read from its i-th step on.

    Windows that ended in a loss are shown to nobody; where nothing was ever won, what was played without a loss stands in.
    """
    windows: list[list[Example]] = []
    for demonstration in demonstrations:
        gains = [e for e in demonstration.examples if e.window is not None and e.outcome > 0]
        windows += [
            list(group) for _, group in itertools.groupby(gains, key=lambda example: example.window)
        ]
    if not windows:
        windows = [
            [e for e in demonstration.examples if e.outcome == 0]
            for demonstration in demonstrations
        ]
    windows.sort(key=lambda window: -max((example.outcome for example in window), default=0.0))
    return [_turned(window, by=i) for i, window in enumerate(windows)]


def _turned(window: list[Example], by: int) -> list[Example]:
    """Latest step first, then turned by so many places: windows side by side show different moments before a reward."""
    backwards = window[::-1]
    at = by % len(backwards) if backwards else 0
    return backwards[at:] + backwards[:at]


def _in_turn(groups: Sequence[Sequence[Example]]) -> Iterator[Example]:
    """One example of each group, then the next of each, without repeats."""
    for row in itertools.zip_longest(*groups):
        yield from (example for example in row if example is not None)
