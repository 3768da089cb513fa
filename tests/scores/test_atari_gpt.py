"""Atari-GPT's published scores: what was read off the figure agrees with the means of the text."""

import numpy as np

from atari_vlm.games import game_names
from atari_vlm.scores.atari_gpt import MEAN, atari_gpt_scores


def test_the_figure_agrees_with_the_text():
    scores = atari_gpt_scores()
    models = {score.model for score in scores}
    assert len(scores) == 4 * 8 and "GPT-4o" in models
    for model in models:
        mine = {score.game: score.value for score in scores if score.model == model}
        mean = mine.pop(MEAN)
        assert len(mine) == 7 and set(mine) <= set(game_names())
        assert abs(np.mean(list(mine.values())) - mean) < 0.003


def test_no_bar_is_told_from_zero():
    absent = {(s.game, s.model) for s in atari_gpt_scores() if not s.is_drawn}
    assert ("Pong", "Claude 3 Haiku") in absent and ("Pong", "GPT-4V Turbo") not in absent
