"""All files of the Atari 100k comparison, written beside one another."""

from __future__ import annotations

from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.files import atomic_write
from atari_vlm.reporting.atari100k.compare import ResultsConfig, compare
from atari_vlm.reporting.atari100k.numbers import aggregates_csv, profiles_csv, scores_csv, to_json
from atari_vlm.reporting.atari100k.page import to_markdown
from atari_vlm.reporting.atari100k.plots import PLOT_NAMES, draw_all


def write_comparison(config: ResultsConfig) -> Path:
    """Compare and write ``OUT.md`` and the folder ``OUT`` (CSVs, JSON, plots as PNG and SVG); the path of the page.

    ::

        OUT.md
        OUT/scores.csv  aggregates.csv  profiles.csv  results.json  aggregates.png  aggregates.svg  profiles.png  ...

    Plots of an earlier comparison that this one does not have are removed. Raises what :func:`compare` raises, and
    ``MissingDependencyError`` without matplotlib.
    """
    folder = config.out
    if not folder.name or folder.suffix == ".md" or (folder.exists() and not folder.is_dir()):
        raise ConfigError(
            f"--out names a folder to be made and the page OUT.md beside it, got {str(folder)!r}"
        )
    comparison = compare(config)
    plots = {name: (png, svg) for name, png, svg in draw_all(comparison)}
    page = folder.with_name(folder.name + ".md")
    atomic_write(folder / "scores.csv", scores_csv(comparison))
    atomic_write(folder / "aggregates.csv", aggregates_csv(comparison))
    atomic_write(folder / "profiles.csv", profiles_csv(comparison))
    atomic_write(folder / "results.json", to_json(comparison))
    for name in PLOT_NAMES:
        for kind, data in zip(("png", "svg"), plots.get(name, (None, None)), strict=True):
            if data is None:
                (folder / f"{name}.{kind}").unlink(missing_ok=True)
            else:
                atomic_write(folder / f"{name}.{kind}", data)
    atomic_write(page, to_markdown(comparison, tuple(plots)))
    return page
