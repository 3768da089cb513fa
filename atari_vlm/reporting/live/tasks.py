"""The tasks of a program that go on, as the live page shows them: of each only the last step and the last question are held."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError
from atari_vlm.picture import resize
from atari_vlm.pil_images import to_image
from atari_vlm.runs.progress import Label, Task
from atari_vlm.types import Image, Message, Reply, Text, Transition

MOST_TEXT = 4_000  # characters of a question or a reply
MOST_NAME = 200
_MOST_EDGE_PX = 480  # of a picture; a larger one is made smaller
_PICTURE = "[picture]"
NO_LABEL = Label("", "", None, None, "")


@dataclass
class Running:
    """A task that goes on. It is changed by the thread that works on it, within the lock of whoever holds it."""

    task: Task
    recorded: int = 0
    steps: int = 0
    total_return: float | None = None
    last: Transition | None = None
    question: Message | None = None
    reply: str = ""
    pending: dict[int, tuple[Message, float]] = field(default_factory=dict)

    def advance(self, step: Transition | None) -> bool:
        """A unit is done; whether it was done now, and not read from the journal."""
        self.steps += 1
        if step is not None:
            self.last = step
            self.total_return = (self.total_return or 0.0) + step.reward
        return self.steps > self.recorded

    def ask(self, question: Message) -> None:
        """This thread asks."""
        self.pending[threading.get_ident()] = (question, time.monotonic())

    def hear(self, reply: Reply | None) -> None:
        """This thread was answered."""
        question, _ = self.pending.pop(threading.get_ident(), (None, 0.0))
        self.question, self.reply = question, "" if reply is None else shortened(reply.text)

    def as_dict(self) -> dict[str, Any]:
        """The task as plain data, without its picture (:meth:`frame`)."""
        label = self.task.label or NO_LABEL
        waiting = [since for _, since in self.pending.values()]
        question = self.question or next((asked for asked, _ in self.pending.values()), None)
        return {
            "game": shortened(label.game, MOST_NAME),
            "agent": shortened(label.agent, MOST_NAME),
            "phase": label.phase,
            "seed": label.seed,
            "episode": label.episode,
            "worker": shortened(self.task.worker, MOST_NAME),
            "step": self.steps,
            "steps": self.task.total,
            "unit": self.task.unit,
            "return": finite(self.total_return),
            "action": None if self.last is None else action_of(self.last),
            "source": None if self.last is None else str(self.last.decision.source),
            "question": "" if question is None else words_of(question),
            "reply": self.reply,
            "waiting_s": round(time.monotonic() - min(waiting), 1) if waiting else None,
        }

    def as_stage(self) -> dict[str, Any]:
        """A task that is no episode, as plain data."""
        epoch, epochs = self.task.epoch
        name = f"epoch {epoch} of {epochs}, {self.task.name}" if epochs > 1 else self.task.name
        return {"name": name, "done": self.steps, "total": self.task.total, "unit": self.task.unit}

    def pictures(self) -> list[Any]:
        """Where the picture of now is to be looked for, best first: what is played, else what was asked about."""
        played = [] if self.last is None else [self.last.next_observation]
        now = [question for question, _ in self.pending.values()]
        asked = [*now, *([] if self.question is None else [self.question])]
        return [*played, *(image for one in asked for image in reversed(one.images))]


def frame_of(pictures: Iterable[Any]) -> str | None:
    """The first picture that there is, as the address of a PNG that holds it."""
    image = next((found for one in pictures if (found := picture_of(one)) is not None), None)
    if image is None:
        return None
    return "data:image/png;base64," + base64.b64encode(small(image).png).decode()


def words_of(message: Message) -> str:
    """A message's words, with a mark for each picture."""
    parts = (part.text if isinstance(part, Text) else _PICTURE for part in message.parts)
    return shortened("\n".join(parts))


def shortened(text: Any, most: int = MOST_TEXT) -> str:
    """A text's beginning, and how much there is more; without halves of pairs, which JSON cannot hold."""
    text = str(text)
    left_out = len(text) - most
    text = text[:most].encode("utf-8", "replace").decode("utf-8")
    return text if left_out <= 0 else f"{text} ... ({left_out:,} characters more)"


def finite(value: float | None) -> float | None:
    """A number that JSON can hold."""
    return None if value is None or not math.isfinite(value) else value


def action_of(step: Transition) -> str | list[float]:
    """A step's action: its name, else its number; a continuous one ``(A,)`` as numbers."""
    action = np.asarray(step.decision.action)
    if action.ndim:
        return [round(float(part), 4) for part in action.ravel()[:64]]
    names: tuple[str, ...] = ()
    listed = step.observation.get("action_space") if isinstance(step.observation, Mapping) else None
    if isinstance(listed, str):
        try:
            names = read_actions(listed)
        except ConfigError:
            pass
    number = int(action)
    return shortened(names[number], MOST_NAME) if 0 <= number < len(names) else str(number)


def picture_of(observation: Any) -> Image | None:
    """The picture in an observation: itself, its entry ``image``, else its first; ``None`` where there is none."""
    if isinstance(observation, Image):
        return observation
    if isinstance(observation, Mapping):
        parts = [observation[key] for key in ("image", *observation) if key in observation]
        return next((image for part in parts if (image := picture_of(part)) is not None), None)
    if type(observation).__module__.startswith("PIL."):
        return to_image(observation)
    if isinstance(observation, np.ndarray) and observation.dtype == np.uint8:
        if observation.ndim == 3 and observation.shape[2] == 3 and min(observation.shape) > 0:
            return Image(np.array(observation))
    return None


def small(image: Image) -> Image:
    """The picture, at most :data:`_MOST_EDGE_PX` high and wide."""
    height, width = image.pixels.shape[:2]
    scale = _MOST_EDGE_PX / max(height, width)
    if scale >= 1:
        return image
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Image(resize(np.ascontiguousarray(image.pixels), shape, "area"))
