"""A copy is stopped near half of the optimum, also where it passes that between two looks."""

import numpy as np
import pytest

pytest.importorskip("torch")

from atari_vlm.errors import StoppedError
from atari_vlm.proofs.tune_copy import HalfWay


class Imitation:
    """A trainer and its learner whose only weight is the number of updates."""

    def __init__(self):
        self.learner, self.updates, self.weight, self.made = self, 0, np.zeros(1), 0

    def update(self):
        self.weight += 1  # in place, as an optimizer
        self.updates += 1
        self.made += 1

    def arrays(self):
        return {"weights.of": self.weight, "updates": self.updates}

    def restore(self, arrays):
        self.weight, self.updates = arrays["weights.of"], arrays["updates"]


@pytest.mark.parametrize(
    ("returns", "taken"),
    [
        (lambda n: min(1.0, -1 + 0.15 * n), 10),  # a look is at half
        (lambda n: min(1.0, n * 0.04), 12),  # 0.48, between 0.2 and 0.6
        (lambda n: -1.0 if n <= 6.3 else 0.9, 6.3125),  # nothing is near: the newest of the nearest
        (lambda n: min(1.0, max(-1.0, 2 * n - 13)), 6.75),  # a part of an update
        (lambda n: 0.5, 5),
    ],
)
def test_the_newest_look_nearest_to_half_is_taken(returns, taken, monkeypatch):
    imitation, half = Imitation(), HalfWay("Catch", 0, 0.5)
    monkeypatch.setattr(half, "played", lambda: [returns(float(imitation.weight[0]))] * 4)
    half.begin(imitation)
    with pytest.raises(StoppedError):
        for _ in range(20):
            for _ in range(5):
                imitation.update()
            half.check("some updates")
    assert half.nearest.mean == returns(float(imitation.weight[0]))
    assert imitation.weight[0] == taken
    assert imitation.updates == half.nearest.updates == np.ceil(taken)
    assert imitation.made < 25
