"""The VLM World Model system's own call, word for word: :class:`VLMWorldModelAgent` over
:class:`WorldModelAgent`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image as PILImage

from atari_vlm.agents.world_model_agent import WorldModelAgent
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import ConfigError
from atari_vlm.files import append, open_new
from atari_vlm.types import Action, Source, Transition
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import known_names
from atari_vlm.vlm.load import load_vlm
from atari_vlm.world_models.base import WorldModel

# What the VLM World Model system called its models.
SOURCE_MODELS = {
    "gpt4": "gpt-4o",
    "gpt4o": "gpt-4o",
    "claude": "claude",
    "qwen": "qwen-vl",
    "rand": "scripted",
}
RESPONSES = "all_responses.txt"
_PICTURES = (".png", ".jpg", ".jpeg")


class VLMWorldModelAgent(WorldModelAgent):
    """A :class:`WorldModelAgent` that also takes the keywords of the VLM World Model system.

    ``model_name`` and ``model``, in either order, are a family (``gpt4o``, ``gemini``, ``claude``,
    ``qwen``, ``rand`` or a ``--vlm`` name) and an id of it, in place of ``vlm``. ``env`` is what
    :meth:`generate_response` plays. ``use_world_model=False`` leaves the world model out.
    ``tokenizer`` is not used, which a warning says: a world model of this package brings its own.
    Nor is ``device``: a world model is loaded where it shall run. ``agent_options`` are the
    keywords of :class:`WorldModelAgent`; ``system_message`` among them stands in for the
    instructions.
    """

    def __init__(
        self,
        vlm: VLM | None = None,
        *,
        model_name: str | None = None,
        model: str | None = None,
        world_model: WorldModel[Any] | None = None,
        use_world_model: bool = True,
        env: gymnasium.Env[Any, Any] | None = None,
        tokenizer: Any = None,
        device: Any = None,
        **agent_options: Any,
    ):
        if (vlm is None) == (model_name is None and model is None):
            raise ConfigError("give either vlm or model_name")
        if tokenizer is not None:
            warnings.warn(
                "tokenizer is not used: a world model of this package brings its own", stacklevel=2
            )
        asked = vlm if vlm is not None else _named(model_name, model)
        self._env = env
        self._unreported: Action | None = None
        super().__init__(
            asked, world_model=world_model if use_world_model else None, **agent_options
        )

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode with an empty buffer."""
        self._unreported = None
        super().reset(seed=seed)

    def observe(self, transition: Transition) -> None:
        """Compare what happened with what was predicted."""
        self._unreported = None
        super().observe(transition)

    def generate_response(self, path: str | Path) -> tuple[int, dict[str, Any]]:
        """The next action and what was said about it, for the present picture of ``env``.

        ``path`` is the run's folder, made if need be, whose ``all_responses.txt`` receives the
        replies; or a picture, which is then the one that is looked at. The action counts as played
        when this is called again; :meth:`observe` tells more, from which the buffer learns of
        surprises.
        """
        if self._env is None:
            raise ConfigError("generate_response needs env=, whose actions are the legal ones")
        path, base = Path(path), self._env.unwrapped
        is_picture = path.suffix.lower() in _PICTURES
        image = _read(path) if is_picture else screen_of(self._env)
        names = list(base.get_action_meanings())  # type: ignore[attr-defined]
        text = Facts(getattr(base, "game_name", "Unknown")).to_text()
        if self._unreported is not None:
            self._judge.executed(self._unreported)
        decision = self.act({"image": image, "text": text, "action_space": list_actions(names)})
        self._unreported = decision.action
        if not is_picture:
            _write(path, "".join(f"{reply.text}\n\n" for reply in decision.replies))
        response = {
            "reasoning": decision.proposal.reasoning if decision.proposal else "",
            "action": decision.action,
            "from_buffer": decision.source is Source.BUFFER,
            "buffer_status": decision.details["buffer"],
            **decision.details,
        }
        return int(decision.action), response


def screen_of(env: gymnasium.Env[Any, Any]) -> np.ndarray:
    """What ``env`` shows now, uint8 ``(H, W, 3)``; ``ConfigError`` where it shows nothing."""
    shown = env.render() if env.render_mode == "rgb_array" else None
    emulator = getattr(env.unwrapped, "ale", None)
    if shown is None and emulator is not None:
        shown = emulator.getScreenRGB()
    if shown is None:
        raise ConfigError("generate_response looks at env: make it with render_mode='rgb_array'")
    return np.asarray(shown)


def _named(model_name: str | None, model: str | None) -> VLM:
    """The VLM of a family and an id, whichever of the two is which."""
    first, second = (model_name, model) if model_name is not None else (model, None)
    assert first is not None
    family, known = first, {*SOURCE_MODELS, *known_names()}
    if family not in known and second in known:
        family, second = str(second), family
    return load_vlm(SOURCE_MODELS.get(family, family), model=None if second in known else second)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(
            f"there is no picture {path}; a folder is made if need be, a picture is not"
        )
    with PILImage.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _write(folder: Path, text: str) -> None:
    """Add ``text`` to the replies of a run's folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RESPONSES).exists():
        open_new(folder / RESPONSES).close()
    append(folder / RESPONSES, text)
