"""``python -m atari_vlm.bench SUBJECT``: measure, print the table, and store it with ``--out docs/results``."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from atari_vlm._lazy import load
from atari_vlm.bench.measure import measure, pin_to_one_core, shown_ratio, to_json, to_markdown
from atari_vlm.ending import program
from atari_vlm.errors import ConfigError, UnknownNameError

# Each subject's module has `cases(peers: dict[str, str]) -> list[Case]`.
SUBJECTS = {
    "code": "atari_vlm.bench.code:cases",
    "cores": "atari_vlm.bench.cores:cases",
    "env": "atari_vlm.bench.env:cases",
    "image": "atari_vlm.bench.image:cases",
    "plan": "atari_vlm.bench.plan:cases",
    "tune": "atari_vlm.bench.tune:cases",
    "vlm": "atari_vlm.bench.vlm:cases",
    "world-model": "atari_vlm.bench.world_model:cases",
}


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    subject: Annotated[str, tyro.conf.Positional]
    """code, cores, env, image, plan, tune, vlm or world-model"""
    rounds: int = 5
    """rounds of ours and peer in turn"""
    only: str = ""
    """measure only the cases whose name contains this"""
    out: Path | None = None
    """folder that receives bench_SUBJECT.md and .json; with --only, bench_SUBJECT_ONLY, so that no whole table is lost"""
    peer: list[str] = field(default_factory=list)
    """NAME=PATH: a peer's own code, imported and never contained; for sheeprl and trl the Python of an environment that
    has it, which is started (repeatable)"""


def run(config: BenchConfig) -> int:
    """Measure every case of the subject and print the table; 0 when all goals are reached, 3 when some are not."""
    if config.subject not in SUBJECTS:
        raise UnknownNameError("benchmark", config.subject, SUBJECTS)
    if any("=" not in peer for peer in config.peer):
        raise ConfigError("--peer is NAME=PATH, for example --peer rem=../REM")
    pin_to_one_core()
    cases = load(SUBJECTS[config.subject])(dict(peer.split("=", 1) for peer in config.peer))
    chosen = [case for case in cases if config.only in case.name]
    if not chosen:
        raise ConfigError(f"no case of {config.subject} has a name with {config.only!r}")
    results = []
    for scope, sharing in itertools.groupby(chosen, key=lambda case: case.scope):
        with scope:
            for case in sharing:
                results.append(measure(case, config.rounds))
                print(f"{case.name}: {shown_ratio(results[-1])}", file=sys.stderr)
    options = shown_options(config)
    table = to_markdown(config.subject, results, options)
    print(table)
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        name = file_name(config)
        (config.out / f"{name}.md").write_text(table)
        (config.out / f"{name}.json").write_text(to_json(config.subject, results, options))
    return 0 if all(result.reached for result in results) else 3


def file_name(config: BenchConfig) -> str:
    """What a table is stored as."""
    words = re.findall(r"[a-z0-9]+", config.only.lower())
    return "_".join([f"bench_{config.subject}", *words])


def shown_options(config: BenchConfig) -> str:
    """The options that decide what was measured, for the page: peers as ``NAME=PATH``, since paths differ between machines."""
    only = f" --only {shlex.quote(config.only)}" if config.only else ""
    return only + "".join(f" --peer {peer.split('=', 1)[0]}=PATH" for peer in config.peer)


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(
        tyro.cli(BenchConfig, args=argv, prog="python -m atari_vlm.bench", description=__doc__)
    )


if __name__ == "__main__":
    sys.exit(main())
