"""From pictures and rewards to the observation dictionary: the part that a real game and a dreamed one have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm import prompts
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.games import Game
from atari_vlm.pil_images import carry_source, to_pil
from atari_vlm.spaces import observation_space

MAX_FRAMES = 256  # a mistyped number must not take the machine's memory


@dataclass(frozen=True)
class View:
    """What an observation holds; the arguments of the same names of :class:`~atari_vlm.env.AtariVLMEnvironment`."""

    frame_stack: int = 4
    grayscale: bool = False
    image_format: str = "pil"
    prompt_type: str | None = None

    def __post_init__(self) -> None:
        check_count(frame_stack=self.frame_stack)
        if self.frame_stack > MAX_FRAMES:
            raise ConfigError(f"frame_stack must be at most {MAX_FRAMES}, got {self.frame_stack}")
        if self.prompt_type is not None:
            prompts.check_style(self.prompt_type)


class Observer:
    """Keeps the facts and the last pictures of one episode. ``shape`` is (height, width) of its pictures.

    ``space`` is the observation space and ``facts`` what ``obs["text"]`` says.
    """

    def __init__(self, game: Game, action_names: Sequence[str], shape: tuple[int, int], view: View):
        self.view, self.action_names = view, tuple(action_names)
        self.space: gymnasium.spaces.Dict = observation_space(
            shape,
            view.frame_stack,
            grayscale=view.grayscale,
            image_format=view.image_format,
            prompt=view.prompt_type is not None,
        )
        self.action_list = list_actions(self.action_names, game.controls)
        self.facts = Facts(game.name)
        self._frames = np.zeros(
            (view.frame_stack, *shape, *(() if view.grayscale else (3,))), np.uint8
        )

    def begin(self) -> None:
        """A new episode begins."""
        self.facts = Facts(self.facts.game)

    def count(self, action: int, reward: float) -> None:
        """A step was played."""
        last = self.facts
        total = last.episode_return + reward
        self.facts = Facts(last.game, last.step + 1, self.action_names[action], reward, total)

    def observe(
        self,
        picture: np.ndarray,
        source: np.ndarray,
        *,
        indices: np.ndarray | None = None,
        palette: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """The observation whose newest picture is ``picture``, uint8 ``(H, W[, 3])``; call it once a step.

        ``indices`` and ``palette`` as :func:`~atari_vlm.pil_images.to_pil` takes them. ``source`` is what the picture
        was made from, in that palette or in RGB; a PIL image carries it. Nothing is kept by reference.
        """
        frames = self._stack(picture)
        if self.view.image_format == "pil":
            image: Any = to_pil(picture, indices=indices, palette=palette)
            carry_source(image, source, palette)
        else:
            image = picture.copy()
        observation = {
            "image": image,
            "frames": frames,
            "text": self.facts.to_text(),
            "action_space": self.action_list,
        }
        if self.view.prompt_type is not None:
            observation["prompt"] = self.prompt(self.view.prompt_type)
        return observation

    def prompt(self, prompt_type: str) -> str:
        """The whole prompt of the current step in a style (``basic``, ``cot``, ``expert``)."""
        return prompts.render_prompt(prompt_type, self.facts.to_text(), self.action_list)

    def _stack(self, picture: np.ndarray) -> np.ndarray:
        """The last pictures with this one as the newest, a fresh array; after a reset this one everywhere."""
        if len(self._frames) == 1:
            return picture[np.newaxis].copy()
        newest = self.facts.step % len(
            self._frames
        )  # a ring: only the oldest picture is overwritten
        self._frames[newest if self.facts.step else slice(None)] = picture
        return np.concatenate((self._frames[newest + 1 :], self._frames[: newest + 1]))
