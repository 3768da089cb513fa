"""Blackjack-v1 draws cards, so this program says what is most likely: next state, reward and end each on its own."""

from functools import cache

CARDS = {card: 1 / 13 for card in range(1, 10)} | {10: 4 / 13}


def drawn(total, ace, card):
    """Sum and usable ace after a card."""
    low = total - 10 * ace + card
    ace = int((ace or card == 1) and low + 10 <= 21)
    return low + 10 * ace, ace


@cache
def dealt(total, ace):
    """How likely each final sum of a dealer is who has this much; 0 for more than 21."""
    if total >= 17:
        return {total if total <= 21 else 0: 1.0}
    finals = {}
    for card, chance in CARDS.items():
        for final, likely in dealt(*drawn(total, ace, card)).items():
            finals[final] = finals.get(final, 0.0) + chance * likely
    return finals


def likeliest(chances):
    return max(chances, key=chances.get)


class Environment:
    def __init__(self):
        self.state = (12, 10, 0)

    def set_state(self, state):
        self.state = tuple(int(value) for value in state)

    def step(self, action):
        total, shown, ace = self.state
        if action == 1:
            states = {}
            for card, chance in CARDS.items():
                after = drawn(total, ace, card)
                states[after] = states.get(after, 0.0) + chance
            bust = sum(chance for (after, _), chance in states.items() if after > 21) > 0.5
            after, ace = likeliest(states)
            return (after, shown, ace), -1.0 if bust else 0.0, bust
        rewards = {}
        mine = total if total <= 21 else 0
        for final, chance in dealt(*drawn(0, 0, shown)).items():
            reward = float(mine > final) - float(mine < final)
            rewards[reward] = rewards.get(reward, 0.0) + chance
        return self.state, likeliest(rewards), True
