"""The environment: a game that shows itself as a vision-language model sees it. docs/environment.md is its contract."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium

from atari_vlm.env.camera import Camera, CameraConfig
from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.env.observing import Observer, View
from atari_vlm.errors import UnknownNameError, check_count
from atari_vlm.picture import ResizeShape, to_ansi

RENDER_MODES = ("human", "rgb_array", "ansi")
FRAMES_PER_SECOND = 60


class AtariVLMEnvironment(gymnasium.Env[dict[str, Any], int]):
    """One Atari game with image, frames, facts as text, and prompts.

    Args:
        game_name: a game or id: ``"Pong-v5"``, ``"Pong"``, ``"ALE/Pong-v5"``.
        render_mode: ``"rgb_array"`` (the screen at its own size), ``"ansi"`` (text), ``"human"`` (ALE's window), or ``None``.
        frame_stack: number of pictures in ``obs["frames"]``.
        frame_skip: emulator frames per step; every step plays exactly so many, unless the episode ends within it.
        resize_shape: (height, width), an integer scale such as ``"x3"``, or ``None`` for the screen's own size.
        grayscale: pictures without colour, ``(H, W)``, image mode L.
        max_episode_steps: truncate after so many steps; ``None`` leaves only ALE's cut at 108,000 frames. An id made by
            ``gymnasium.make`` is truncated by gymnasium's ``TimeLimit`` instead, at the same 10,000 steps unless told otherwise.
        repeat_action_probability: sticky actions, see :class:`~atari_vlm.env.emulator.EmulatorConfig`.
        full_action_space: all 18 actions instead of those the game uses.
        prompt_type: ``"basic"``, ``"cot"`` or ``"expert"`` adds ``obs["prompt"]`` in that style.
        image_format: ``"pil"`` or ``"numpy"``: what ``obs["image"]`` is.
        interpolation: ``"nearest"`` (keeps the palette), ``"area"`` or ``"cubic"``.
        keep_aspect: put the picture, undistorted, in the middle of a black one.
        two_frame_maximum: show the brighter of a step's last two frames, which removes flicker; else the last frame, as ALE does.

    Raises ``ConfigError`` or ``UnknownNameError`` (both ``ValueError``) for wrong arguments.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (gymnasium's own declaration)
        "render_modes": list(RENDER_MODES),
        "render_fps": FRAMES_PER_SECOND // 4,
        "privileged": False,
    }

    def __init__(
        self,
        game_name: str = "Pong-v5",
        render_mode: str | None = "rgb_array",
        frame_stack: int = 4,
        frame_skip: int = 4,
        resize_shape: ResizeShape = (224, 224),
        grayscale: bool = False,
        max_episode_steps: int | None = 10_000,
        repeat_action_probability: float = 0.25,
        full_action_space: bool = False,
        prompt_type: str | None = None,
        image_format: str = "pil",
        interpolation: str = "nearest",
        keep_aspect: bool = False,
        two_frame_maximum: bool = True,
    ):
        self._arguments = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        if max_episode_steps is not None:
            check_count(max_episode_steps=max_episode_steps)
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UnknownNameError("render_mode", render_mode, RENDER_MODES)
        view = View(frame_stack, grayscale, image_format, prompt_type)
        camera_config = CameraConfig(resize_shape, grayscale, interpolation, keep_aspect)
        config = EmulatorConfig(
            game_name, frame_skip, repeat_action_probability, full_action_space, two_frame_maximum
        )
        self.render_mode, self.prompt_type, self.image_format = (
            render_mode,
            prompt_type,
            image_format,
        )
        self.max_episode_steps, self.frame_skip = max_episode_steps, frame_skip
        self._emulator = Emulator(config, human=render_mode == "human")
        self._camera = Camera(camera_config, self._emulator.palette, self._emulator.screen_shape)
        self.metadata = {
            **self.metadata,
            "render_fps": max(1, round(FRAMES_PER_SECOND / frame_skip)),
        }
        self.action_space = gymnasium.spaces.Discrete(len(self._emulator.action_names))  # type: ignore[assignment]
        self._observer = Observer(
            self._emulator.game, self._emulator.action_names, self._camera.shape, view
        )
        self.observation_space = self._observer.space

    @property
    def game_name(self) -> str:
        """The game's plain name, for example ``"Pong"``."""
        return self._emulator.game.name

    @property
    def ale(self) -> Any:
        """The ``ale_py.ALEInterface`` underneath (RAM, modes, counters); stepping it breaks the bookkeeping of this object."""
        return self._emulator.ale

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; ``obs["frames"]`` holds its first picture ``frame_stack`` times. ``options`` are not used."""
        super().reset(seed=seed)
        self._emulator.reset(seed)
        self._observer.begin()
        return self._observe(), self._info()

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Play one action for ``frame_skip`` emulator frames; the reward is the undiscounted sum of ALE's."""
        reward = self._emulator.step(action)
        self._observer.count(action, reward)
        cut = (
            self.max_episode_steps is not None
            and self._observer.facts.step >= self.max_episode_steps
        )
        return (
            self._observe(),
            reward,
            self._emulator.terminated,
            self._emulator.truncated or cut,
            self._info(),
        )

    def render(self) -> Any:
        """``rgb_array``: uint8 ``(H, W, 3)`` at the screen's own size; ``ansi``: the facts over the picture; else ``None``."""
        if self.render_mode == "rgb_array":
            return self._emulator.screen()
        if self.render_mode == "ansi":
            return f"{self._observer.facts.to_text()}\n{to_ansi(self._emulator.screen())}"
        return None

    def get_vlm_prompt(self, prompt_type: str = "basic") -> str:
        """The whole prompt of the current step in a style (``basic``, ``cot``, ``expert``)."""
        return self._observer.prompt(prompt_type)

    def get_action_space_description(self) -> str:
        """The numbered list of actions, as in ``obs["action_space"]``."""
        return self._observer.action_list

    def get_action_meanings(self) -> list[str]:
        """ALE's names of the actions, in index order."""
        return list(self._emulator.action_names)

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Keys for ``gymnasium.utils.play``: w a s d and space."""
        return dict(self._emulator.keys)

    def _observe(self) -> dict[str, Any]:
        picture, indices = self._camera.shoot(self._emulator.plane, self._emulator.changed)
        emulator = self._emulator
        return self._observer.observe(
            picture, emulator.plane, indices=indices, palette=emulator.palette.rgb
        )

    def _info(self) -> dict[str, Any]:
        """Only functions of the trajectory."""
        return {
            "episode_step": self._observer.facts.step,
            "episode_reward": self._observer.facts.episode_return,
            "lives": self._emulator.lives,
            "emulator_frames": self._emulator.frames,
        }

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs to be made anew: a pickle or a deep copy is a fresh environment that wants a ``reset``."""
        return {"arguments": self._arguments, "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.spec = state["spec"]


OPTIONS = tuple(inspect.signature(AtariVLMEnvironment).parameters)


def for_gymnasium(**arguments: Any) -> AtariVLMEnvironment:
    """The entry point of the registered ids: their step limit is gymnasium's ``TimeLimit``, which ``gymnasium.make`` can move."""
    for name in arguments:
        if name not in OPTIONS:
            raise UnknownNameError("option", name, OPTIONS)
    return AtariVLMEnvironment(**{"max_episode_steps": None, **arguments})


for_gymnasium.metadata = AtariVLMEnvironment.metadata  # type: ignore[attr-defined]
