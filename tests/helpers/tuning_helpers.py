"""Small tuning runs of pixel Catch, and the numbers that they are compared by."""

import hashlib
import shutil

from atari_vlm.tune import main

SMALL = (
    *("--game", "Catch", "--from", "scripted", "--prompt-type", "basic", "--updates", "6"),
    *("--batch-size", "3", "--eval-every", "2", "--episodes", "2", "--held-out", "1"),
    *("--seed", "3", "--threads", "1", "--device", "cpu"),
)
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "atari_vlm.json")
WRITTEN = (*(f"adapter/{name}" for name in ADAPTER), "results.json", "metrics.jsonl")


def sft(folder, name, *words):
    """Train a few updates; the exit code."""
    return main(["sft", *SMALL, "--save-dir", str(folder), "--run-name", name, *words])


def digests(run):
    """What a run wrote, by file."""
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in WRITTEN}


def copy_of(folder, where):
    shutil.copytree(folder, where)
    return where
