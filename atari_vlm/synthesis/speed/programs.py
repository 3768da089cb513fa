"""The programs that stand against a language model: those of searches where there are some, else those that are bundled.

CartPole's is exact. No short program has MuJoCo's dynamics: those of HalfCheetah and Humanoid (``data/programs``) are sums that
were chosen by hand, with weights that were fitted to random play, and right about no whole state.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.synthesis.benchmark.catalogue import BenchmarkEnv
from atari_vlm.synthesis.benchmark.evaluation import saved_programs
from atari_vlm.vlm.scripted.programs import LESSONS

FITTED = {"HalfCheetah": "half_cheetah", "Humanoid": "humanoid"}


def bundled(name: str) -> str | None:
    """The program that comes with the package for an environment, ``None`` where there is none."""
    if name == "CartPole":
        return LESSONS[name].exact
    if name not in FITTED:
        return None
    file = resources.files("atari_vlm") / "data" / "programs" / f"{FITTED[name]}.py"
    return file.read_text(encoding="utf-8")


def programs_for(envs: Sequence[BenchmarkEnv], runs: Path | None) -> dict[str, tuple[str, str]]:
    """The program of each environment by its id, and where it is from: a run's name, or ``"bundled"``.

    ``runs`` is the run of a search or a folder of such runs, of which the first one of an environment counts. Raises
    ``ConfigError`` for an environment that has no program.
    """
    found: dict[str, tuple[str, str]] = {}
    for saved in saved_programs(runs) if runs is not None else ():
        found.setdefault(saved.env.env_id, (saved.program, saved.folder.name))
    for env in envs:
        if env.env_id in found:
            continue
        text = bundled(env.env_id.split("-")[0])
        if text is None:
            raise ConfigError(
                f"there is no program of {env.env_id}: --programs RUN names the run of a search that found one"
            )
        found[env.env_id] = (text, "bundled")
    return {env.env_id: found[env.env_id] for env in envs}
