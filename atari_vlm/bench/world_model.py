"""Speed of REM on a CPU core: against REM's own code (``--peer rem=PATH``) and against a plain eager implementation.

All do the same work at the sizes of preset ``rem`` with 4 actions; with the peer that is checked first, with equal weights
(:meth:`~atari_vlm.bench.rem_peer.RemPeer.difference`). ``sampling token by token`` predicts a frame's tokens one after the other
with the same network, which parallel observation prediction replaces. Beside it stand the Mamba core
(:mod:`~atari_vlm.bench.cores`) and the Dreamer (:mod:`~atari_vlm.bench.dreamer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from atari_vlm.bench import cores, dreamer
from atari_vlm.bench.measure import Case, Unit
from atari_vlm.bench.plain_rem import PlainStepper
from atari_vlm.bench.random_rem import FACTS, random_rem
from atari_vlm.bench.rem_peer import NEEDED, RemPeer
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.experience.replay import Replay, picture_columns
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Workplace
from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem.learner import RemLearner
from atari_vlm.world_models.rem.model import RemState, RemWorldModel
from atari_vlm.world_models.rem.settings import preset
from atari_vlm.world_models.rem.stepper import Stepper
from atari_vlm.world_models.rem.world_model import TokenWorldModel

GOALS = {"f32": {1: 1.5, 8: 1.1, 64: 1.1}, "bf16": {1: 3.0, 8: 2.2, 64: 2.1}}
PEERS = ("rem", "sheeprl")
ROLLOUTS = 16
LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class _Other:
    """The other side of the comparison: its name, why its work is the same, and REM's networks if it is REM."""

    name: str
    alike: str
    peer: RemPeer | None = None


def cases(peers: dict[str, str]) -> list[Case]:
    """Imagination, decoding, parallel prediction, and the actor-critic's update, all of preset ``rem``; the Mamba core; and the
    Dreamer's learner.
    """
    for name in peers:
        if name not in PEERS:
            raise UnknownNameError("peer of bench world-model", name, PEERS)
    dreamers = dreamer.cases(peers.get("sheeprl"))
    f32, bf16 = random_rem("f32", "bf16")
    models, network = {"f32": f32, "bf16": bf16}, f32.network
    others = [_rem(path, network) for name, path in peers.items() if name == "rem"] + [
        _Other("plain eager", "the same equations and weights")
    ]
    learner = _learner()
    all_cases: list[Case] = []
    for other in others:
        all_cases += [
            _imagination(models[precision], rows, other)
            for precision in GOALS
            for rows in (1, 8, 64)
        ]
        all_cases += [
            _decoding(models["f32"], 1.5, other),
            _decoding(models["bf16"], 3.0, other),
            _update(learner, other),
        ]
    return [
        *all_cases,
        _encoded_once(learner),
        _parallel_prediction(network),
        *cores.cases({}),
        *dreamers,
    ]


def _rem(path: str, network: TokenWorldModel) -> _Other:
    peer = RemPeer(path, preset("rem", FACTS).networks)
    difference = peer.difference(network)
    if difference > LARGEST_DIFFERENCE:
        raise ConfigError(
            f"the code at {path} is another model: with equal weights its logits differ by {difference:.2g}"
        )
    alike = f"checked: with equal weights all logits agree within {LARGEST_DIFFERENCE:g} (needs {', '.join(NEEDED.values())})"
    return _Other("REM's own code", alike, peer)


