"""A dreamed Atari game: the observations of ``AtariVLM/<Game>-v5``, made from a world model's
frames.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np

from atari_vlm import _lazy
from atari_vlm.actions import as_index
from atari_vlm.env.camera import CameraConfig
from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.env.observing import Observer, View
from atari_vlm.errors import ConfigError, MismatchError, NotSupportedError, UnknownNameError
from atari_vlm.games import Game, game, game_names, game_or_generic
from atari_vlm.picture import ResizeShape, resize, target_shape, to_ansi
from atari_vlm.space_trees import Path, picture_in, value_at
from atari_vlm.world_models.base import WorldModel, check_fit
from atari_vlm.wrappers.world_model_env import WorldModelEnv, keys_to_action

RENDER_MODES = ("rgb_array", "ansi")
_LUMINANCE = np.array([0.2989, 0.5870, 0.1140])


class DreamedGame(gymnasium.Env[dict[str, Any], int]):
    """One Atari game dreamed by a world model, with the observation and action spaces of the real
    one.

    The model's frames (the one RGB picture of what it shows) are stretched to the size of the
    game's screen; from there on an observation is made as
    :class:`~atari_vlm.env.AtariVLMEnvironment` makes it, and the arguments of the same names mean
    the same. Images have no palette. Rewards are the model's (``metadata["reward_transform"]``),
    and so is ``terminated``. ``info`` holds ``episode_step``, ``episode_reward``,
    ``imagined_steps``, with ``reanchor_every`` ``reanchored``, and where the model tells one
    ``imagined_text``.

    Args:
        game_name: the game, as the real environment takes it.
        checkpoint: folder of the world model; ``None``, where the package ships one of this kind and game, for that.
        kind: the kind of model that the checkpoint must hold; ``None`` for any.
        start: ``None`` (the checkpoint's start frames; no emulator is ever stepped) or ``"real"``:
            each dream begins with the first frames of the real game, played without sticky actions.
        reanchor_every: with ``start="real"``, see
            :class:`~atari_vlm.wrappers.world_model_vector_env.WorldModelVectorEnv`.
        frame_skip: must be the checkpoint's where given.
        full_action_space: all 18 actions; the checkpoint must have been made so too.
        model_options: what the kind's loader takes, for example ``{"device": "cuda"}``.

    Raises ``CheckpointError`` for a checkpoint that cannot be used, ``MismatchError`` for one of
    another game, action set, frame skip or kind, ``ConfigError`` for wrong arguments.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 15,
        "privileged": False,
    }

    def __init__(
        self,
        game_name: str,
        checkpoint: str | None = None,
        *,
        kind: str | None = None,
        start: str | None = None,
        reanchor_every: int | None = None,
        render_mode: str | None = "rgb_array",
        frame_stack: int = 4,
        frame_skip: int | None = None,
        resize_shape: ResizeShape = (224, 224),
        grayscale: bool = False,
        max_episode_steps: int | None = None,
        full_action_space: bool = False,
        prompt_type: str | None = None,
        image_format: str = "pil",
        interpolation: str = "nearest",
        keep_aspect: bool = False,
        model_options: dict[str, Any] | None = None,
    ):
        self._arguments = {
            name: value for name, value in locals().items() if name not in ("self", "__class__")
        }
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UnknownNameError("render_mode", render_mode, RENDER_MODES)
        self.render_mode = render_mode
        self._camera_config = CameraConfig(resize_shape, grayscale, interpolation, keep_aspect)
        played = game(game_name)
        _, names, self._screen_shape = facts_of(game_name, full_action_space)
        model = model_for(played.name, checkpoint, kind, model_options or {})
        skip = model.frame_skip if frame_skip is None else frame_skip
        check_fit(model, names, skip, f"{played.name} here")
        real = _real_game(played.name, skip, full_action_space) if _is_real(start) else None
        self._dream = WorldModelEnv(
            model, start=real, max_episode_steps=max_episode_steps, reanchor_every=reanchor_every
        )
        self._real, self.world_model = real, model
        self._picture = picture_of(model)
        self.frame_skip, self.game_name = skip, played.name
        self._show(played, names, View(frame_stack, grayscale, image_format, prompt_type))

    def _show(self, played: Game, names: tuple[str, ...], view: View) -> None:
        """The observer of the dream, and the spaces and metadata that follow from it."""
        shape = target_shape(self._camera_config.resize_shape, self._screen_shape)
        self._observer = Observer(played, names, shape, view)
        self.observation_space = self._observer.space
        self.action_space = gymnasium.spaces.Discrete(len(names))  # type: ignore[assignment]
        self.metadata = {
            **self.metadata,
            "render_fps": self._dream.metadata["render_fps"],
            "reward_transform": self.world_model.reward_transform,
        }
        self._frame: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a dream. ``options`` are not used."""
        super().reset(seed=seed)
        observation, info = self._dream.reset(seed=seed)
        self._frame = value_at(observation, self._picture)
        self._observer.begin()
        return self._observe(), self._info(info)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Dream one step."""
        index = as_index(action)
        observation, reward, terminated, truncated, info = self._dream.step(index)
        self._frame = value_at(observation, self._picture)
        self._observer.count(index, reward)
        return self._observe(), reward, terminated, truncated, self._info(info)

    def render(self) -> Any:
        """``rgb_array``: uint8 ``(H, W, 3)`` at the screen's size; ``ansi``: the facts over the
        picture; else ``None``.
        """
        if self.render_mode is None or self._frame is None:
            return None
        if self.render_mode == "ansi":
            return f"{self._observer.facts.to_text()}\n{to_ansi(self._screen())}"
        return self._screen()

    @property
    def state(self) -> Any:
        """The model's state, one row (for planners)."""
        return self._dream.state

    @property
    def frame(self) -> np.ndarray:
        """The model's own last frame, for example uint8 ``(64, 64, 3)``; undefined before the first
        reset.
        """
        assert self._frame is not None
        return self._frame.copy()

    def real_screen(self) -> np.ndarray | None:
        """The screen of the real game that follows the dream, uint8 ``(H, W, 3)``; ``None`` without
        ``reanchor_every``.
        """
        follows = self._real is not None and self._arguments["reanchor_every"] is not None
        return np.asarray(self._real.render()) if follows and self._real is not None else None

    def get_vlm_prompt(self, prompt_type: str = "basic") -> str:
        """The whole prompt of the current step in a style (``basic``, ``cot``, ``expert``)."""
        return self._observer.prompt(prompt_type)

    def get_action_space_description(self) -> str:
        """The numbered list of actions, as in ``obs["action_space"]``."""
        return self._observer.action_list

    def get_action_meanings(self) -> list[str]:
        """ALE's names of the actions, in index order."""
        return list(self._observer.action_names)

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Keys for ``gymnasium.utils.play``: w a s d and space."""
        return keys_to_action(self._observer.action_names)

    def close(self) -> None:
        """Close the real game, if there is one, and what the model holds."""
        if self._real is not None:
            self._real.close()
        close_model(self.world_model)

    def _screen(self) -> np.ndarray:
        assert self._frame is not None
        return on_screen(self._frame, self._screen_shape)

    def _observe(self) -> dict[str, Any]:
        assert self._frame is not None
        return self._observer.observe(shown(self._screen(), self._camera_config), self._frame)

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        facts = self._observer.facts
        return {"episode_step": facts.step, "episode_reward": facts.episode_return, **info}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs to be made anew: a pickle or a deep copy is a fresh dream that wants a
        ``reset``.
        """
        return {"arguments": self._arguments, "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.spec = state["spec"]


def close_model(model: WorldModel[Any]) -> None:
    """Let a model end what it holds besides memory, a process for instance."""
    close = getattr(model, "close", None)
    if close is not None:
        close()


@functools.cache
def facts_of(
    game_name: str, full_action_space: bool
) -> tuple[str, tuple[str, ...], tuple[int, int]]:
    """The game's plain name, its action names, (height, width) of its screen: from an emulator that
    is never stepped.
    """
    emulator = Emulator(EmulatorConfig(game_name, full_action_space=full_action_space))
    return emulator.game.name, emulator.action_names, emulator.screen_shape


def on_screen(frame: np.ndarray, screen_shape: tuple[int, int]) -> np.ndarray:
    """A model's frame stretched to the size of the game's screen; a fresh array."""
    return np.array(resize(frame, screen_shape))


def shown(screen: np.ndarray, config: CameraConfig) -> np.ndarray:
    """The picture of a screen uint8 ``(H, W, 3)`` that an observation of this config shows."""
    picture = np.rint(screen @ _LUMINANCE).astype(np.uint8) if config.grayscale else screen
    shape = target_shape(config.resize_shape, (screen.shape[0], screen.shape[1]))
    return resize(picture, shape, config.interpolation, keep_aspect=config.keep_aspect)


def _is_real(start: str | None) -> bool:
    if start not in (None, "real"):
        raise UnknownNameError("start", start, ("real",))
    return start == "real"


def _real_game(name: str, frame_skip: int, full_action_space: bool) -> gymnasium.Env[Any, Any]:
    """The real game, showing its screen."""
    return gymnasium.make(
        f"AtariVLM/{name}-v5",
        render_mode="rgb_array",
        frame_skip=frame_skip,
        full_action_space=full_action_space,
        repeat_action_probability=0.0,
        resize_shape=None,
        frame_stack=1,
        image_format="numpy",
        max_episode_steps=-1,
    )


def model_for(
    name: str, path: str | None, kind: str | None, options: dict[str, Any]
) -> WorldModel[Any]:
    """The world model of a checkpoint, which must be of the game ``name`` and of the given kind,
    and show pictures.
    """
    if path is None:
        return _shipped_model(name, kind, options)
    checkpoint = _lazy.load("atari_vlm.world_models:read_checkpoint")(path)
    if kind is not None and checkpoint.kind != kind:
        raise MismatchError(
            f"this id dreams in a world model of the kind {kind!r}; {path} is of the kind {checkpoint.kind!r}"
        )
    trained_on = game_or_generic(str(checkpoint.config.get("game", ""))).name
    if trained_on in game_names() and trained_on != name:
        raise MismatchError(f"the game is {name}; the world model in {path} is of {trained_on}")
    model: WorldModel[Any] = _lazy.load("atari_vlm.world_models:build_model")(
        checkpoint, path, **options
    )
    picture_of(model)
    return model


def _shipped_model(name: str, kind: str | None, options: dict[str, Any]) -> WorldModel[Any]:
    """The model of a game that comes with the package."""
    needed = f"a dreamed {name} needs checkpoint=PATH, the folder of a world model"
    try:
        make = _lazy.load("atari_vlm.world_models.families:load_part")(kind, "shipped")
    except (NotSupportedError, UnknownNameError) as error:
        raise ConfigError(needed) from error
    try:
        model: WorldModel[Any] = make(name, **options)
    except UnknownNameError as error:
        raise ConfigError(f"{needed}: {error}") from error
    return model


def picture_of(model: WorldModel[Any]) -> Path:
    """Where the picture lies that a model shows; ``MismatchError`` for one without an RGB picture."""
    path = picture_in(model.observation_space)
    if path is None:
        raise MismatchError(
            f"a dreamed game is shown in uint8 (H, W, 3); the model shows {model.observation_space}"
        )
    return path


def for_gymnasium(**arguments: Any) -> DreamedGame:
    """The entry point of the registered ids: their step limit is gymnasium's ``TimeLimit``, which
    ``gymnasium.make`` can move.
    """
    return DreamedGame(**arguments)


for_gymnasium.metadata = DreamedGame.metadata  # type: ignore[attr-defined]
