"""``tune merge``: whole weights, in a folder that loads as any checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.runs.terminal import messages, results
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.options import MergeOptions
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.adapter import Adapter, attach, check_base, read_adapter
from atari_vlm.vlm.local.checkpoint_folder import FILES, read_object
from atari_vlm.vlm.local.loading import no_progress_bars
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import NEW, new_player

_WEIGHTS = (".safetensors", ".index.json")


def merge(options: MergeOptions) -> int:
    """Write base and adapter as one checkpoint into ``--out``, which must be new; returns the exit code."""
    adapter = read_adapter(options.adapter)
    local = LocalOptions(device="cpu", dtype=options.dtype, offline=options.offline)
    if options.out.exists():
        raise ConfigError(f"{options.out} exists already: --out names a new folder")
    with _base_folder(adapter, options.model, local) as folder:
        config = read_object(folder / "config.json")
        check_base(adapter, adapter.card.base, options.model, folder, str(config.get("model_type")))
        base = load_base(adapter.card.base, options.model, local, folder)
        network = attach(adapter, base.network, merge=True)
        if adapter.config.get("modules_to_save"):  # embeddings and head were trained apart
            network.config.tie_word_embeddings = False
            network.config.get_text_config().tie_word_embeddings = False
        write_whole(network, folder, options.out)
    messages().print(f"play with it: --vlm {adapter.card.base} --model {options.out}")
    results().print(str(options.out))
    return 0


def write_whole(network: object, folder: Path, out: Path) -> None:
    """Write the checkpoint ``out``, whole or not at all: the network's weights, and what else lies in its base's folder."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write(network, folder, unfinished)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(network: object, folder: Path, out: Path) -> None:
    """The weights, and everything else of the base as it is."""
    with no_progress_bars():
        network.save_pretrained(out)  # type: ignore[attr-defined]
    for pattern in FILES:
        for file in folder.glob(pattern):
            if not file.name.endswith(_WEIGHTS) and not (out / file.name).exists():
                shutil.copyfile(file, out / file.name)


@contextmanager
def _base_folder(adapter: Adapter, model: str, options: LocalOptions) -> Iterator[Path]:
    if model != NEW:
        folder = weights.find_folder(model, options)
        weights.check_weights(model, folder)
        yield folder
        return
    if adapter.card.model != NEW:
        raise ConfigError(
            f"the adapter {adapter.folder} was not made for a model from nothing: --model names its base, "
            f"{adapter.card.model!r:.200} where it was made"
        )
    with new_player(adapter.card.seed) as folder:
        yield folder
