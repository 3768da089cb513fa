"""Episodes in parallel, a limit that stops the run, and the same call that continues it."""

import tempfile

from atari_vlm import VLMTrainer
from atari_vlm.errors import BudgetExhaustedError

folder = tempfile.mkdtemp()


def run(max_calls: int | None) -> dict:
    settings = dict(save_dir=folder, run_name="demo", max_steps=30, parallel=2, max_calls=max_calls)
    with VLMTrainer("Pong-v5", "scripted", **settings) as trainer:
        trainer.train(num_episodes=4, eval_interval=0)
        return trainer.evaluate(num_episodes=2)


try:
    run(max_calls=50)
except BudgetExhaustedError as stop:
    print("stopped:", stop)
print("continued:", run(max_calls=None))
