"""What runs did before the house was moved, and do still: ``python before_the_moves.py FOLDER`` writes it down anew.

Numbers are equal to the bit only where the same instructions compute them: :data:`PLAIN` takes the fast paths of one processor
out, and :func:`fingerprint` tells whether a machine rounds as the one that wrote the data did.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "before"
PLAIN = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(
        [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    ).rstrip(os.pathsep),
}
REM = [
    "rem",
    "--game",
    "small_catch:SmallCatch-v0",
    "--preset",
    "tiny",
    "--seed",
    "3",
]
REM += ["--threads", "1", "--run-name", "run", "--config", str(DATA / "small_catch.yaml")]
SCRIPTED = [
    "--vlm",
    "scripted",
    "--use-icl",
    "--game",
    "Breakout-v5",
    "--num-episodes",
    "3",
]
SCRIPTED += ["--num-eval-episodes", "2", "--max-steps", "60", "--seed", "4", "--run-name", "run"]
ADDED = {
    "replay.checksum.image",
    "replay.shape.image.uint8",
}  # checkpoints tell now which pictures they know
ROUNDING = """
import hashlib, torch
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
a, b = torch.randn(37, 65, generator=draw), torch.randn(65, 41, generator=draw)
picture, kernel = torch.randn(2, 3, 20, 20, generator=draw), torch.randn(8, 3, 3, 3, generator=draw)
parts = [a @ b, torch.nn.functional.conv2d(picture, kernel), a.exp().log_softmax(-1), a.sum(0), torch.nn.functional.gelu(a)]
print(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
"""
DREAMS = """
import json, sys
from atari_vlm import dream

for words in map(json.loads, sys.argv[1:]):
    assert dream.main(words) == 0
"""


def python(*words, ranks=1):
    """Run a program of the package; its output."""
    several = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *several, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **PLAIN},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def dreams(*lines):
    """``dream`` with each of these words, one after the other in one process; how this machine rounds."""
    words = [json.dumps([*map(str, line)]) for line in lines]
    return python("-c", ROUNDING + DREAMS, *words).splitlines()[0]


def on_amd():
    """Whether the processor says that AMD made it."""
    about = Path("/proc/cpuinfo")
    return about.is_file() and "AuthenticAMD" in about.read_text()


def rem_facts(run):
    """What a run of small Catch left behind: metrics without seconds, and the SHA-256 of every array of its newest checkpoint
    and model.
    """
    from atari_vlm.world_models.checkpoint import read_checkpoint

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = {
        "checkpoint": read_checkpoint(run / "checkpoints" / "epoch-000003"),
        "model": read_checkpoint(run / "model"),
    }
    return {
        "metrics": [
            {name: value for name, value in line.items() if not name.endswith("seconds")}
            for line in lines
        ],
        "arrays": {
            f"{part}:{name}": hashlib.sha256(array.tobytes()).hexdigest()
            for part, checkpoint in kept.items()
            for name, array in checkpoint.tensors.items()
            if name not in ADDED
        },
    }


def scripted_run(folder):
    """A scripted training run with learning in context."""
    from atari_vlm import train

    assert train.main([*SCRIPTED, "--save-dir", str(folder)]) == 0
    return scripted_facts(folder / "run")


def scripted_facts(run):
    """Its journal without clocks: episodes as they are, the SHA-256 of every step and call; pictures by their pixels, since
    PNG files of equal pictures differ between encoders.
    """
    from training_helpers import contents

    journal = contents(run / "journal.sqlite")
    return {
        "groups": [
            {name: value for name, value in group.items() if name not in ("memory", "shown")}
            for group in journal["meta"]["groups"]
        ],
        "episodes": [vars(row) for row in journal["episodes"]],
        "steps": [_digest(vars(row)) for row in journal["steps"]],
        "calls": [_digest(call) for call in _by_pixels(journal["calls"], run)],
    }


def _by_pixels(calls, run):
    """Calls with the pixels' SHA-256 in place of the PNG's."""
    from atari_vlm.agents.in_context.demonstrations import decode
    from atari_vlm.runs.journal import Journal

    with Journal(run / "journal.sqlite", read_only=True) as journal:

        def part(kind, sha):
            return [kind, decode(journal.blob(sha)).digest if kind == "image" else sha]

        for *facts, request, reply in calls:
            messages = [
                [role, [part(*item) for item in parts]] for role, parts in json.loads(request)
            ]
            yield [*facts, messages, reply]


def _digest(row):
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    out = Path(sys.argv[1])
    facts = {"fingerprint": dreams([*REM, "--save-dir", out / "one"])}
    python("-m", "atari_vlm.dream", *REM, "--save-dir", out / "two", ranks=2)
    facts |= {name: rem_facts(out / name / "run") for name in ("one", "two")}
    (DATA / "rem.json").write_text(json.dumps(facts, indent=1) + "\n")
    (DATA / "scripted.json").write_text(json.dumps(scripted_run(out / "scripted"), indent=1) + "\n")
