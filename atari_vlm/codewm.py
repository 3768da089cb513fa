"""Code world models: a language model writes an environment as a program, a search finds the right one.

    python -m atari_vlm.codewm search --env CartPole-v1                       # offline, with the bundled writer
    python -m atari_vlm.codewm search --env CartPole-v1 --model gpt-4o --budget 10 --budget-usd 2
    python -m atari_vlm.codewm search --idx 3 --model Qwen/Qwen2.5-Coder-7B-Instruct --method worldcoder --parallel 4
    python -m atari_vlm.codewm collect --env Pendulum-v1 --n_transitions 1000 --policy cem --out buffers
    python -m atari_vlm.codewm search --buffer buffers/train_buffer.npz --model gpt-4o
    python -m atari_vlm.codewm evaluate --save_dir atari_vlm_results/CartPole-v1-gif-mcts-001 --real_env True
    python -m atari_vlm.codewm tree atari_vlm_results/CartPole-v1-gif-mcts-001
    python -m atari_vlm.codewm apps zero-shot                                 # programming problems, see `codewm apps --help`
    python -m atari_vlm.codewm speed --env CartPole-v1                        # a language model as simulator against a program
    python -m atari_vlm.codewm play --world-model golden --game Pong-v5 --num-episodes 1

Generated programs run in a sandbox, see docs/security.md. The same command continues a search that was stopped, and --resume RUN
continues any. ``-`` and ``_`` in the names of options are the same.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from atari_vlm.codewm_apps import apps
from atari_vlm.codewm_evaluate import evaluate
from atari_vlm.codewm_speed import speed
from atari_vlm.ending import program
from atari_vlm.errors import (
    AtariVLMError,
    ConfigError,
    StoppedError,
    UnknownNameError,
)
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.files import read_real
from atari_vlm.reporting.live.page import LivePage, live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.reporting.tree.tree_report import write_tree
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.cluster.session import Session
from atari_vlm.runs.command_line import command_line, command_of, parse, resume_hint
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.options import shared
from atari_vlm.runs.outputs import summarise
from atari_vlm.runs.player import PlayerOptions
from atari_vlm.runs.run_folder import RunFolder
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.synthesis.benchmark.collecting import fill_replay_buffer
from atari_vlm.synthesis.command_options import (
    AheadOptions,
    CollectCommand,
    PlayCommand,
    SearchCommand,
    TreeCommand,
    keys_from,
)
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.on_workers import judging_on, workers
from atari_vlm.synthesis.playing import PlayedIn, RealGame, model_of, play_real
from atari_vlm.synthesis.records import SearchResult
from atari_vlm.synthesis.run_search import Place, search_in
from atari_vlm.synthesis.searching import Manner
from atari_vlm.synthesis.subject import env_id_of, named_env, note_on, shard, transitions_for
from atari_vlm.synthesis.writers import load_writer
from atari_vlm.vlm.base import closing
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.world_models.code.sandbox import PROGRAM_BYTES, check_text

NOTHING_WRITTEN = 3  # no reply held a program that runs
_COLUMNS = ("method", "scorer", "calls", "score", "held out", "lines", "failures", "cost")


def search(arguments: Sequence[str]) -> int:
    """Search for a program that models an environment.

        python -m atari_vlm.codewm search --env CartPole-v1
        python -m atari_vlm.codewm search --idx 0 --model MODEL --method worldcoder --budget 50

    Without --buffer, transitions are collected first. Everything is journalled: the same command continues a search that was
    stopped, whatever stopped it, and nothing is asked twice.
    """
    config = parse(SearchCommand, arguments, search.__doc__)
    each = each_environment(config)
    if config.executor == "ray":  # what cannot be is said before Ray begins
        for one in each:
            settings_of(one), env_id_of(one)
    with workers(config) as opened, keys_from(config.key_folder), live_page(config) as page:
        return max(search_one(one, page, opened) for one in each)


def each_environment(config: SearchCommand) -> list[SearchCommand]:
    """The command for each environment that is meant; one, unless ``--total-tasks`` names a part of the list."""
    if config.total_tasks is None:
        return [config]
    if config.idx is None or config.env is not None:
        raise ConfigError("--total-tasks splits the list of environments: --idx says which part")
    if config.run_name is not None or config.buffer is not None or config.resume is not None:
        raise ConfigError(
            "--total-tasks means several runs: leave --run-name, --resume and --buffer out"
        )
    names = shard(config.idx, config.total_tasks)
    return [dataclasses.replace(config, env=name, idx=None, total_tasks=None) for name in names]


def search_one(config: SearchCommand, page: LivePage, where: Session | None) -> int:
    """Search for the program of one environment, judged here or on the workers of a session; returns the exit code."""
    console = messages()
    begun: list[Path] = []

    def on_run(run: RunFolder) -> None:
        begun.append(run.path)
        console.print(f"run {run.path} ({'continued' if run.resumed else 'new'})")

    def opened(journal: Journal, budget: Budget) -> None:
        page.expect(Expected(config.budget, "calls", begun[0].name, budget, journal))

    options = settings_of(config)
    with closing(load_writer(config, env_id_of(config))) as vlm:
        buffer = transitions_for(config)
        console.print(f"{about(buffer)}\nwriter {vlm.name}")
        try:
            with stop_on_signals() as stop, Bars(console) as bars:
                progress = page.beside(bars)
                manner = Manner(progress, stop, config.key(), opened)
                if where is not None:
                    placed = judging_on(where, progress.say)
                    manner = dataclasses.replace(manner, placed=placed)
                place = Place.asked_for(config)
                found = search_in(place, vlm, buffer, options, manner=manner, on_run=on_run)
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code in (74, 75) and begun:  # a full disk, a limit, a vendor that is down
                console.print(f"not finished; {resume_hint(config, begun[0], error)}")
            raise
    page.add_row({"environment": buffer.env_id, **row_of(found, config)})
    page.finish()
    return show(found, config, buffer.env_id, begun[0])


def about(buffer: TransitionBuffer) -> str:
    """A buffer in words, with what is to be known about its environment."""
    return "; ".join(filter(None, (str(buffer), note_on(buffer))))


def settings_of(config: SearchCommand) -> SearchConfig:
    """The search's own options."""
    texts = {name: text_of(getattr(config, name), name) for name in ("description", "start")}
    return SearchConfig(**{**shared(config, SearchConfig), **texts})


