"""Programming problems of APPS: programs by sampling or by search, strict accuracy, test-case average and pass@k.

    python -m atari_vlm.codewm apps zero-shot                                   # the bundled problems, with the bundled writer
    python -m atari_vlm.codewm apps zero-shot --budget 20 --model gpt-4o --budget-usd 2
    python -m atari_vlm.codewm apps download --out APPS
    python -m atari_vlm.codewm apps gif-mcts --test_loc APPS/test --idx 3000 --total_tasks 100 --shard 1/4 --model gpt-4o
    python -m atari_vlm.codewm apps worldcoder --run_name refined
    python -m atari_vlm.codewm apps evaluate --save atari_vlm_results/refined

Programs run in a sandbox, see docs/security.md. The same command continues a run that was stopped, --resume RUN continues any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from atari_vlm.errors import AtariVLMError, ConfigError, StoppedError, UnknownNameError
from atari_vlm.reporting.live.page import live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.command_line import parse, resume_hint
from atari_vlm.runs.options import shared
from atari_vlm.runs.run_folder import RunFolder
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.synthesis.apps.downloading import download, unpack
from atari_vlm.synthesis.apps.evaluating import APPS_RESULTS, AppsResults, evaluate
from atari_vlm.synthesis.apps.options import (
    AppsEvaluateCommand,
    AppsGifMctsCommand,
    AppsWorldCoderCommand,
    DownloadCommand,
    ZeroShotCommand,
    folder_of,
)
from atari_vlm.synthesis.apps.problems import BUNDLED
from atari_vlm.synthesis.apps.saving import RESULTS, SavedRun, Solved
from atari_vlm.synthesis.apps.solving import AppsConfig, solve
from atari_vlm.synthesis.command_options import keys_from
from atari_vlm.synthesis.config import Method, SearchConfig
from atari_vlm.synthesis.run_search import Place
from atari_vlm.synthesis.searching import Manner
from atari_vlm.synthesis.writers import family_of, load_asked
from atari_vlm.vlm.base import VLM, closing
from atari_vlm.vlm.layers.budget import Budget

_COLUMNS = ("problem", "calls", "programs", "tests passed", "cost")
NOTHING_WRITTEN = 3  # no reply held a program
SolveCommand = ZeroShotCommand | AppsGifMctsCommand


def zero_shot(arguments: Sequence[str]) -> int:
    """Draw --budget programs for every problem, independently of one another.

        python -m atari_vlm.codewm apps zero-shot --budget 5 --strategy plan-and-solve
        python -m atari_vlm.codewm apps zero-shot --test_loc APPS/test --idx 3000 --total_tasks 100 --model MODEL

    Everything is journalled: the same command continues a run that was stopped, and nothing is asked twice.
    """
    config = parse(ZeroShotCommand, arguments, zero_shot.__doc__)
    return _solved(config, "zero-shot")


def gif_mcts(arguments: Sequence[str]) -> int:
    """Search for a right program of every problem: generate, improve and fix, in a tree.

        python -m atari_vlm.codewm apps gif-mcts --test_loc APPS/test --idx 3000 --total_tasks 100 --model MODEL

    Everything is journalled: the same command continues a run that was stopped, and nothing is asked twice.
    """
    return _solved(parse(AppsGifMctsCommand, arguments, gif_mcts.__doc__), "gif-mcts")


def worldcoder(arguments: Sequence[str]) -> int:
    """Search for a right program of every problem: refine the one that Thompson sampling picks.

        python -m atari_vlm.codewm apps worldcoder --test_loc APPS/test --idx 3000 --total_tasks 100 --model MODEL

    Everything is journalled: the same command continues a run that was stopped, and nothing is asked twice.
    """
    return _solved(parse(AppsWorldCoderCommand, arguments, worldcoder.__doc__), "worldcoder")


def _solved(config: SolveCommand, method: Method) -> int:
    """Solve the problems that are meant; returns the exit code."""
    console = messages()
    begun: list[Path] = []

    def on_run(run: RunFolder, budget: Budget) -> None:
        begun.append(run.path)
        console.print(f"run {run.path} ({'continued' if run.resumed else 'new'})")
        page.expect(Expected(len(problems.names), "problems", run.path.name, budget))

    options = _settings(config, method)
    problems = config.problems()
    if not problems.names:  # a job array may have more tasks than there is work
        console.print(f"--shard {config.shard} holds no problem: there is nothing to do")
        return 0
    with keys_from(config.key_folder), live_page(config) as page, closing(_writer(config)) as vlm:
        console.print(f"{len(problems.names)} problems of {problems.folder}\nwriter {vlm.name}")
        try:
            with stop_on_signals() as stop, Bars(console) as bars:
                manner = Manner(page.beside(bars), stop, config.key())
                place = Place.asked_for(config)
                found = solve(place, vlm, problems, options, manner=manner, on_run=on_run)
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code in (74, 75) and begun:  # a full disk, a limit, a vendor that is down
                console.print(f"not finished; {resume_hint(config, begun[0], error)}")
            raise
        for one in found:
            page.add_row(dict(zip(_COLUMNS, _cells(one), strict=True)))
        page.finish()
    return _show(found, method, begun[0])


def _settings(config: SolveCommand, method: Method) -> AppsConfig:
    search = SearchConfig(**{**shared(config, SearchConfig), "method": method, "held_out": 0.0})
    strategy = getattr(config, "strategy", AppsConfig.strategy)
    return AppsConfig(search, strategy, config.limits())


def _writer(config: SolveCommand) -> VLM:
    if family_of(config) == "scripted" and str(config.test_loc) != BUNDLED:
        raise ConfigError(
            "the bundled writer knows the bundled problems only: choose a model (--model ID or FOLDER), or leave --test-loc out"
        )
    return load_asked(config)


def _show(found: Sequence[Solved], method: Method, run: Path) -> int:
    table = Table(*_COLUMNS, title=f"APPS, {method}")
    for one in found:
        table.add_row(*_cells(one))
    out = results()
    out.print(table)
    out.print(f"{sum(one.score == 1.0 for one in found)} of {len(found)} problems solved")
    out.print(f"{run / RESULTS}; codewm apps evaluate --save {run} measures pass@k too")
    return 0 if any(one.best is not None for one in found) else NOTHING_WRITTEN


def _cells(one: Solved) -> tuple[str, ...]:
    """What was found for a problem, under the columns of the table."""
    return (
        one.problem,
        str(one.calls),
        str(sum(program is not None for program in one.programs)),
        f"{one.score:.1%}",
        "unknown" if one.cost_usd is None else f"${one.cost_usd:.4f}",
    )


def measure(arguments: Sequence[str]) -> int:
    """Run every program that a run wrote on every test: strict accuracy, test-case average, pass@k.

        python -m atari_vlm.codewm apps evaluate --save atari_vlm_results/apps-zero-shot-001
        python -m atari_vlm.codewm apps evaluate --save DIR --test_loc APPS/test

    Runs that are parts of one set (--shard) are measured together where --save is the folder that they lie in. The result lies in
    apps_results.json.
    """
    config = parse(AppsEvaluateCommand, arguments, measure.__doc__)
    console = messages()
    saved, found = evaluate(
        config.save,
        folder_of(config.test_loc),
        config.limits(),
        on_problem=lambda name: console.print(f"problem {name}"),
    )
    _show_measured(saved, found)
    results().print(str(config.save / APPS_RESULTS))
    return 0


def _show_measured(saved: SavedRun, found: AppsResults) -> None:
    title = f"APPS, {saved.settings.get('method')}, {saved.settings.get('endpoint')}"
    table = Table("difficulty", "problems", "strict accuracy", "test-case average", title=title)
    for word, part in {**found.by_difficulty(), "all": found.figures()}.items():
        table.add_row(
            word,
            f"{part['problems']:.0f}",
            f"{part['strict_accuracy']:.3f}",
            f"{part['test_case_average']:.3f}",
        )
    out = results()
    out.print(table)
    out.print(f"strict accuracy {found.interval()}")
    out.print("  ".join(f"pass@{k} {value:.3f}" for k, value in found.pass_at_k.items()))
    if not saved.complete:
        out.print(f"{len(saved.solved)} of {saved.asked} problems are done: the run has not ended")


def fetch(arguments: Sequence[str]) -> int:
    """Fetch the public problems (0.4 GB) and unpack them, or unpack an archive that is here already.

    python -m atari_vlm.codewm apps download --out APPS
    python -m atari_vlm.codewm apps download --archive APPS.tar.gz --out APPS
    """
    config = parse(DownloadCommand, arguments, fetch.__doc__)
    say = messages().print
    if config.archive is not None:
        found = unpack(config.archive, config.out, say=say)
    else:
        found = download(config.out, config.url, say=say)
    for part, count in found.items():
        results().print(f"{config.out / part}: {count} problems")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "zero-shot": zero_shot,
    "gif-mcts": gif_mcts,
    "worldcoder": worldcoder,
    "evaluate": measure,
    "download": fetch,
}


def apps(arguments: Sequence[str]) -> int:
    """Run one of the commands; returns its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = ", ".join(COMMANDS)
        print(
            f"{__doc__}\ncommands: {listed}; `codewm apps COMMAND --help` lists the options of one"
        )
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise UnknownNameError("command of codewm apps", command, COMMANDS)
    return COMMANDS[command](rest)
