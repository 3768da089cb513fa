"""What is told before training: device, sizes, what is learned from, and how long it may take to play it."""

from __future__ import annotations

from collections.abc import Iterator

from atari_vlm.training.imagination.trainer import WorldModelTrainer
from atari_vlm.world_models.inputs import described


def remarks(trainer: WorldModelTrainer) -> Iterator[str]:
    """Sentences, known before anything is played; a learner may have some of its own, ``remarks()``."""
    run, play = trainer.run, trainer.settings.play
    yield f"on {run.device.name} ({run.device.precision}): {_sizes(trainer)}"
    yield from getattr(trainer.learner, "remarks", tuple)()
    if run.facts.offline:
        return
    game = run.facts.game
    yield f"{game} shows {described(run.facts.inputs)}; learned from is {described(trainer.policy.inputs)}"
    games = f"{play.eval_episodes} games, {play.final_episodes} at the end"
    yield f"an evaluation plays {games}, each of at most {play.eval_max_steps} steps (play.eval_max_steps)"
    if trainer.longest_episode < play.max_steps:
        yield f"games are cut after {trainer.longest_episode} steps: the replay holds no longer episode (capacity)"


def _sizes(trainer: WorldModelTrainer) -> str:
    """How many numbers are trained, and what the replay takes."""
    arrays = trainer.learner.weights().values()
    weights, model = sum(a.size for a in arrays), sum(a.nbytes for a in arrays) / 1e6
    slots, columns = trainer.replay.num_slots, trainer.replay.columns.values()
    on_disk = slots * sum(column.step_bytes for column in columns if column.on_disk) / 1e6
    in_memory = slots * sum(column.step_bytes for column in columns if not column.on_disk) / 1e6
    replay = f"{slots} steps, {on_disk:.0f} MB on disk and {in_memory:.0f} MB in memory"
    return f"{weights / 1e6:.2f} million weights, {model:.3g} MB; a replay of {replay}"
