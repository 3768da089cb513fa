"""The switch of the multi-scale loss for small moving things."""

import pytest
import torch

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.learned.perceptual import MultiScaleLoss
from atari_vlm.world_models.rem.settings import TokenizerTraining


def extra(decoded, target, moving=2.0):
    return float(MultiScaleLoss(moving)(decoded, target) - MultiScaleLoss()(decoded, target))


def test_every_place_that_ever_moves_weighs_the_same():
    target = torch.zeros(5, 3, 16, 16)
    target[0, :, 4, 4] = 0.9  # a ball, once
    target[:2, :, 0, 0] = 0.3  # a score that stands in two pictures of five
    blank = torch.zeros_like(target)
    assert extra(blank, target) == pytest.approx(2 * (0.9 + 0.3) / 2, rel=1e-4)
    seen = target.clone()
    seen[0, :, 4, 4] = 0.0
    assert extra(seen, target) == pytest.approx(2 * 0.9 / 2, rel=1e-4)
    assert extra(target, target) == 0


def test_what_stands_still_adds_nothing():
    still = torch.rand(1, 3, 16, 16).repeat(4, 1, 1, 1)
    assert extra(still + 0.5, still) == pytest.approx(0, abs=1e-6)
    assert extra(still + 0.5, still, moving=0.0) == 0


def test_wrong_settings_are_refused():
    for wrong in ({"moving": -1.0}, {"moving": 1.0, "perceptual": "none"}):
        with pytest.raises(ConfigError, match="moving"):
            TokenizerTraining(**wrong)
