"""What a run has played, as a data set for others: an npz file, or a local Minari data set.

It is what the replay of the newest checkpoint keeps: observations as the model saw them, the actions that were executed, and ends
as the learner saw them (in Atari a lost life is one).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import DataSet, ReplayEpisodes
from atari_vlm.experience.minari import About, write_minari
from atari_vlm.experience.npz_files import check_npz
from atari_vlm.experience.saved_replay import saved_replay
from atari_vlm.files import open_real
from atari_vlm.runs.run_folder import read_config
from atari_vlm.training.imagination.checkpoints import Checkpoints, actions_of
from atari_vlm.world_models.learned.arrays import subtree


@contextmanager
def play_of_run(run: Path) -> Iterator[tuple[DataSet, str]]:
    """The play that a run's newest checkpoint knows, oldest first, and the game or data set that it is of.

    Inside the block nobody trains the run. Raises ``ConfigError`` for a folder of another kind of run or without a checkpoint
    yet, and ``RunError`` while it is being trained.
    """
    settings = read_config(run)["settings"]
    if "source" not in settings:
        raise ConfigError(f"{run} is not a run of `dream`")
    with open_real(run / "lock", 1 << 20) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{run} is being trained; stop it first, it can go on later") from error
        newest = Checkpoints(run / "checkpoints").newest()
        if newest is None or not len(newest[1].tensors.get("replay.starts", ())):
            raise ConfigError(f"{run} has no checkpoint and replay to export yet")
        names = newest[1].action_names
        replay = saved_replay(subtree(newest[1].tensors, "replay"), run / "replay")
        episodes = ReplayEpisodes(replay, names, copied=False)
        frame_skip = newest[1].config["frame_skip"]
        data = DataSet(episodes, actions_of(newest[1]), names, frame_skip)
        yield data, str(settings["source"])


def export_npz(run: Path, path: Path) -> int:
    """Write a run's play to an npz file as ``--dataset`` takes it; how many steps."""
    check_npz(path)
    with play_of_run(run) as (data, _):
        write_episodes(path, data.episodes, data.action_space, data.frame_skip)
        return data.num_steps


def export_minari(run: Path, dataset_id: str) -> int:
    """Write a run's play as a local Minari data set, one episode each; how many steps."""
    with play_of_run(run) as (data, source):
        described = (
            f"{source}, played while a world model learned; actions: {', '.join(data.action_names)}"
        )
        return write_minari(
            dataset_id, data.episodes, About(data.action_space, "atari_vlm dream", described)
        )
