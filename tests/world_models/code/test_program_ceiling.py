"""How well the best program can do where cards are drawn: computed from the rules, and met."""

from collections import Counter
from pathlib import Path

import numpy as np

from atari_vlm.experience import fill_replay_buffer
from atari_vlm.world_models.code import score_program

PROGRAM = Path(__file__).parents[2] / "data" / "programs" / "blackjack.py"
DECK = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10)


def worth(hand):
    soft = 1 in hand and sum(hand) + 10 <= 21
    return sum(hand) + 10 * soft, int(soft)


def dealers(hand, chance=1.0):
    """Final hands of a dealer and their chances."""
    if len(hand) > 1 and worth(hand)[0] >= 17:
        yield hand, chance
        return
    for card in DECK:
        yield from dealers((*hand, card), chance / len(DECK))


def dealer_outcomes(shown):
    """Chances of (final sum, 0 for more than 21; whether it is a natural)."""
    outcomes = Counter()
    for hand, chance in dealers((shown,)):
        total = worth(hand)[0]
        outcomes[(total if total <= 21 else 0, sorted(hand) == [1, 10])] += chance
    return outcomes


def hand_of(total, ace):
    """Some hand of this worth, which draws as any of its worth."""
    return (1, total - 11) if ace else (total,)


def outcomes_of(state, action, natural, dealer):
    """Chances of (next state, reward, end), enumerated from the rules."""
    total, shown, ace = state
    chances = Counter()
    if action == 1:
        for card in DECK:
            after, soft = worth((*(c for c in hand_of(total, ace) if c), card))
            over = after > 21
            chances[((after, shown, soft), -1.0 if over else 0.0, over)] += 1 / len(DECK)
        return chances
    for (final, theirs), chance in dealer[shown].items():
        reward = float(total > final) - float(total < final)
        if natural and not theirs:
            reward = 1.0
        chances[(state, reward, True)] += chance
    return chances


def best_row(chances):
    """Mean and variance of what the best guess of each part earns on one transition."""
    guesses = []
    for part in range(3):
        marginal = Counter()
        for outcome, chance in chances.items():
            marginal[outcome[part]] += chance
        guesses.append(max(marginal, key=marginal.get))
    earned = [
        (np.mean([outcome[part] == guesses[part] for part in range(3)]), chance)
        for outcome, chance in chances.items()
    ]
    mean = sum(value * chance for value, chance in earned)
    return mean, sum((value - mean) ** 2 * chance for value, chance in earned)


def test_the_ceiling_of_blackjack_is_met(tmp_path):
    buffer = fill_replay_buffer("Blackjack-v1", 4000, tmp_path, "b", seed=0)
    dealer = {shown: dealer_outcomes(shown) for shown in range(1, 11)}
    first = set(buffer.trajectory_starts.tolist())
    rows = zip(*(part.tolist() for part in buffer.observations), strict=True)
    known, moments = {}, []
    for row, state in enumerate(rows):
        natural = state[0] == 21 and state[2] == 1 and row in first
        key = (state, int(buffer.actions[row]), natural)
        if key not in known:
            known[key] = best_row(outcomes_of(*key, dealer))
        moments.append(known[key])
    mean, variance = np.array(moments).T
    ceiling, deviation = mean.mean(), np.sqrt(variance.sum()) / len(buffer)
    score = score_program(PROGRAM.read_text(), buffer).score
    assert abs(score - ceiling) < 1.96 * deviation
    assert 0.7 < ceiling < 0.85
    assert score_program(PROGRAM.read_text().replace("> 0.5", "> 0.2"), buffer).score < score
