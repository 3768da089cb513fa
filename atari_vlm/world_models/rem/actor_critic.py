"""The actor-critic that plays and learns in imagination.

It reads the tokenizer's code map (REM's latent actor-critic) or the decoded frame, keeps an LSTM, and after each action takes in
that action through a second LSTM tick.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.world_models.learned.heads import Categorical, ScalarValue, SymlogTwoHot
from atari_vlm.world_models.rem.settings import RemConfig

Memory = tuple[Tensor, Tensor]  # LSTM h and c, each (B, width)


class Standardise(nn.Module):
    """Bring features ``(B, W)`` of each row to mean 0 and variance 1; no parameters.

    Code vectors may be short (their length is the tokenizer's affair) and differ in a few of 64 places: without this and
    :func:`_variance_preserving` what differs between two frames is lost in the biases and the eye goes blind.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return functional.layer_norm(x, x.shape[-1:])


def _variance_preserving(eye: nn.Sequential) -> nn.Sequential:
    """Draw the weights as He et al. (2015, arXiv 1502.01852) do, biases zero."""
    for layer in eye:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return eye


def _latent_eye(config: RemConfig) -> nn.Sequential:
    a, t = config.actor_critic, config.tokenizer
    first, second = a.conv_channels
    return nn.Sequential(
        nn.Conv2d(t.code_dim, first, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(second * t.num_tokens, a.width),
        nn.SiLU(),
        Standardise(),
    )


def _pixel_eye(config: RemConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide_in, wide_out in ((3, 32), (32, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(wide_in, wide_out, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
    pixels = 64 * (config.tokenizer.frame_px // 16) ** 2
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(pixels, config.actor_critic.width),
        nn.ReLU(),
        Standardise(),
    )


class ActorCritic(nn.Module):
    """An :class:`~atari_vlm.world_models.learned.learner.Actor`; what it sees is a picture
    ``(B, C, h, w)``, its memory that of an LSTM.
    """

    def __init__(self, config: RemConfig):
        super().__init__()
        a = config.actor_critic
        self.config = a
        self.eye = _variance_preserving(
            _latent_eye(config) if a.view == "latent" else _pixel_eye(config)
        )
        self.memory = nn.LSTMCell(a.width, a.width)
        self.action_embedding = nn.Embedding(config.num_actions, a.width)
        self.value = ScalarValue() if a.value == "scalar" else SymlogTwoHot(a.value_bins)
        self.policy_head = nn.Linear(a.width, config.num_actions)
        self.value_head = nn.Linear(a.width, self.value.size)
        for head in (self.policy_head, self.value_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        if isinstance(self.value, SymlogTwoHot):
            self.value.begin(self.value_head)

    def begin(self, rows: int) -> Memory:
        """Zeros, two of ``(B, width)``."""
        zeros = self.policy_head.weight.new_zeros(rows, self.config.width)
        return zeros, zeros.clone()

    def observe(self, features: Tensor, memory: Memory) -> tuple[Categorical, Tensor, Memory]:
        """The policy ``(B, A)``, value outputs ``(B, .)``, and the memory after this picture."""
        memory = self.memory(self.eye(features), memory)
        return Categorical(self.policy_head(memory[0])), self.value_head(memory[0]), memory

    def executed(self, action: Tensor, memory: Memory) -> Memory:
        """The memory after being told the executed actions int64 ``(B,)``."""
        return cast(Memory, self.memory(self.action_embedding(action), memory))
