"""``report results``: published figures, the page, the plots, own runs beside them, bad input, equal files twice."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from own_run_folders import rem_run, vlm_run
from PIL import Image

from atari_vlm import report
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.reporting import BootstrapConfig, probability_of_improvement
from atari_vlm.reporting.atari100k.compare import Comparison, ResultsConfig, compare
from atari_vlm.reporting.atari100k.files import write_comparison
from atari_vlm.reporting.atari100k.numbers import aggregates_csv, profiles_csv, scores_csv, to_json
from atari_vlm.reporting.atari100k.page import to_markdown
from atari_vlm.runs.command_line import command_line
from atari_vlm.scores.published import DEFAULT_NAMES, benchmark_games, published

ROOT = Path(__file__).parents[2]
QUICK = {"baselines": ["REM", "IRIS", "STORM"], "games": ["Pong", "Breakout"], "repetitions": 100}


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare(ResultsConfig())


@pytest.fixture(scope="module")
def own_folders(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("runs")
    runs = [rem_run(folder / f"Pong-rem-{s}", {10: -18.0, 34: 5.0 + s}, seed=s) for s in range(3)]
    runs.append(rem_run(folder / "Breakout-rem", {10: 4.0}, epochs=12, game="Breakout"))
    runs.append(rem_run(folder / "Catch-rem", {34: 0.9}, game="my_package:Catch-v0"))
    runs.append(rem_run(folder / "young", {}, epochs=2, seed=9))
    runs.append(vlm_run(folder / "vlm", [{"after": 0, "episode_rewards": [-20.0, -18.0]}]))
    return [str(run) for run in runs]


@pytest.fixture(scope="module")
def with_own(own_folders) -> Comparison:
    return compare(ResultsConfig(tuple(own_folders), **QUICK))


def row_of(table, name):
    return next(row for row in table.rows if row.method.name == name)


def test_published_aggregates(found):
    rem = row_of(found.main, "REM")
    assert rem.aggregates["mean"].value == pytest.approx(1.222, abs=1e-3)
    assert rem.aggregates["median"].value == pytest.approx(0.280, abs=1e-3)
    iqm = rem.aggregates["iqm"]
    assert (iqm.value, iqm.low, iqm.high) == pytest.approx((0.673, 0.616, 0.729), abs=1e-3)
    assert rem.superhuman == 12 and row_of(found.main, "M3_Simulus").superhuman == 13
    assert row_of(found.main, "STORM").aggregates["mean"].value == pytest.approx(
        1.222, abs=1e-3
    )  # as re-aggregated elsewhere
    assert row_of(found.main, "DrQ(eps)").aggregates["median"].value == pytest.approx(
        0.313, abs=1e-3
    )


def test_methods_without_runs_have_no_interval_and_are_not_ranked_among_the_others(found):
    means_only = [row.method.means_only for row in found.main.rows]
    assert means_only == sorted(means_only) and sum(means_only) == 5
    for row in found.main.rows:
        assert {e.has_interval for e in row.aggregates.values()} == {not row.method.means_only}
    ranked = [row.aggregates["iqm"].value for row in found.main.rows if not row.method.means_only]
    assert ranked == sorted(ranked, reverse=True)


def test_ablations_are_compared_over_their_eight_games(found):
    (table,) = found.others
    assert len(table.games) == 8 and "RoadRunner" in table.games
    iqm = {row.method.name: row.aggregates["iqm"].value for row in table.rows}
    assert iqm["REM"] == pytest.approx(2.201, abs=1e-3) and next(iter(iqm)) == "REM"
    assert iqm["REM_ablation_4x4-tokenizer"] == pytest.approx(1.026, abs=1e-3)


def test_profiles_fall_within_their_bands(found):
    assert set(found.profiles) == {
        *(
            "SimPLe",
            "TWM",
            "IRIS",
            "DreamerV3",
            "REM",
            "DIAMOND",
            "M3_Simulus",
            "REM_ablation_no-pop",
        )
    }
    for name, profile in found.profiles.items():
        assert (np.diff(profile.share) <= 0).all() and (np.diff(profile.thresholds) > 0).all()
        assert (profile.low <= profile.share + 1e-12).all() and (
            profile.share <= profile.high + 1e-12
        ).all()
        runs = (
            np.stack(list(published(name).normalised(benchmark_games()).values()))
            if name != "REM_ablation_no-pop"
            else None
        )
        if runs is not None:
            assert profile.share[80] == pytest.approx((runs > profile.thresholds[80]).mean())


def test_probability_of_improvement_by_hand():
    ours, theirs = (
        {"Pong": [1.0, 3.0], "Boxing": [5.0, 5.0]},
        {"Pong": [2.0, 3.0], "Boxing": [1.0, 5.0]},
    )
    quick = BootstrapConfig(repetitions=100)
    # Pong: 1<2, 1<3, 3>2, 3=3 -> 1.5 of 4; Boxing: 5>1 twice, 5=5 twice -> 3 of 4.
    found = probability_of_improvement(ours, theirs, quick)
    assert found.value == pytest.approx((1.5 / 4 + 3 / 4) / 2)
    assert probability_of_improvement(theirs, ours, quick).value == pytest.approx(1 - found.value)


def test_the_reference_against_each_other_is_one_minus_each_other_against_it(found):
    ours = {i.theirs.name: i.estimate for i in found.improvements}
    assert "SPR" not in ours and "REM" not in ours and len(ours) == 11
    assert ours["SimPLe"].low > 0.5 > ours["M3_Simulus"].high
    back = compare(ResultsConfig(reference="IRIS", baselines=["REM"]))
    (other,) = back.improvements
    assert (other.ours.name, other.theirs.name) == ("IRIS", "REM")
    assert other.estimate.value == pytest.approx(1 - ours["IRIS"].value)


def test_the_page_names_scores_sources_and_what_is_missing(found):
    page = to_markdown(found, ("aggregates",))
    assert "| Alien | 227.8 | 7,127.7 | 616.9 | 865.2 |" in page and "| 607.2 |" in page
    assert (
        "| REM | 5 | 1.222 [1.172, 1.270] | 0.280 [0.236, 0.397] | 0.673 [0.616, 0.729] |" in page
    )
    assert "| EfficientZero † | means only | 1.943 | 1.090 |" in page
    assert "RoadRunner scores of REM without action input" in page and "IQM of 0.337" in page
    assert "2.97<br>2.62 to 3.42" in page and "-0.00" not in page
    assert "atari100k/aggregates.svg" in page and "profiles.svg" not in page
    for game in benchmark_games():
        assert page.count(f"\n| {game} |") == 2


def test_the_best_of_a_game_is_bold(found):
    lines = to_markdown(found, ()).splitlines()
    tables = [
        line
        for line in lines
        if line.startswith(tuple(f"| {game} |" for game in benchmark_games()))
    ]
    assert len(tables) == 52 and {line.count("**") for line in tables} <= {2, 4}  # 4: a tie
    assert "**414.1**" in next(line for line in tables if line.startswith("| Breakout"))


def test_numbers_as_csv_and_json(found):
    rows = list(csv.DictReader(io.StringIO(scores_csv(found))))
    assert len(rows) == 26 * 15 + 4 * 8
    alien = next(row for row in rows if (row["game"], row["method"]) == ("Alien", "REM"))
    assert float(alien["score"]) == 607.24 and float(alien["score_low"]) < 607.24 < float(
        alien["score_high"]
    )
    human = next(row for row in rows if row["method"] == "Human")
    assert (human["runs"], human["human_normalised"], human["score_low"]) == ("0", "1.0", "")
    rows = list(csv.DictReader(io.StringIO(aggregates_csv(found))))
    assert (
        next(r["value"] for r in rows if r["method"] == "REM" and r["metric"] == "superhuman")
        == "12"
    )
    assert len(list(csv.DictReader(io.StringIO(profiles_csv(found))))) == 8 * 161
    content = json.loads(to_json(found))
    assert content["over_games"][0]["rows"][1]["method"] == "REM" and len(content["methods"]) == 19
    assert content["improvements"][0]["low"] < content["improvements"][0]["value"]


def test_own_runs_stand_beside_the_published(with_own):
    assert [m.label for m in with_own.methods if m.kind == "own"] == [
        "own tiny (unfinished)",
        "own gpt-4o",
    ]
    scores = with_own.scores["Pong", "own tiny"]
    assert (
        scores.raw.value == pytest.approx(6.0)
        and scores.runs == 3
        and scores.raw.low < 6 < scores.raw.high
    )
    assert row_of(with_own.main, "own tiny").method.kind == "own"  # it has all the games asked for
    assert [table.games for table in with_own.others] == [("Pong",)]
    assert row_of(with_own.others[0], "own gpt-4o").aggregates["mean"].value < 0.1
    over = {(i.ours.name, i.theirs.name): i for i in with_own.improvements}
    assert (
        over["own gpt-4o", "REM"].games == ("Pong",)
        and over["own gpt-4o", "REM"].estimate.value == 0
    )
    assert ("own tiny", "STORM") not in over and ("own tiny", "own gpt-4o") not in over
    assert with_own.own_elsewhere["my_package:Catch-v0", "own tiny"].value == pytest.approx(0.9)


def test_the_page_tells_the_state_of_own_runs(with_own):
    page = to_markdown(with_own, ())
    own = page.split("## Our own runs")[1]
    for words in (
        "| Breakout-rem | own tiny | Breakout | 0 | epoch 12 of 34, evaluated at 10 | 1,800 | 50 | 4.0 | 0.080 | – |",
        "| young | own tiny | Pong | 9 | epoch 2 of 34, no evaluation yet | 300 | 0 | – | – | – |",
        "| vlm | own gpt-4o | Pong | 0 | finished | – | 2 | -19.0 | 0.048 | 12.5% |",
        "No human and random reference scores are known of: my_package:Catch-v0.",
        "| my_package:Catch-v0 | own tiny | 0.9 |",
        "Runs of VLMs do not follow the protocol",
        "fewer than 3 runs",
    ):
        assert words in own
    assert json.loads(to_json(with_own))["own_runs"][0]["curve"] == [[1500.0, -18.0], [3600.0, 5.0]]


def test_equal_input_gives_equal_files_and_every_plot_is_one(own_folders, tmp_path):
    pages = [
        write_comparison(ResultsConfig(tuple(own_folders), tmp_path / at / "page", **QUICK))
        for at in ("a", "b")
    ]
    first, second = (
        {p.name: p.read_bytes() for p in (page.parent / "page").iterdir()} for page in pages
    )
    changes = {"results.json"}  # it holds the command, and with it the folder
    assert first.keys() == second.keys() and {n for n in first if first[n] != second[n]} <= changes
    plots = ("aggregates", "profiles", "improvement", "per_game", "own_games", "own_curves")
    assert first.keys() >= {f"{name}.{kind}" for name in plots for kind in ("png", "svg")}
    for name in plots:
        picture = Image.open(io.BytesIO(first[f"{name}.png"]))
        picture.verify()
        assert min(picture.size) > 150 and len(first[f"{name}.png"]) < 300_000
        root = ElementTree.fromstring(first[f"{name}.svg"])
        assert root.tag.endswith("svg") and not re.search(
            rb"\d{4}-\d\d-\d\dT", first[f"{name}.svg"]
        )
        assert f"page/{name}.svg" in pages[0].read_text()
    page = write_comparison(ResultsConfig((), tmp_path / "a" / "page", **QUICK))
    assert (
        not (tmp_path / "a" / "page" / "own_games.png").exists()
        and "own_games" not in page.read_text()
    )


def test_the_command_of_the_page_makes_the_same_comparison(own_folders, tmp_path):
    config = ResultsConfig(
        tuple(own_folders[:1]), tmp_path / "x", ["IRIS"], "REM", ["Pong"], 0.9, 200, 3
    )
    words = command_line(config, config.runs).split()[3:]
    assert words[0] == "results" and words[1] == own_folders[0]
    assert report.main(words) == 0
    assert f"`{command_line(config, config.runs)}`" in (tmp_path / "x.md").read_text()
    assert "Brackets hold 90 % intervals" in (tmp_path / "x.md").read_text()
    assert command_line(ResultsConfig()) == "python -m atari_vlm.report results"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"games": ["Pung"]}, UnknownNameError, "Pong"),
        ({"games": ["Adventure"]}, UnknownNameError, "Atari 100k"),
        ({"games": []}, ConfigError, "at least one game"),
        ({"baselines": ["REMM"]}, UnknownNameError, "REM"),
        ({"reference": "SPR"}, ConfigError, "only means"),
        ({"reference": "nobody"}, UnknownNameError, "baseline"),
        ({"confidence": 95}, ConfigError, "confidence"),
        ({"repetitions": 5}, ConfigError, "repetitions"),
        ({"runs": ("nowhere",)}, ConfigError, "nowhere is not a run folder"),
    ],
)
def test_bad_input_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        compare(dataclasses.replace(ResultsConfig(**QUICK), **changes))


def test_a_published_name_is_no_name_for_an_own_run(own_folders):
    with pytest.raises(ConfigError, match="'IRIS' is a published method"):
        compare(ResultsConfig((f"IRIS={own_folders[0]}",), **QUICK))


@pytest.mark.parametrize("out", [".", "page.md", "taken"])
def test_a_place_that_is_none_is_refused(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="--out"):
        write_comparison(ResultsConfig((), Path(out), **QUICK))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_programs(tmp_path, capsys):
    quick = ["--games", "Pong", "--baselines", "REM", "IRIS", "--repetitions", "100"]
    assert report.main(["results", *quick, "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.md")
    assert report.main(["results", str(tmp_path), *quick]) == 2
    assert "not a run folder" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    assert report.main([str(tmp_path / "results")]) == 2  # a run whose name is the subcommand's
    assert "results is not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["results", "--help"]])
def test_help_loads_neither_torch_nor_matplotlib(words):
    code = (
        "import sys\nfrom atari_vlm import report\ntry:\n    report.main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'matplotlib', 'transformers'} & set(sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    ).stdout
    assert "report results" in shown and "--out" in shown


def test_without_matplotlib_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report.main(["results", "--games", "Pong", "--out", str(tmp_path / "page")]) == 2
    assert "atari-vlm[plots]" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_committed_page_has_the_numbers_that_the_command_gives(found):
    committed = (ROOT / "docs" / "results" / "atari100k" / "scores.csv").read_text()
    assert set(scores_csv(found).splitlines()) <= set(committed.splitlines())
    page = (ROOT / "docs" / "results" / "atari100k.md").read_text()
    assert "Made by `python -m atari_vlm.report results" in page
    rem = next(
        line for line in to_markdown(found, ()).splitlines() if line.startswith("| REM | 5 |")
    )
    assert rem in page
    for name in re.findall(r"\]\((atari100k/[a-z_0-9.]+)\)", page):
        assert 0 < (ROOT / "docs" / "results" / name).stat().st_size < 300_000


def test_every_default_baseline_is_shown(found):
    assert {m.name for m in found.methods} == set(DEFAULT_NAMES)
    assert (
        set(published("PPO").scores)
        == set(published("DreamerV3_2025").scores)
        == set(benchmark_games())
    )
