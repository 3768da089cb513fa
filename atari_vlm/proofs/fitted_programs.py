"""Fit the weights of the programs of HalfCheetah and Humanoid that come with the package, and tell how right they are.

``python -m atari_vlm.proofs.fitted_programs`` plays both at random (extra ``mujoco``), fits the weights that stand at the end of
their files in ``--folder`` by least squares, and prints what the bundled programs foretell of further random play, that of
CartPole among them. ``--no-fit`` only does the latter.
"""

from __future__ import annotations

import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from atari_vlm.ending import program
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.files import atomic_write
from atari_vlm.scores.tables import table_lines
from atari_vlm.synthesis.benchmark.catalogue import find_env
from atari_vlm.synthesis.speed.measuring import Subject, computed_side, still_side
from atari_vlm.synthesis.subject import collected
from atari_vlm.vlm.scripted.programs import LESSONS

HEALTHY = {
    "half_cheetah": 0.0,
    "humanoid": 5.0,
}  # the reward of a step that does not end the episode
ENVS = {"": "CartPole-v1", "half_cheetah": "HalfCheetah-v5", "humanoid": "Humanoid-v5"}
_DIGITS, _PER_LINE = 4, 12
_NUMBERS = re.compile(r'NUMBERS = """\n.*?"""', re.DOTALL)


@dataclass(frozen=True)
class FitConfig:
    """Where the programs lie, and how much is played."""

    folder: Path = Path("atari_vlm/data/programs")
    fit: bool = True
    steps: int = 8000
    """to fit"""
    held_out: int = 1000
    """to tell how right they are"""


def fitted(text_file: Path, played: TransitionBuffer, healthy: float) -> str:
    """The text of a program with the weights that fit ``played`` best."""
    made = runpy.run_path(str(text_file))
    states, actions = played.observations.astype(float), played.actions.astype(float)
    known = np.stack([made["features"](*pair) for pair in zip(states, actions, strict=True)])
    moved = made["FORETOLD"] - 1
    ways = played.rewards + 0.1 * (actions**2).sum(1) - healthy * ~played.terminated
    wanted = np.column_stack([(played.next_observations - states)[:, :moved], ways])
    weights = np.linalg.lstsq(known, wanted, rcond=None)[0]
    return _NUMBERS.sub(_table(weights), text_file.read_text(encoding="utf-8"))


def _table(weights: np.ndarray) -> str:
    words = [f"{value:.{_DIGITS}g}" for value in weights.ravel()]
    lines = [" ".join(words[at : at + _PER_LINE]) for at in range(0, len(words), _PER_LINE)]
    return "\n".join(['NUMBERS = """', *lines, '"""'])


def row_of(env_id: str, text: str, played: TransitionBuffer) -> list[str]:
    """A row of the table: what a program is right about, and how many numbers are near where nothing moves."""
    side = computed_side(Subject(played, "", text, "bundled"), deadline_s=5.0)
    ends, rewards = side.right["done"].mean(), side.near_reward.mean()
    shares = (side.numbers.mean(), side.near.mean(), still_side(played).near.mean(), rewards, ends)
    return [env_id, *(f"{share:.1%}" for share in shares), f"{side.seconds.value:.2g}"]


def run(config: FitConfig) -> int:
    """Fit and tell."""
    rows = []
    for name, env_id in ENVS.items():
        env, file = find_env(env_id), config.folder / f"{name}.py"
        with TemporaryDirectory() as folder:
            where = Path(folder)
            if config.fit and name in HEALTHY:
                played = collected(env, where, "random", config.steps, 1000)
                atomic_write(file, fitted(file, played, HEALTHY[name]))
            other = collected(env, where, "random", config.held_out, 0)
        text = file.read_text(encoding="utf-8") if name else LESSONS["CartPole"].exact
        rows.append(row_of(env_id, text, other))
    heads = [
        "",
        "numbers right",
        "numbers near",
        "nothing moves: near",
        "reward near",
        "ends right",
    ]
    print("\n".join(table_lines([*heads, "seconds a step"], rows)))
    return 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    prog = "python -m atari_vlm.proofs.fitted_programs"
    return run(tyro.cli(FitConfig, args=argv, prog=prog, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