def _imagination(model: RemWorldModel, rows: int, other: _Other) -> Case:
    state, precision, count = _state(model.network, rows), model.place.precision, max(1, 10 // rows)
    action, plain = np.zeros(rows, np.int64), PlainStepper(model.network)
    rng = np.random.default_rng(0)

    def plainly() -> object:
        return plain.draw(state.memory, state.tokens, torch.from_numpy(action))

    return Case(
        f"imagination step, {precision}, batch {rows}",
        f"{other.name}, f32",
        _times(count, lambda: model.step(state, action, rng=rng)),
        _times(count, other.peer.imagination(rows) if other.peer is not None else plainly),
        GOALS[precision][rows],
        count=count,
        note=f"against {other.name}: read 65 tokens, reward, end, and the next frame's 64 tokens drawn; {other.alike}; "
        "on one CPU core only, no GPU was at hand",
    )


def _times(count: int, work: Unit) -> Unit:
    def many() -> None:
        for _ in range(count):
            work()

    return many


def _decoding(model: RemWorldModel, goal: float, other: _Other) -> Case:
    state = _state(model.network, 64)

    def plain() -> np.ndarray:
        with torch.no_grad():
            pixels = model.tokenizer.decoder(model.tokenizer.code_map(state.tokens).contiguous())
            return ((pixels + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    name = f"decode, {model.place.precision}, batch 64"
    theirs = other.peer.decoding(64) if other.peer is not None else plain
    note = "64 tokens to a frame of 64 x 64; ours and the plain one's (torch's default memory layout) uint8, REM's left as floats"
    return Case(name, f"{other.name}, f32", lambda: model.decode(state), theirs, goal, note=note)


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
    return Case(
        "parallel prediction of a frame",
        "sampling token by token",
        parallel,
        token_by_token,
        4.6,
        note=note,
    )


def _learner() -> RemLearner:
    """A learner of preset ``rem`` whose replay's 300 frames are all encoded already."""
    replay = Replay(picture_columns((64, 64, 3)), 400)
    rng = np.random.default_rng(0)
    for n in range(300):
        picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        ends = {"terminated": n % 100 == 99, "truncated": False}
        replay.add({"image": picture, "action": n % 4, "reward": 0.0, **ends})
    workplace = Workplace(lambda columns: replay, Device(), Team(), seed=0)
    learner = RemLearner(preset("rem", FACTS), FACTS, workplace)
    learner.cache.read(replay.any_slots(3000, rng), learner.networks.tokenizer, 0, "cpu")
    return learner


def _update(learner: RemLearner, other: _Other) -> Case:
    note = f"{ROLLOUTS} rollouts of 9 decisions after 20 steps of burn-in, gradients, AdamW; our frames are encoded already"
    if other.peer is not None:
        theirs: Unit = other.peer.actor_critic_update(*_segments(learner))
        note += "; REM's batch is drawn beforehand, ours in each update; only ours tells the LSTM its actions in burn-in"
    else:
        theirs = _encoding(learner, cast(Stepper, PlainStepper(learner.networks.world_model)))
    name, peer_name = "actor-critic update, f32", f"{other.name}, f32"
    return Case(
        name, peer_name, lambda: learner.improve_actor_critic(ROLLOUTS), theirs, 1.8, note=note
    )


def _encoded_once(learner: RemLearner) -> Case:
    """What encoding once gives alone."""
    note = "the same update, with the same fast imagination on both sides"
    name, theirs = "actor-critic update, frames encoded once", "frames encoded at every use"
    return Case(
        name,
        theirs,
        lambda: learner.improve_actor_critic(ROLLOUTS),
        _encoding(learner),
        1.8,
        note=note,
    )


def _encoding(learner: RemLearner, stepper: Stepper | None = None) -> Unit:
    """An update as a learner without a cache does it: encode all frames of a batch first."""

    def work() -> None:
        history = learner.replay.histories(
            ROLLOUTS, learner.settings.actor_critic.burn_in + 1, learner.streams.rng
        )
        learner.networks.tokenizer.encode(
            torch.from_numpy(learner.replay.read("image", history.slots))
        )
        learner.improve_actor_critic(ROLLOUTS, stepper)

    return work


def _segments(learner: RemLearner) -> tuple[Tensor, Tensor, Tensor]:
    """A batch as REM's loader gives it: frames float ``(B, T, 3, 64, 64)`` in [0, 1], actions and mask ``(B, T)``."""
    history = learner.replay.histories(
        ROLLOUTS, learner.settings.actor_critic.burn_in + 1, learner.streams.rng
    )
    frames = (
        torch.from_numpy(learner.replay.read("image", history.slots))
        .movedim(-1, -3)
        .contiguous()
        .float()
        .div_(255)
    )
    actions = torch.from_numpy(learner.replay.read("action", history.slots)).long()
    return frames, actions, torch.from_numpy(history.mask)


def _state(network: TokenWorldModel, rows: int) -> RemState:
    tokens = torch.randint(512, (rows, network.num_tokens))
    with torch.no_grad():
        memory, _, _ = network.read(
            network.empty_state(rows), tokens, torch.zeros(rows, dtype=torch.long)
        )
    return RemState(memory, tokens)
