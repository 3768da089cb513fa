"""Actions of every kind in a journal, and played again from there."""

import numpy as np
import pytest

from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.journal_rows import step_row_of, step_values
from atari_vlm.runs.player import step_row
from atari_vlm.runs.recorded import RecordedAgent
from atari_vlm.types import Decision, Source, Transition


@pytest.mark.parametrize(
    "action",
    [3, np.array([1, 0, 2]), np.array([0.25, -1.0], np.float32), np.array([1.0, 2.0], np.float32)],
)
def test_an_action_is_decided_again_as_it_was(action):
    decision = Decision(action, Source.POLICY)
    row = step_row(0, 0, Transition(None, decision, 1.0, None, False, False), [])
    again = step_row_of(step_values(row))
    assert again == row
    played = RecordedAgent(EpisodeRow(0, "eval", 1), [again]).act(None)
    assert np.array_equal(played.action, action)
    assert np.asarray(played.action).dtype == np.asarray(action).dtype
