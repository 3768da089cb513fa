"""The sizes of a DreamerV3 and its presets: today's official ones, and those of 2023."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from atari_vlm.errors import ConfigError, UnknownNameError, check_count, check_positive
from atari_vlm.settings import with_changes

GENERATIONS = ("nature", "2023")
MOST_TOKENS = 1 << 14  # of a text
MOST_WIDE, MOST_LAYERS = 1 << 24, 1 << 10  # of networks


@dataclass(frozen=True)
class LoraConfig:
    """Adapters of a core, see :func:`~atari_vlm.world_models.dreamer.lora.add_lora`; ``train_base`` leaves the core itself free
    to learn too.
    """

    rank: int = 8
    alpha: float = 32.0
    targets: tuple[str, ...] = ("in_proj", "x_proj", "dt_proj", "out_proj")
    train_base: bool = False


@dataclass(frozen=True)
class LanguageConfig:
    """How texts are read: ``tokenizer`` ``"bytes"``, ``"words"`` (of ``words``) or a language model's folder or id; ``tokens`` a
    step, or all of the first ``longest`` of a text ``at_once``; each a vector of ``width``, or the core's language model's.

    ``described`` stands in checkpoints, for which no folder is needed: the tokenizer as plain data.
    """

    tokenizer: str = "bytes"
    words: tuple[str, ...] = ()
    tokens: int = 1
    longest: int = 64
    at_once: bool = False
    width: int = 64
    described: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_count(tokens=self.tokens, longest=self.longest, width=self.width)
        if self.longest > MOST_TOKENS:
            raise ConfigError(f"longest is at most {MOST_TOKENS} tokens, got {self.longest}")


def _check_sizes(**sizes: Any) -> None:
    """``ConfigError`` for sizes that are those of no networks: they may be a stranger's."""
    for name, size in sizes.items():
        most = MOST_LAYERS if name == "layers" else MOST_WIDE
        if isinstance(size, int) and size > most:
            raise ConfigError(f"{name} is at most {most}, got {size!r:.40}")


@dataclass(frozen=True)
class CoreConfig:
    """What carries the memory: ``kind`` of :func:`~atari_vlm.world_models.dreamer.cores.make_core`, with ``sizes`` of its own.

    ``seq_len`` positions are read per step of the game, the last of which gives the output.
    """

    kind: str = "block_gru"
    seq_len: int = 1
    sizes: Mapping[str, Any] = field(default_factory=dict)
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        check_positive(seq_len=self.seq_len)
        _check_sizes(seq_len=self.seq_len, **self.sizes)


@dataclass(frozen=True)
class KeysConfig:
    """Which inputs are read (``encoder``) and shown again (``decoder``); None: all of their kind, an empty tuple: none."""

    encoder: tuple[str, ...] | None = None
    decoder: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.encoder is not None and self.decoder is not None:
            if missing := [key for key in self.decoder if key not in self.encoder]:
                raise ConfigError(
                    f"what is shown is read first: {', '.join(missing)} is in decoder, not in encoder, which has "
                    f"{', '.join(self.encoder) or 'nothing'}"
                )


