"""REM's own code (github leor-c/REM) as a peer: imported from a checkout, never contained.

``PATH`` is a checkout of that repository. Its world model needs the packages in :data:`NEEDED`; what it only mentions in code
that is not measured (``gym`` 0.22, ``torchvision``) is replaced by an empty stand-in while its modules are imported, and a name
that torch has dropped is put back. Its modules have common names (``models``, ``utils``): they leave ``sys.modules`` again.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.rem.settings import RemConfig
from atari_vlm.world_models.rem.world_model import TokenWorldModel

NEEDED = {"yet_another_retnet": "yet-another-retnet>=0.5", "einops": "einops", "loguru": "loguru"}
ONLY_MENTIONED = (
    "gym",
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "requests",
)


class _Named(type):
    """Any attribute of such a class is the class again: enough for annotations, base classes and constants."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Anything(metaclass=_Named):
    pass


class _StandIn(types.ModuleType):
    """A module that holds every name; it does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class RemPeer:
    """REM's networks with our sizes, on the CPU, with randomly drawn weights.

    ``ConfigError`` where its code is not at ``path``, or where packages that it needs are not installed.
    """

    def __init__(self, path: str, config: RemConfig):
        self.config = config
        with _imports(Path(path)) as module:
            models, nets, world = (
                module("models.world_model"),
                module("models.tokenizer.nets"),
                module("models"),
            )
            tokenizers, actors = module("models.tokenizer"), module("models.actor_critic")
            self.environment = module("envs.world_model_env").POPRetNetWorldModelEnv
        t, w = config.tokenizer, config.world_model
        sizes = nets.SimpleEncoderConfig(
            in_channels=3, out_channels=t.code_dim, out_channels_1st_layer=t.channels[0],
            input_resolution=(t.frame_px, t.frame_px), num_downsample_steps=len(t.channels) - 1, norm_num_groups=8,
            downsample_use_conv=True,
        )  # fmt: skip
        self.tokenizer = tokenizers.Tokenizer(
            t.num_codes,
            t.code_dim,
            "",
            nets.SimpleEncoder(sizes),
            nets.SimpleDecoder(sizes),
            with_lpips=False,
        ).eval()
        retnet = world.RetNetConfig(
            tokens_per_block=t.num_tokens + 1, max_blocks=10, num_layers=w.num_layers, num_heads=w.num_heads,
            embed_dim=w.width, dropout=w.dropout, blocks_per_chunk=3,
        )  # fmt: skip
        self.world_model = models.POPRetNetWorldModel(
            t.num_codes, config.num_actions, retnet, context_length=2
        ).eval()
        self.actor = actors.ActorCriticLS(config.num_actions, t.code_dim, t.num_tokens)
        self.optimizer = torch.optim.AdamW(self.actor.parameters(), lr=1e-4)

    def dream(self, rows: int) -> Any:
        """REM's environment inside its world model after two frames and one step, ready for :meth:`imagination`."""
        dream = self.environment(self.tokenizer, self.world_model, "cpu")
        k = self.config.tokenizer.num_tokens
        context = torch.randint(self.config.tokenizer.num_codes, (rows, 2 * k + 1))
        context[:, k] = (
            self.config.tokenizer.num_codes
        )  # the action between the frames, as REM numbers it
        dream.reset_from_initial_observations(context, return_tokens=True)
        dream.step(torch.zeros(rows, dtype=torch.int64), return_tokens=True)
        return dream

    def imagination(self, rows: int) -> Callable[[], Any]:
        """One step of imagination as REM's actor-critic asks for it: tokens, no pixels."""
        dream, actions = self.dream(rows), torch.zeros(rows, dtype=torch.int64)
        return lambda: dream.step(actions, return_tokens=True)

    def decoding(self, rows: int) -> Callable[[], Any]:
        """Frames of the present tokens, as REM's environment gives them."""
        return self.dream(rows).decode_obs_tokens  # type: ignore[no-any-return]

    def actor_critic_update(
        self, frames: Tensor, actions: Tensor, mask: Tensor
    ) -> Callable[[], None]:
        """REM's loss on segments (frames float ``(B, T, 3, H, W)`` in [0, 1], ``(B, T)`` each), gradients, clipping, AdamW."""
        batch = {"observations": frames, "actions": actions, "mask_padding": mask}

        def work() -> None:
            loss, _ = self.actor.compute_loss(
                batch, self.tokenizer, self.world_model, imagine_horizon=10, gamma=0.995, lambda_=0.95,
                entropy_weight=0.001,
            )  # fmt: skip
            self.optimizer.zero_grad()
            loss.loss_total.backward()
            nn.utils.clip_grad_norm_(self.actor.parameters(), 3.0)
            self.optimizer.step()

        return work

    @torch.no_grad()
    def difference(self, network: TokenWorldModel) -> float:
        """The largest difference of any logit when REM has our weights and both read the same three blocks."""
        self._take_weights(network)
        k, codes = network.num_tokens, len(network.codes)
        tokens, actions = (
            torch.randint(codes, (2, 3, k)),
            torch.randint(network.num_actions, (2, 3)),
        )
        theirs: dict[str, Any] = {}
        memory, largest = network.empty_state(2), 0.0
        for t in range(3):
            block = torch.cat([tokens[:, t], actions[:, t, None] + codes], 1)
            acted = self.world_model(block, incremental_state=theirs, tokenizer=self.tokenizer)[
                :, -1
            ]
            ahead = self.world_model.compute_next_obs_pred_latents(theirs)[0]
            memory, reward, end = network.read(memory, tokens[:, t], actions[:, t])
            pairs = (
                (self.world_model.head_rewards(acted), reward),
                (self.world_model.head_ends(acted), end),
                (self.world_model.head_observations(ahead), network.predict(memory)),
            )
            largest = max(largest, *(float((a - b).abs().max()) for a, b in pairs))
        return largest

    @torch.no_grad()
    def _take_weights(self, network: TokenWorldModel) -> None:
        """Give REM's world model and code book our weights, so that what the two compute can be compared."""
        theirs, codes = self.world_model, self.config.tokenizer.num_codes
        self.tokenizer.embedding.weight.copy_(network.codes)
        theirs.embedding.weight[codes : codes + self.config.num_actions].copy_(
            network.action_embedding.weight[:-1]
        )
        theirs.placeholder_embeddings.weight[:-1].copy_(network.prediction_tokens)
        modules: list[Any] = list(network.layers)
        for ours, layer in zip(modules, theirs._model.layers, strict=True):
            retention = ours.retention
            for i, name in enumerate("qkvg"):
                target = getattr(layer.retention, f"{name}_proj")
                target.weight.copy_(retention.qkvg.weight.chunk(4)[i])
                target.bias.copy_(retention.qkvg.bias.chunk(4)[i])
            _copy(layer.retention.out_proj, retention.out)
            for target, source in (
                (layer.norm1, ours.retention_norm),
                (layer.norm2, ours.ffn_norm),
            ):
                _copy(target, source)
                target.eps = source.eps
            _copy(layer.linear1, ours.ffn[0])
            _copy(layer.linear2, ours.ffn[2])
        _copy_head(theirs.head_observations, network.token_head)
        _copy_head(theirs.head_rewards, network.reward_head)
        _copy_head(theirs.head_ends, network.end_head)


