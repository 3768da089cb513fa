"""The page and the pictures of the table of cores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atari_vlm.conditions import hardware
from atari_vlm.proofs.dreamer_cores_tasks import CORES, EQUAL, TASKS
from atari_vlm.proofs.pictures import curves
from atari_vlm.scores.statistics import FEWEST_RUNS, aggregate
from atari_vlm.scores.tables import table_lines

Rows = Sequence[dict[str, Any]]
_HEAD = (
    "core", "parameters", "that learn", "return [95 %]", "each seed", "while training", "CPU seconds", "updates/s",
    "imagined steps/s", "peak MB",
)  # fmt: skip
_ABOUT = """\
The same Dreamer with four memories. Everything around the core is the same: the posterior sees the observation alone, so what
was seen before is remembered by the core or not at all; sequences begin from nothing (no kept latents, which only cores with a
vector as their memory could have); the core reads one position a step. Whole models are equally large within {equal:.0%}, updates
and steps of the game are equal. The settings are those of the proofs of CartPole and of the cue game, which were chosen with
`block_gru`; none was chosen for another core. Published whoever wins.
"""
_BASE = """\
The language model: {updates} updates of transformers' `MambaForCausalLM` ({tokens:,} tokens, {cpu_seconds:.0f} CPU seconds)
on sentences that a small grammar of {words} words writes about doors, signs, poles and carts
(`atari_vlm/proofs/text_base.py`). Its loss on held-out sentences is {loss:.2f} nats a token, where the frequencies of the words
alone leave {unigram_entropy:.2f}.
"""
_COLUMNS = """\
`return`: the mean over seeds, each the mean of real games on seeds that were never trained on, with the weights of the run's
end; the interval is the bootstrap's over seeds, none for fewer than three. `while training`: the mean of all evaluations, higher
when it learns sooner. `CPU seconds`: of a whole run with its play and evaluations. `updates/s` and `imagined steps/s` (latent
steps, with rewards and ends, of as many dreams as an update has, without gradients): per CPU second, measured after training.
`peak MB`: of the whole process of a run. All of the seeds that did not fail; curves are means over these.
"""


def to_markdown(
    command: str, rows: Mapping[str, Mapping[str, Rows]], base: Mapping[str, Any]
) -> str:
    """The results page of rows by task and core."""
    parts = [
        "# Sequence cores of a Dreamer, side by side\n",
        f"Made by `python -m atari_vlm.proofs.dreamer_cores {command}`, one CPU thread, every run in a process of its own.\n",
        _ABOUT.format(equal=EQUAL),
        *(f"- **{core.title}**: {core.what}." for core in CORES.values()),
        "",
        _BASE.format(**base),
        *(_of_task(task, by_core) for task, by_core in rows.items()),
        _COLUMNS,
        f"{hardware()}\n",
    ]
    return "\n".join(parts)


def _of_task(task: str, by_core: Mapping[str, Rows]) -> str:
    game, one = TASKS[task], next(iter(by_core.values()))[0]
    lines = table_lines(_HEAD, [_line(core, rows) for core, rows in by_core.items()])
    networks = {k: v for k, v in game.changes["networks"].items() if k != "language"}
    reads = "; of its texts a word is read a step" if "language" in game.changes["networks"] else ""
    parts = [
        f"## {game.title[0].upper() + game.title[1:]}\n",
        f"{one['updates']:,} updates and {one['steps']:,} steps of the game a run, {game.games} games in the end; preset "
        f"`{game.preset}`{reads}, with\n`{json.dumps({**game.changes, 'networks': networks})}`.\n",
        *lines,
        "",
        *_failures(by_core),
        f"![Return against updates and CPU seconds](dreamer_cores_{task}.png)\n",
    ]
    return "\n".join(parts)


def _failures(by_core: Mapping[str, Rows]) -> list[str]:
    told = [
        f"- {CORES[core].title}, seed {row['seed']}: {row['failure']}"
        for core, rows in by_core.items()
        for row in rows
        if "failure" in row
    ]
    return ["Runs that failed:\n", *told, ""] if told else []


def _whole(rows: Rows) -> list[dict[str, Any]]:
    """Those that did not fail."""
    return [row for row in rows if "failure" not in row]


def _line(core: str, rows: Rows) -> list[str]:
    whole = _whole(rows)
    sizes = [f"{rows[0][name]:,}" for name in ("parameters", "learn")]
    each = ", ".join("failed" if "failure" in row else f"{row['return']:.4g}" for row in rows)
    if not whole:
        return [CORES[core].title, *sizes, "-", each, *["-"] * 5]
    returns = np.array([row["return"] for row in whole])
    training = np.mean([np.mean([value for *_, value in row["curve"]]) for row in whole])

    def mean(name: str, digits: int) -> str:
        return f"{np.mean([row[name] for row in whole]):,.{digits}f}"

    speeds = [mean("updates_per_second", 2), mean("imagined_per_second", 0)]
    spent, peak = mean("cpu_seconds", 0), mean("peak_mb", 0)
    return [CORES[core].title, *sizes, _estimate(returns), each, f"{training:.4g}", spent, *speeds, peak]  # fmt: skip


def _estimate(returns: np.ndarray) -> str:
    """A mean with its 95 % interval, where there are seeds enough."""
    if len(returns) < FEWEST_RUNS:
        return f"{returns.mean():.4g}"
    estimate = aggregate(returns[:, None], "mean")
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def plot(task: str, by_core: Mapping[str, Rows]) -> bytes:
    """PNG: the return in the real game against updates and against CPU seconds, the mean over seeds, a line per core."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {"updates": {}, "CPU seconds": {}}
    for core, rows in by_core.items():
        whole = _whole(rows)
        if whole:
            points = np.mean([row["curve"] for row in whole], 0)  # (evaluations, 3)
            for place, axis in enumerate(lines):
                lines[axis][CORES[core].title] = [(point[place], point[2]) for point in points]
    told = {"y": f"return, {TASKS[task].title}"}
    return curves([{"lines": by_axis, "x": axis, **told} for axis, by_axis in lines.items()])
