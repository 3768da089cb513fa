"""Speed of REM on a CPU core: against a plain eager implementation of the same equations with the same weights.

The plain one does what a first implementation does: rotations and decay masks made anew in every call, four projections, every
layer for every token, prediction tokens repeated for each row. ``sampling token by token`` predicts a frame's tokens one after
the other with an equally large network, which parallel observation prediction replaces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from atari_vlm.bench.measure import Case, Unit
from atari_vlm.errors import NotSupportedError
from atari_vlm.training.rem_learner import RemLearner
from atari_vlm.training.rem_settings import preset
from atari_vlm.training.replay_buffer import ReplayBuffer, ReplayConfig
from atari_vlm.world_models.rem.model import RemOptions, RemSetting, RemState, RemWorldModel
from atari_vlm.world_models.rem.retention import rotate, token_decays
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel

GOALS = {"f32": {1: 1.5, 8: 1.1, 64: 1.1}, "bf16": {1: 3.0, 8: 2.2, 64: 2.1}}


def cases(peers: dict[str, str]) -> list[Case]:
    """Imagination, decoding, parallel prediction, and the actor-critic's update, all of preset ``rem``."""
    if peers:
        raise NotSupportedError("bench world-model has no adapter for a peer's own code yet: leave --peer out")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset("rem", 4).networks
    tokenizer, network = Tokenizer(config.tokenizer).eval(), TokenWorldModel(config).eval()
    network.use_codes(torch.randn_like(network.codes))
    setting = RemSetting(("NOOP", "FIRE", "RIGHT", "LEFT"))
    models = {
        precision: RemWorldModel(config, tokenizer, network, setting, RemOptions(precision=precision))
        for precision in ("f32", "bf16")
    }
    found = [_imagination(models[precision], precision, rows) for precision in GOALS for rows in (1, 8, 64)]
    found += [_decoding(models["f32"], "f32", 1.5), _decoding(models["bf16"], "bf16", 3.0)]
    return [*found, _parallel_prediction(network), _cached_frames()]


def _imagination(model: RemWorldModel, precision: str, rows: int) -> Case:
    state = _state(model.network, rows)
    action, plain = np.zeros(rows, np.int64), Plain(model.network)
    rng = np.random.default_rng(0)
    return Case(
        f"imagination step, {precision}, batch {rows}",
        "plain eager f32",
        lambda: model.step(state, action, rng=rng),
        lambda: plain.step(state.memory, state.tokens, torch.from_numpy(action)),
        GOALS[precision][rows],
        note="read 65 tokens, reward, end, and the next frame's 64 tokens",
    )


