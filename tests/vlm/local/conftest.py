"""Tiny checkpoints and loaded models, one of each per test session."""

import numpy as np
import pytest

from atari_vlm.types import Image, Message

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """``tiny(family)``: the folder of its tiny checkpoint."""
    from atari_vlm.vlm.local.tiny import build_tiny

    built = {}

    def folder(family):
        if family not in built:
            built[family] = build_tiny(family, tmp_path_factory.mktemp("tiny") / family)
        return built[family]

    return folder


@pytest.fixture(scope="session")
def model(tiny):
    """``model(family, **options)``: a loaded TransformersVLM, shared by the tests that ask for the same one."""
    from atari_vlm.vlm.local.options import LocalOptions
    from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

    loaded = {}

    def load(family, **options):
        key = (family, *sorted(options.items()))
        if key not in loaded:
            options = {"device": "cpu", "offline": True, **options}
            loaded[key] = TransformersVLM(
                "qwen-vl", str(tiny(family)), options=LocalOptions(**options)
            )
        return loaded[key]

    yield load
    for vlm in loaded.values():
        vlm.close()


def picture(seed, height=210, width=160):
    """A picture like a screen: flat areas with hard edges."""
    blocks = np.random.default_rng(seed).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 7 // height, np.arange(width) * 5 // width
    return Image(blocks[rows][:, columns])


@pytest.fixture(scope="session")
def request_of():
    """``request_of(step)``: constant instructions and an example first, then the window of this step."""

    def messages(step, *, system="You play an Atari game. " * 8, window=2):
        return [
            Message.of("system", system),
            Message.of("user", picture(1000), "Example:\nGame: Pong\nStep: 4"),
            Message.of("assistant", "ACTION: RIGHT"),
            Message.of("user", *(picture(step * 10 + i) for i in range(window)), f"Step: {step}"),
        ]

    return messages
