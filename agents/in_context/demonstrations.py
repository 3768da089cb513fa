"""Demonstrations: what was played, cut into examples that fit into a prompt, and ranked against the game's own episodes.

An *example* is one decision: the pictures it was made from, the facts, the action, and what followed. Examples are taken
where something follows (windows before rewards) and, sparsely, everywhere. A demonstration's *rank* is the share of the
game's episodes that it beats; nothing here asks whether a return is positive, so that Pong at -20 learns from -17.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image

from atari_vlm.description import read_actions
from atari_vlm.errors import check_positive
from atari_vlm.pil_images import to_image
from atari_vlm.types import Image, Trajectory, Transition


@dataclass(frozen=True)
class ExampleOptions:
    """Which steps become examples.

    ``images_per_example`` pictures, oldest first. A step's outcome is the sum of the rewards of the ``horizon`` steps that
    begin with it. Examples are taken every ``spacing`` steps back from each reward, up to ``horizon`` steps before it, and
    every ``stride`` steps throughout.
    """

    images_per_example: int = 2
    horizon: int = 24
    spacing: int = 4
    stride: int = 8

    def __post_init__(self) -> None:
        check_positive(
            images_per_example=self.images_per_example,
            horizon=self.horizon,
            spacing=self.spacing,
            stride=self.stride,
        )


@dataclass(frozen=True)
class Example:
    """One decision worth showing. ``frames`` are PNG bytes, oldest first; ``window`` is the step of the reward it led to."""

    episode: int
    step: int
    frames: tuple[bytes, ...]
    text: str
    action: str
    outcome: float
    window: int | None = None

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures, decoded; the same objects again and again while they are in use."""
        return tuple(decode(frame) for frame in self.frames)


@dataclass(frozen=True)
class Demonstration:
    """One episode as examples, in order of their steps."""

    game: str
    episode: int
    seed: int | None
    episode_return: float
    length: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class _OpenStep:
    """One step while its outcome is still open."""

    images: tuple[Image, ...]
    text: str
    action: str
    reward: float


class DemonstrationRecorder:
    """Takes examples from an episode as it is played: give :meth:`see` to ``play_episode`` as ``on_step``.

    Observations are the environment's dicts with ``image``, ``text`` and ``action_space``.
    """

    def __init__(self, episode: int, options: ExampleOptions = ExampleOptions()):
        self.episode, self.options = episode, options
        self._frames: deque[Image] = deque(maxlen=options.images_per_example)
        self._open: deque[_OpenStep] = deque()
        self._step = 0  # of the oldest open step
        self._examples: list[Example] = []

    def see(self, transition: Transition) -> None:
        """Take in one step."""
        observation = transition.observation
        self._frames.append(to_image(observation["image"]))
        action = read_actions(observation["action_space"])[transition.decision.action]
        self._open.append(
            _OpenStep(tuple(self._frames), observation["text"], action, transition.reward)
        )
        if len(self._open) == self.options.horizon:
            self._close_oldest()

    def finish(self, trajectory: Trajectory) -> Demonstration:
        """The demonstration of the episode that was seen."""
        while self._open:
            self._close_oldest()
        return Demonstration(
            game=trajectory.game,
            episode=self.episode,
            seed=trajectory.seed,
            episode_return=trajectory.episode_return,
            length=trajectory.length,
            examples=tuple(self._examples),
        )

    def _close_oldest(self) -> None:
        """Decide whether the oldest open step becomes an example, now that what followed is known."""
        rewarded = [ahead for ahead, seen in enumerate(self._open) if seen.reward != 0]
        spaced = [ahead for ahead in rewarded if ahead % self.options.spacing == 0]
        oldest = self._open[0]
        if spaced or self._step % self.options.stride == 0:
            outcome = float(sum(seen.reward for seen in self._open))
            window = self._step + spaced[0] if spaced else None
            frames = tuple(image.png for image in oldest.images)
            self._examples.append(
                Example(
                    self.episode, self._step, frames, oldest.text, oldest.action, outcome, window
                )
            )
        self._open.popleft()
        self._step += 1


class DemonstrationLibrary:
    """The demonstrations of one game.

    It keeps the ``best`` best and the ``recent`` latest; all returns ever added count for the ranks. Equal contents give
    equal examples in equal order, whatever the machine. Whoever plays gets :meth:`snapshot`, a value that later learning does not
    change; evaluation never calls :meth:`add`.
    """

    def __init__(self, best: int = 20, recent: int = 5):
        check_positive(best=best, recent=recent)
        self._best, self._recent = best, recent
        self._returns: list[float] = []
        self._kept: list[Demonstration] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def demonstrations(self) -> tuple[Demonstration, ...]:
        """What is kept, in order of episode number."""
        return tuple(self._kept)

    def add(self, demonstrations: Sequence[Demonstration]) -> None:
        """Learn the episodes of a round."""
        self._returns += [demonstration.episode_return for demonstration in demonstrations]
        kept = sorted([*self._kept, *demonstrations], key=lambda d: d.episode)
        by_return = sorted(kept, key=lambda d: (-d.episode_return, -d.episode))
        kept_episodes = {d.episode for d in (*by_return[: self._best], *kept[-self._recent :])}
        self._kept = [
            demonstration for demonstration in kept if demonstration.episode in kept_episodes
        ]

    def rank(self, demonstration: Demonstration) -> float:
        """Share of all episodes so far with a lower return, ties counted half: 0 to 1, about 0.5 in the middle."""
        returns = np.array(self._returns)
        below = (returns < demonstration.episode_return).sum()
        return float((below + 0.5 * (returns == demonstration.episode_return).sum()) / len(returns))

    def snapshot(self) -> tuple[Demonstration, ...]:
        """What a round or an evaluation is played with: best first, of equals the later one first."""
        return tuple(sorted(self._kept, key=lambda d: (-d.episode_return, -d.episode)))


def digest_of(demonstrations: Sequence[Demonstration]) -> str:
    """SHA-256 (hex) of demonstrations: equal memories have equal digests, however their pictures are encoded."""
    sha = hashlib.sha256()
    for demonstration in demonstrations:
        facts = (
            demonstration.episode,
            demonstration.seed,
            demonstration.episode_return,
            demonstration.length,
        )
        sha.update(repr((demonstration.game, facts)).encode())
        for example in demonstration.examples:
            sha.update(
                repr(
                    (example.step, example.text, example.action, example.outcome, example.window)
                ).encode()
            )
            for frame in example.frames:
                sha.update(decode(frame).digest.encode())
    return sha.hexdigest()


@functools.lru_cache(maxsize=512)
def decode(png: bytes) -> Image:
    """A PNG of an example as an :class:`Image`, with its palette if it is indexed."""
    with PIL.Image.open(io.BytesIO(png)) as picture:
        colours = picture.getpalette()
        if colours is None:
            return to_image(picture)
        palette = np.array(colours, dtype=np.uint8).reshape(-1, 3)
        indices = np.array(picture)
        return Image(palette[indices], indices, palette)