def _copy(target: Any, source: Any) -> None:
    target.weight.copy_(source.weight)
    target.bias.copy_(source.bias)


def _copy_head(target: Any, source: Any) -> None:
    _copy(target[0], source[0])
    _copy(target[2], source[2])


@contextlib.contextmanager
def _imports(root: Path) -> Iterator[Callable[[str], Any]]:
    """Import modules of ``root/src`` within the block; ``ConfigError`` for what is not there."""
    source = root / "src"
    if not (source / "models" / "pop_retnet.py").is_file():
        raise ConfigError(
            f"--peer rem=PATH is a checkout of leor-c/REM; there is no {source / 'models/pop_retnet.py'}"
        )
    missing = [
        package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(
            f"REM's own code needs packages that are not installed: pip install {' '.join(missing)}"
        )
    before = dict(sys.modules)
    absent = {
        name for name in ONLY_MENTIONED if importlib.util.find_spec(name.split(".")[0]) is None
    }
    sys.modules.update({name: _StandIn(name) for name in absent})
    sys.path.insert(0, str(source))
    try:
        with _put_back(torch.utils.data.dataset, "T_co"):
            yield importlib.import_module
    finally:
        sys.path.remove(str(source))
        for name in set(sys.modules) - set(before):
            module = sys.modules[name]
            places = [
                getattr(module, "__file__", None) or "",
                *(getattr(module, "__path__", None) or []),
            ]
            if name in absent or any(place.startswith(str(source)) for place in places):
                del sys.modules[name]


@contextlib.contextmanager
def _put_back(module: Any, name: str) -> Iterator[None]:
    """A type variable that old code imports from ``module``, while it is imported."""
    there = hasattr(module, name)
    if not there:
        setattr(module, name, Any)
    try:
        yield
    finally:
        if not there:
            delattr(module, name)