@dataclass(frozen=True)
class DreamerConfig:
    """The networks' sizes (Hafner et al. 2025, table of model sizes).

    ``deter`` is the width of the core's output, ``groups`` x ``classes`` the latent z; ``hidden`` is the width of what leads to
    them (``posterior_hidden`` that of the posterior, where it is another), ``units`` that of the heads and of the vectors'
    encoder; ``depth`` times (2, 3, 4, 4) are the channels of the picture stages, each of which halves an edge of ``frame_px``.
    ``posterior``: whether z is seen in the observation alone, which lets a whole sequence be read at once, or also in the core's
    output (``"coupled"``, the papers' RSSM). ``unimix`` is the uniform share of z's classes, ``actor_unimix`` that of the actions
    (the papers' 0.01; the official program applies none). ``fall_off``: by how many nats a unit of symlog beyond 3 the bins of
    rewards and values begin less likely; at 0, the official start, rounding alone moves the first means, as the bins reach to
    +-4.85e8. ``spread``: the standard deviation with which the biases of the vectors' first layer begin; at 0, the official
    start, the norm behind that layer leaves of a vector its direction and not its length.
    ``generation`` ``"2023"`` has the layers of arXiv 2301.04104v1: LayerNorm, strided convolutions, learned start, symlog bins.
    """

    core: CoreConfig = field(default_factory=CoreConfig)
    posterior: Literal["observation", "coupled"] = "coupled"
    deter: int = 8192
    hidden: int = 1024
    posterior_hidden: int | None = None
    groups: int = 32
    classes: int = 64
    depth: int = 64
    units: int = 1024
    layers: int = 3
    frame_px: int = 64
    unimix: float = 0.01
    actor_unimix: float = 0.01
    bins: int = 255
    fall_off: float = 0.0
    spread: float = 0.0
    horizon: float = 333.0
    generation: Literal["nature", "2023"] = "nature"
    cnn_keys: KeysConfig = field(default_factory=KeysConfig)
    mlp_keys: KeysConfig = field(default_factory=KeysConfig)
    text_keys: KeysConfig = field(default_factory=KeysConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)

    def __post_init__(self) -> None:
        if self.generation not in GENERATIONS:
            raise UnknownNameError("generation of DreamerV3", self.generation, GENERATIONS)
        if self.posterior not in ("observation", "coupled"):
            raise UnknownNameError("posterior", self.posterior, ("observation", "coupled"))
        check_positive(deter=self.deter, hidden=self.hidden, groups=self.groups, depth=self.depth)
        check_positive(units=self.units, layers=self.layers, frame_px=self.frame_px)
        sizes = {n: v for n, v in vars(self).items() if type(v) is int}
        _check_sizes(**sizes)
        if self.frame_px % 16:
            raise ConfigError(
                f"frame_px is a multiple of 16 (it is halved four times), got {self.frame_px}"
            )
        if self.fall_off < 0 or (self.fall_off and self.generation == "2023"):
            raise ConfigError(
                f"fall_off is 0 or more nats, and 0 for the bins of 2023, got {self.fall_off!r}"
            )
        if self.spread < 0 or (self.spread and self.generation == "2023"):
            raise ConfigError(
                f"spread is 0 or more, and 0 for the layers of 2023, got {self.spread!r}"
            )
        if self.classes < 2 or self.bins < 3 or self.bins % 2 == 0 or self.horizon <= 1:
            raise ConfigError(
                f"classes >= 2, an odd number of bins and horizon > 1 are needed, got {self}"
            )
        for name in ("unimix", "actor_unimix"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is a share from 0 to below 1, got {getattr(self, name)!r}"
                )

    @property
    def latent(self) -> int:
        """Floats of z, a one-hot vector per group."""
        return self.groups * self.classes

    @property
    def features(self) -> int:
        """Floats that the heads see: z and the core's output."""
        return self.latent + self.deter

    @property
    def goes_on(self) -> float:
        """The chance to go on that a step without an end has: the discount is learned as part of it."""
        return 1 - 1 / self.horizon

    @classmethod
    def from_dict(cls, data: Any) -> DreamerConfig:
        """The inverse of ``dataclasses.asdict``; ``ConfigError`` for anything else."""
        if not isinstance(data, Mapping) or "deter" not in data:
            raise ConfigError(f"Dreamer's sizes are {', '.join(vars(cls()))}; got {data!r}")
        sizes: DreamerConfig = with_changes(cls(), dict(data), "Dreamer's sizes")
        return sizes


def _sized(deter: int, hidden: int, classes: int, depth: int, **others: Any) -> DreamerConfig:
    return DreamerConfig(
        deter=deter, hidden=hidden, classes=classes, depth=depth, units=hidden, **others
    )


def _of_2023(units: int, layers: int, depth: int, deter: int, hidden: int) -> DreamerConfig:
    return DreamerConfig(
        core=CoreConfig("gru", sizes={"hidden": units, "learned_start": True}),
        deter=deter, hidden=hidden, classes=32, depth=depth, units=units, layers=layers, generation="2023",
    )  # fmt: skip


_PRESETS: dict[str, DreamerConfig] = {
    "tiny": _sized(128, 32, 8, 4, groups=8),
    "1m": _sized(512, 64, 4, 4),
    "12m": _sized(2048, 256, 16, 16),
    "25m": _sized(3072, 384, 24, 24),
    "50m": _sized(4096, 512, 32, 32),
    "100m": _sized(6144, 768, 48, 48),
    "200m": _sized(8192, 1024, 64, 64),
    "400m": _sized(12288, 1536, 96, 96),
    "xs": _of_2023(256, 1, 24, 256, 256),
    "s": _of_2023(512, 2, 32, 512, 512),
    "m": _of_2023(640, 3, 48, 1024, 640),
    "l": _of_2023(768, 4, 64, 2048, 768),
    "xl": _of_2023(1024, 5, 96, 4096, 1024),
}
PRESETS = tuple(_PRESETS)


def preset(name: str) -> DreamerConfig:
    """The sizes of a name: ``tiny`` for one CPU core, ``1m`` to ``400m``, ``xs`` to ``xl`` of 2023.

    ``UnknownNameError`` for any other.
    """
    if name not in _PRESETS:
        raise UnknownNameError("Dreamer preset", name, _PRESETS)
    return _PRESETS[name]


def as_dict(config: DreamerConfig) -> dict[str, Any]:
    """Plain data."""
    return dataclasses.asdict(config)