def _decoding(model: RemWorldModel, precision: str, goal: float) -> Case:
    state = _state(model.network, 64)

    def peer() -> np.ndarray:
        with torch.no_grad():
            pixels = model.tokenizer.decoder(model.tokenizer.code_map(state.tokens).contiguous())
            return ((pixels + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    name = f"decode, {precision}, batch 64"
    return Case(name, "plain eager f32", lambda: model.decode(state), peer, goal, note="tokens to frames 64 x 64")


def _parallel_prediction(network: TokenWorldModel) -> Case:
    state = _state(network, 8).memory

    @torch.no_grad()
    def token_by_token() -> Tensor:
        memory, token = state, network.prediction_tokens[None, :1].expand(8, 1, -1)
        for _ in range(network.num_tokens):
            following = []
            x = token
            for i, layer in enumerate(network.layers):
                x, after = layer.chunk(x, memory[:, i], keep_state=True)  # type: ignore[operator]
                following.append(after)
            memory = torch.stack(following, 1)
            drawn = torch.multinomial(network.token_head(x[:, 0]).softmax(-1), 1)
            token = functional.embedding(drawn, network.codes)
        return token

    @torch.no_grad()
    def parallel() -> Tensor:
        return network.draw_frame(state, None)

    note = "64 tokens of a frame, batch 8, the same network"
    return Case("parallel prediction of a frame", "sampling token by token", parallel, token_by_token, 4.6, note=note)


def _cached_frames() -> Case:
    """The actor-critic's update (preset rem, 16 rollouts) where the replay's frames are known, and where all are encoded."""
    settings = preset("rem", 4)
    replay = ReplayBuffer(ReplayConfig(400, 64))
    rng = np.random.default_rng(0)
    for n in range(300):
        replay.add(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), n % 4, 0.0, n % 100 == 99, False)
    learner = RemLearner(settings, replay, 0)
    learner.cache.read(replay.any_slots(3000, rng), learner.networks.tokenizer, 0, "cpu")
    return Case(
        "actor-critic update, frames encoded once",
        "frames encoded at every use",
        _update(learner, encode=False),
        _update(learner, encode=True),
        1.8,
        note="16 rollouts of 9 decisions after 20 steps of burn-in",
    )


def _update(learner: RemLearner, *, encode: bool) -> Unit:
    replay, tokenizer = learner.replay, learner.networks.tokenizer

    def work() -> None:
        if encode:
            history = replay.histories(16, learner.settings.actor_critic.burn_in + 1, learner.rng)
            tokenizer.encode(torch.from_numpy(replay.frames(history.slots)))
        learner.improve_actor_critic(16)

    return work


def _state(network: TokenWorldModel, rows: int) -> RemState:
    tokens = torch.randint(512, (rows, network.num_tokens))
    with torch.no_grad():
        memory, _, _ = network.read(network.empty_state(rows), tokens, torch.zeros(rows, dtype=torch.long))
    return RemState(memory, tokens)


class Plain:
    """A step of imagination straight from the equations."""

    def __init__(self, network: TokenWorldModel):
        self.network = network

    @torch.no_grad()
    def step(self, memory: Tensor, tokens: Tensor, actions: Tensor) -> Any:
        """The state after a block, reward and end logits, and the next frame's tokens."""
        n = self.network
        x, after = n.embed(tokens, actions), []
        for i, layer in enumerate(n.layers):
            x, state = self._layer(layer, x, memory[:, i])
            after.append(state)
        reward, end = n.reward_head(x[:, -1]), n.end_head(x[:, -1])
        ahead = n.prediction_tokens.expand(len(tokens), -1, -1).contiguous()
        for i, layer in enumerate(n.layers):
            ahead, _ = self._layer(layer, ahead, after[i])
        probabilities = n.token_head(ahead).softmax(-1)
        drawn = torch.multinomial(probabilities.flatten(0, 1), 1)
        return torch.stack(after, 1), reward, end, drawn

    def _layer(self, layer: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        r, heads, dim = layer.retention, layer.retention.num_heads, layer.retention.head_dim
        normed = layer.retention_norm(x)
        parts = zip(r.qkvg.weight.chunk(4), r.qkvg.bias.chunk(4), strict=True)
        q, k, v, gate = (functional.linear(normed, weight, bias) for weight, bias in parts)
        q, k, v = (y.unflatten(-1, (heads, dim)).transpose(-3, -2) for y in (q, k, v))
        length = x.shape[1]
        place = torch.arange(length + 1, dtype=torch.float64)
        frequency = (10000.0 ** -torch.linspace(0, 1, dim // 2, dtype=torch.float64)).repeat_interleave(2)
        cos, sin = ((place[:, None] * frequency).cos().float(), (place[:, None] * frequency).sin().float())
        decays = token_decays(heads)
        gap = (place[:length, None] - place[None, :length]).clamp(min=0)
        mask = (decays[:, None, None] ** gap).tril().float()
        power = (decays[:, None] ** place).float()
        q, k = rotate(q, cos[:length], sin[:length]), rotate(k * dim**-0.5, cos[:length], sin[:length])
        retained = (q @ k.transpose(-1, -2) * mask) @ v + (q @ state) * power[:, :length, None]
        added = k.transpose(-1, -2) @ (v * power[:, 1:].flip(-1)[..., None]) + state * power[:, length, None, None]
        after = rotate(added.transpose(-1, -2), cos[length], -sin[length]).transpose(-1, -2)
        return layer.feed(x + r.finish(retained, gate)), after
