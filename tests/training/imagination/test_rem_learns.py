"""REM learns a tiny game, and learns to play it in imagination alone.

Which test of this project is which of REM's list: T1, T2, T3, T4, T6 ``world_models/rem/test_rem_networks.py`` (three forms of
retention; POP against single steps; states at block boundaries; no leak; parameter counts); T5 there (lambda-returns) and
``test_rem_learner.py`` (nine decisions, eight scored); T7 ``reporting/test_atari100k.py``; T8 ``test_rem_game.py`` and
``test_rem_learner.py`` (lives and limits); T9 ``test_rem_trainer.py`` (resumed to the bit, kills); T10 ``test_rem_learner.py``
(burn-in, the executed action); T11 ``world_models/test_dreams.py``; T12 ``world_models/test_checkpoint.py``; T13 here.
"""

import numpy as np
import pytest
from rem_helpers import rem_trainer

from atari_vlm.proofs.toys import registered, settings_for
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.media import MediaConfig


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rem_learns_small_catch_in_imagination(tmp_path):
    """The small form of ``python -m atari_vlm.proofs.toys``, one to four minutes on one core; a run of two epochs is in CI."""
    settings = with_changes(settings_for("small-catch"), {"checkpoint_every": 100})
    game, media = registered("small-catch").id, MediaConfig(episodes=0)
    trainer = rem_trainer(tmp_path, game, settings, seed=0, media=media)
    random = np.mean(trainer.play(200).returns)  # the policy begins as the uniform one
    assert -0.9 < random < -0.3
    final = trainer.train()
    lines = {line["epoch"]: line for line in trainer.log.lines}
    assert lines[4]["tokenizer/reconstruction"] < 0.2 * lines[1]["tokenizer/reconstruction"]
    assert (
        lines[20]["held_out/tokens"] < 0.35 * lines[8]["held_out/tokens"]
        and lines[20]["held_out/accuracy"] > 0.9
    )
    # of four steps only the last pays, 1 or -1: who knows when but not which has log(2) / 4 = 0.17
    assert lines[20]["held_out/reward"] < 0.08
    assert final["evaluation/episodes"] == settings.play.final_episodes
    assert final["evaluation/return"] > 0.5 > random + 1.0
    assert abs(final["evaluation/imagined_return"] - final["evaluation/matched_return"]) < 0.5
