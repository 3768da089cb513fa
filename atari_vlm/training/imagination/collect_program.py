"""What ``dream collect`` does: episodes as files of a run, one each, and of them a data set.

A run's folder holds ``episodes/000017.npz`` for every episode that has ended. They come from this process, from several of
this machine, or from the workers of a Ray cluster, in any order; what is written in the end depends on none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from atari_vlm.errors import AtariVLMError, ConfigError, StoppedError
from atari_vlm.experience.minari import About
from atari_vlm.experience.minari_places import local_folder
from atari_vlm.files import atomic_write
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.cluster.calling import Call, Caller
from atari_vlm.runs.cluster.local_calling import LocalCaller
from atari_vlm.runs.cluster.session import check_ray, session
from atari_vlm.runs.command_line import command_line, command_of, resume_hint
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.progress import Task
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.training.imagination.games import own_spelling
from atari_vlm.training.imagination.options import CollectOptions
from atari_vlm.training.imagination.outputs import MinariOutput, NpzOutput, Output
from atari_vlm.training.imagination.program import taken_back
from atari_vlm.training.imagination.recording import Recipe, Recorded, Recorder, check_recipe
from atari_vlm.world_models.learned.learner import GameFacts

Results = Iterator[tuple[Call, bytes]]
Calling = Callable[[Recorder, Iterable[Call]], Results]


def collect(options: CollectOptions) -> int:
    """``dream collect``: whole episodes, played by an agent that asks no model, as a data set for ``--dataset`` and others.

    The same command continues a run that was stopped. A unit is an episode: --parallel of them are played at once, in processes
    of this machine or, with --executor ray, on the workers of a cluster; the data set is the same to the byte.
    """
    recipe, console = recipe_of(options), messages()
    if options.executor == "ray":
        check_ray()
    if options.minari is not None:
        local_folder(options.minari)  # is it an id?
    facts = check_recipe(recipe, options.num_episodes)
    run = RunFolder.open(request_of(options, recipe), journal=False)
    try:
        outputs = outputs_of(options, run.path)
        with taken_back(run):
            for output in outputs:
                output.claim()
        with stop_on_signals() as stop, Bars(console) as bars:
            console.print(f"run {run.path} ({'continued' if run.resumed else 'new'})")
            try:
                files = _play(options, recipe, run, (bars, stop))
            except StoppedError:
                console.print(f"stopped; {resume_hint(options, run.path)}")
                return stop.exit_code
            except AtariVLMError as error:
                if error.exit_code in (73, 74):  # a lost process, a full disk
                    console.print(f"not finished; {resume_hint(options, run.path, error)}")
                raise
            _write(recipe, facts, files, outputs)
        run.finish()
    finally:
        run.close()
    return 0


def recipe_of(options: CollectOptions) -> Recipe:
    """What the episodes depend on."""
    if not options.game:
        raise ConfigError("--game says what is played")
    return Recipe(
        own_spelling(options.game),
        options.agent,
        options.seed,
        options.max_steps,
        options.keys,
        options.frame_px,
    )


def request_of(options: CollectOptions, recipe: Recipe) -> RunRequest:
    """The run: its settings are the recipe, and it may grow."""
    spec, game = recipe.spec, recipe.game.rpartition(":")[2].rpartition("/")[2]
    return RunRequest(
        save_dir=options.save_dir,
        label=f"{game.removesuffix('-v5')}-{spec.label.partition('@')[0]}-episodes",
        settings={
            "collect": {
                "game": recipe.game,
                "agent": spec.text,
                "max_steps": recipe.max_steps,
                "keys": list(recipe.keys),
                "frame_px": recipe.frame_px,
            },
            "seed": recipe.seed,
            "num_episodes": options.num_episodes,
        },
        execution={"executor": options.executor, "parallel": options.parallel},
        run_name=options.run_name,
        resume=options.resume,
        command=command_of(options),
        command_line=command_line(options),
        rules=ResumeRules(amounts=("num_episodes",)),
    )


def outputs_of(options: CollectOptions, run: Path) -> list[Output]:
    """Where the data set goes."""
    outputs: list[Output] = []
    if options.minari is not None:
        outputs.append(MinariOutput(run, options.minari))
    if options.out is not None or not outputs:
        outputs.append(NpzOutput(run, options.out or run / "steps.npz"))
    return outputs


def _play(
    options: CollectOptions, recipe: Recipe, run: RunFolder, watching: tuple[Bars, Stop]
) -> list[Path]:
    """Play what is not there yet; the files of all episodes."""
    bars, stop = watching
    files = [run.path / "episodes" / f"{number:06d}.npz" for number in range(options.num_episodes)]
    waiting = [number for number, file in enumerate(files) if not file.is_file()]
    if not waiting:
        return files
    task = Task("episodes", total=len(waiting), unit="episodes")
    bars.began(task)
    calls = (Call(number, f"episode {number} of {recipe.game}") for number in waiting)
    with ExitStack() as opened:
        with taken_back(run):  # there may be no cluster
            results_of, recorder_stop = opened.enter_context(_calling(options, bars.say, stop))
        for call, content in results_of(Recorder(recipe, recorder_stop), calls):
            files[call.what].parent.mkdir(exist_ok=True)
            atomic_write(files[call.what], content)
            bars.advanced(task)
    bars.ended(task)
    return files


@contextmanager
def _calling(
    options: CollectOptions, say: Callable[[str], object], stop: Stop
) -> Iterator[tuple[Calling, Stop | None]]:
    """Who plays; and what ends an episode in its midst, where that is of this process."""
    if options.executor == "ray":
        with session(options) as opened:
            yield Caller(opened, options.parallel, say=say, stop=stop).results, None
    else:
        alone = options.parallel == 1
        yield LocalCaller(options.parallel, stop).results, stop if alone else None


def _write(
    recipe: Recipe, facts: GameFacts, files: Sequence[Path], outputs: Sequence[Output]
) -> None:
    """Write the data set everywhere it goes, and say what it is."""
    told = f"{recipe.game}, played by {recipe.spec.text} from the seed {recipe.seed} on"
    if facts.action_names:
        told += f"; actions: {', '.join(facts.action_names)}"
    about = About(facts.action_space, "atari_vlm dream collect", told)
    recorded = Recorded(recipe, files)
    returns = np.array([(episode.rewards.sum(), len(episode)) for episode in recorded])
    for output in outputs:
        output.write(recorded, about, facts.frame_skip)
    where = " and ".join(output.name for output in outputs)
    results().print(
        f"{len(returns)} episodes, {returns[:, 1].sum():.0f} steps, mean return {returns[:, 0].mean():.4g}: {where}",
        soft_wrap=True,
    )