def text_of(file: Path | None, option: str) -> str | None:
    """The text in the file that an option names."""
    if file is None:
        return None
    try:
        return check_text(read_real(file, PROGRAM_BYTES + 1, links=True).decode("utf-8"))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--{option} {file}: {error}") from error


def show(found: SearchResult, config: SearchCommand, env_id: str, run: Path) -> int:
    """Print what was found, with the scorer beside it, and where it lies."""
    table = Table(*_COLUMNS, title=env_id)
    table.add_row(*row_of(found, config).values())
    out = results()
    out.print(table)
    if found.program is None:
        out.print("no reply held a program")
    else:
        out.print(f"program: {run / 'best.py'}{'' if it_runs(found) else ' (it raises)'}")
    out.print(f"tree: {run / 'tree.html'}")
    return 0 if it_runs(found) else NOTHING_WRITTEN


def row_of(found: SearchResult, config: SearchCommand) -> dict[str, str]:
    """What was found, under the columns of the table."""
    cells = (
        config.method,
        config.scorer,
        str(found.calls),
        f"{found.score:.4f}",
        "none" if found.held_out_score is None else f"{found.held_out_score:.4f}",
        "none" if found.program is None else str(len(found.program.splitlines())),
        ", ".join(f"{count} {name}" for name, count in found.failures.items()) or "none",
        "unknown" if found.cost_usd is None else f"${found.cost_usd:.4f}",
    )
    return dict(zip(_COLUMNS, cells, strict=True))


def it_runs(found: SearchResult) -> bool:
    """Whether there is a program, and it does not raise."""
    written = (node for node in found.nodes if node.program == found.program)
    return found.program is not None and (found.score > 0 or not all(n.bug for n in written))


def tree(arguments: Sequence[str]) -> int:
    """Write the page of a search: its tree, and of every program scores, failing transition, difference, question and cost."""
    config = parse(TreeCommand, arguments, tree.__doc__)
    results().print(write_tree(config.run, config.out))
    return 0


def collect(arguments: Sequence[str]) -> int:
    """Play an environment and keep the transitions: random play, or plans of rising quality (--policy cem)."""
    config = parse(CollectCommand, arguments, collect.__doc__)
    env = named_env(config)
    if env is None:
        raise ConfigError("which environment? --env ID or --idx N")
    policy: Any = config.policy
    buffer = fill_replay_buffer(
        env.asked,
        config.n_transitions,
        config.out,
        config.buffer_name,
        policy=policy,
        seed=config.seed,
    )
    out = results()
    out.print(about(buffer))
    out.print(f"{config.out / config.buffer_name}.npz")
    return 0


def play(arguments: Sequence[str]) -> int:
    """Play whole real games, planned in a program: the real game's object table is read at every step.

        python -m atari_vlm.codewm play --world-model golden --game Pong-v5 --num-episodes 5 --seed 0

    The run folder receives episodes.csv (episode_return, length, seed). The same command continues a run that was stopped.
    """
    config = parse(PlayCommand, arguments, play.__doc__)
    console = messages()
    game = RealGame(**shared(config, RealGame), name=config.game)
    unsafe = config.unsafe_local_code
    begun: list[Path] = []

    def on_run(run: RunFolder) -> None:
        begun.append(run.path)
        console.print(f"run {run.path} ({'continued' if run.resumed else 'new'})")

    with (
        stop_on_signals() as stop,
        ProgressDisplay(console) as display,
        model_of(config.world_model, game, unsafe_local_code=unsafe) as model,
    ):
        display.expect(game.num_episodes)
        watching = PlayerOptions(max_steps=config.max_steps, progress=display, stop=stop)
        place = PlayedIn(
            **shared(config, PlayedIn),
            command=command_of(config),
            command_line=command_line(config),
            watching=watching,
        )
        try:
            rows = play_real(model, game, planning_of(config), place, on_run=on_run)
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
    show_games(rows, config)
    return 0


def planning_of(config: PlayCommand) -> AheadOptions:
    """How the command says that is planned."""
    return AheadOptions(**shared(config, AheadOptions))


def show_games(rows: Sequence[EpisodeRow], config: PlayCommand) -> None:
    """Print what the games came to."""
    found = summarise(rows)
    table = Table("games", "mean return", "lowest", "highest", "mean length", title=config.game)
    numbers = ("mean_reward", "min_reward", "max_reward", "mean_length")
    table.add_row(str(found["episodes"]), *(f"{found[name]:.2f}" for name in numbers))
    results().print(table)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "collect": collect,
    "search": search,
    "evaluate": evaluate,
    "tree": tree,
    "apps": apps,
    "speed": speed,
    "play": play,
}


@program
def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = ", ".join(COMMANDS)
        print(f"{__doc__}\ncommands: {listed}; `codewm COMMAND --help` lists the options of one")
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise UnknownNameError("command", command, COMMANDS)
    return COMMANDS[command](rest)


if __name__ == "__main__":
    sys.exit(main())
