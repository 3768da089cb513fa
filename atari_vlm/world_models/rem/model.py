"""REM behind the ``WorldModel`` protocol: what planners, dreams and the actor-critic step."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from atari_vlm.errors import CheckpointError, ConfigError, UnknownNameError
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.learned.heads import categorical
from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.config import RemConfig
from atari_vlm.world_models.rem.decoding import FrameDecoder
from atari_vlm.world_models.rem.policy import RemPolicy
from atari_vlm.world_models.rem.stepper import Stepper
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel


@dataclass(frozen=True)
class RemState:
    """``memory`` float ``(B, L, H, D, D)``: the retention state after the last action; ``tokens`` int64 ``(B, K)``: the present
    frame.
    """

    memory: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class RemOptions:
    """How a trained REM is run. ``precision`` is ``"f32"`` or ``"bf16"``; ``temperature`` of all draws, 0 is greedy."""

    device: str = "cpu"
    precision: str = "f32"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.precision not in ("f32", "bf16"):
            raise ConfigError(f"precision is f32 or bf16, got {self.precision!r}")
        if self.temperature < 0:
            raise ConfigError(f"temperature must not be negative, got {self.temperature!r}")


@dataclass(frozen=True)
class RemSetting:
    """The conditions a REM was trained under; they travel with its checkpoint."""

    action_names: tuple[str, ...]
    frame_skip: int = 4
    reward_transform: str = "sign"
    start: StartFrames | None = None


class RemWorldModel:
    """A trained tokenizer and token world model. Implements :class:`~atari_vlm.world_models.base.WorldModel`.

    Observations are uint8 ``(frame_px, frame_px, 3)``. A dream begins from ``context_length`` frames. Steps and
    frames are made with the weights that the networks have when this is made.
    """

    context_length = 2

    def __init__(
        self,
        config: RemConfig,
        tokenizer: Tokenizer,
        network: TokenWorldModel,
        setting: RemSetting,
        options: RemOptions | None = None,
    ):
        self.config, self.setting, self.options = config, setting, options or RemOptions()
        device = torch.device(self.options.device)
        self.tokenizer, self.network = tokenizer.to(device).eval(), network.to(device).eval()
        dtype = torch.bfloat16 if self.options.precision == "bf16" else torch.float32
        self.stepper, self.decoder = Stepper(self.network, dtype), FrameDecoder(self.tokenizer, dtype)
        self.frame_skip, self.reward_transform = setting.frame_skip, setting.reward_transform
        self.action_names, self.start = setting.action_names, setting.start
        px = config.tokenizer.frame_px
        self.observation_space = gymnasium.spaces.Box(0, 255, (px, px, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(config.num_actions)

    def init(self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator) -> RemState:
        """Read frames uint8 ``(B, T, H, W, 3)`` and the actions ``(B, T - 1)`` between them."""
        with self._running():
            frames = torch.from_numpy(np.ascontiguousarray(observations)).to(self.options.device)
            return self.read_context(self.tokenizer.encode(frames), self._tensor(actions))

    def read_context(self, tokens: Tensor, actions: Tensor) -> RemState:
        """The state after tokens ``(B, T, K)`` joined by actions ``(B, T - 1)``."""
        memory = self.network.empty_state(len(tokens))
        for t in range(actions.shape[1]):
            memory, _, _ = self.network.read(memory, tokens[:, t], actions[:, t])
        return RemState(memory, tokens[:, -1])

    def step(self, state: RemState, action: np.ndarray, *, rng: np.random.Generator) -> ModelStep[RemState]:
        """Imagine one step: reward and end of the present block, then all tokens of the next frame at once.

        ``ConfigError`` for actions that the model does not have.
        """
        if ((action < 0) | (action >= self.action_space.n)).any():
            raise ConfigError(f"actions are 0 to {self.action_space.n - 1}, got {action}")
        generator = torch.Generator(self.options.device).manual_seed(int(rng.integers(2**62)))
        with self._running():
            following, reward, ended = self.imagine(state, self._tensor(action), generator)
        return ModelStep(following, reward.float().cpu().numpy(), ended.cpu().numpy())

    def imagine(self, state: RemState, action: Tensor, generator: torch.Generator) -> tuple[RemState, Tensor, Tensor]:
        """:meth:`step` on tensors: next state, reward float ``(B,)``, end bool ``(B,)``."""
        temperature = self.options.temperature
        imagined = self.stepper.step(state.memory, state.tokens, action)
        reward = self.network.reward.sample(imagined.reward, generator)
        ended = categorical(imagined.end, generator, temperature).bool()
        tokens = self.network.settle(imagined.tokens, imagined.memory, generator, temperature)
        return RemState(imagined.memory, tokens), reward, ended

    def decode(self, state: RemState) -> np.ndarray:
        """Frames uint8 ``(B, H, W, 3)``."""
        with self._running():
            frames: np.ndarray = self.decoder.decode(state.tokens).cpu().numpy()
        return frames

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self.options.device)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        with torch.inference_mode():
            if self.options.precision == "bf16":
                with torch.autocast(torch.device(self.options.device).type, torch.bfloat16):
                    yield
            else:
                yield


def load(checkpoint: Checkpoint, **options: Any) -> RemWorldModel:
    """The world model of a checkpoint. ``options`` are those of :class:`RemOptions`; ``CheckpointError`` for missing or other
    weights.
    """
    chosen, config = _options(options), RemConfig.from_dict(checkpoint.config.get("networks"))
    tokenizer, network = Tokenizer(config.tokenizer), TokenWorldModel(config)
    _fill(tokenizer, checkpoint, "tokenizer")
    _fill(network, checkpoint, "world_model")
    setting = RemSetting(
        tuple(checkpoint.config["action_names"]),
        checkpoint.config["frame_skip"],
        "sign" if config.world_model.reward == "sign" else "none",
        checkpoint.start,
    )
    return RemWorldModel(config, tokenizer, network, setting, chosen)


def load_policy(checkpoint: Checkpoint, device: str = "cpu") -> RemPolicy:
    """The player of a checkpoint: its tokenizer and actor-critic."""
    config = RemConfig.from_dict(checkpoint.config.get("networks"))
    tokenizer, actor = Tokenizer(config.tokenizer), ActorCritic(config)
    _fill(tokenizer, checkpoint, "tokenizer")
    _fill(actor, checkpoint, "actor_critic")
    return RemPolicy(tokenizer.to(device).eval(), actor.to(device).eval(), device)


def _options(options: dict[str, Any]) -> RemOptions:
    known = [field.name for field in dataclasses.fields(RemOptions)]
    for name in options:
        if name not in known:
            raise UnknownNameError("option of REM", name, known)
    return RemOptions(**options)


def _fill(network: torch.nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Put the arrays ``<name>.*`` into a network."""
    prefix = name + "."
    weights = {k[len(prefix) :]: torch.from_numpy(v) for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint's {name} does not fit its config: {error}") from error
